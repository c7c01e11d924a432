//! What is printed: events on stdout, words for the person on stderr. What strangers wrote cannot
//! move a terminal's cursor, colour it, or turn the order of what stands there.

use std::{
    future,
    io::{self, Write},
    os::fd::AsFd,
};

use tokio::{
    io::{AsyncWriteExt, Interest, Stdout, stdout},
    net::unix::pipe::Sender,
};

use super::{Failure, Outcome};
use crate::text::{is_obeyed, plain};

/// One line to stderr; nobody may read it.
pub(super) fn say(command: &str, text: &str) {
    let _ = writeln!(io::stderr(), "myxi {command}: {}", plain(text));
}

/// JSON on one line, and the same. Between its tokens only four control characters may stand; whatever
/// else is obeyed is within a string, and may be written as an escape.
pub(super) fn one_line(json: &str) -> String {
    json.chars().fold(String::with_capacity(json.len()), |mut line, c| {
        match c {
            '\n' | '\r' | '\t' => line.push(' '),
            // All of them are of the first 65,536 characters.
            _ if is_obeyed(c) => line.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => line.push(c),
        }
        line
    })
}

/// Stdout, written by another thread: while its reader is slow, the rest goes on, and a signal is
/// heard.
pub(super) struct Output(Stdout);

impl Output {
    pub(super) fn new() -> Self {
        Self(stdout())
    }

    /// Returns when it is written.
    pub(super) async fn line(&mut self, line: &str) -> io::Result<()> {
        self.0.write_all(format!("{line}\n").as_bytes()).await?;
        self.0.flush().await
    }
}

/// Returns when nobody reads stdout any more, which a pipe tells without being written to. Of a file,
/// a terminal or a socket never.
pub(super) async fn unread() {
    if reader_gone().await.is_err() {
        future::pending().await
    }
}

async fn reader_gone() -> io::Result<()> {
    let stdout = io::stdout().as_fd().try_clone_to_owned()?;
    // Nothing is written to it here: whether that would block does not matter.
    let pipe = Sender::from_owned_fd_unchecked(stdout)?;
    while !pipe.ready(Interest::ERROR).await?.is_error() {}
    Ok(())
}

/// A reader that has enough, `head` for one, is no failure.
pub(super) fn not_written(error: io::Error) -> Result<Outcome, Failure> {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(Outcome::Done),
        _ => Err(Failure(format!("cannot write to stdout: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_on_one_line_is_the_same_json() {
        let json = "{\n\t\"a\u{9b}\u{7f}\u{202e}\" :\r\n[1e400]}";
        assert_eq!(one_line(json), "{  \"a\\u009b\\u007f\\u202e\" :  [1e400]}");
    }
}
