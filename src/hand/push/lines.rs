//! Standard input as lines, as far as they are there. A line has a bound: what is longer is passed
//! over without being kept.

use std::{io, mem};

use tokio::io::{AsyncRead, AsyncReadExt};

/// No event of this size fits a call.
const LINE_MAX: usize = 4 << 20;

/// As much as a pipe holds.
const READ: usize = 64 << 10;

pub(super) struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    /// Up to here it was taken.
    start: usize,
    number: u64,
    /// The line that is read is too long already.
    too_long: bool,
    ended: bool,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadLine {
    #[error("it is longer than {LINE_MAX} bytes")]
    TooLong,
    #[error("it is not UTF-8")]
    NotUtf8,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, buffer: Vec::new(), start: 0, number: 0, too_long: false, ended: false }
    }

    /// Of the line that was taken last, from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The next line with its number, if all of it is there.
    pub(super) fn take(&mut self) -> Option<(u64, Result<String, BadLine>)> {
        let unread = &self.buffer[self.start..];
        let (length, end) = match unread.iter().position(|byte| *byte == b'\n') {
            Some(length) => (length, length + 1),
            None if self.ended && (self.too_long || !unread.is_empty()) => {
                (unread.len(), unread.len())
            }
            None => {
                if unread.len() > LINE_MAX {
                    self.start = self.buffer.len();
                    self.too_long = true;
                }
                return None;
            }
        };
        let line = match mem::take(&mut self.too_long) || length > LINE_MAX {
            true => Err(BadLine::TooLong),
            false => String::from_utf8(unread[..length].into()).map_err(|_| BadLine::NotUtf8),
        };
        self.start += end;
        self.number += 1;
        Some((self.number, line))
    }

    /// Waits for more, and says whether there may be.
    pub(super) async fn fill(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.reserve(READ);
        let read = (&mut self.input).take(READ as u64).read_buf(&mut self.buffer).await?;
        // The last line may have no end of its own.
        self.ended = read == 0;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(input: &[u8]) -> Vec<(u64, Result<String, BadLine>)> {
        let mut lines = Lines::new(input);
        let mut all = Vec::new();
        while lines.fill().await.expect("it reads") {
            all.extend(std::iter::from_fn(|| lines.take()));
        }
        all
    }

    #[tokio::test]
    async fn lines_come_whole_and_with_their_numbers() {
        let ok = |number, line: &str| (number, Ok(line.to_owned()));
        assert_eq!(read(b"a\n\nb\r\nc").await, [ok(1, "a"), ok(2, ""), ok(3, "b\r"), ok(4, "c")]);
        assert_eq!(read(b"a\n").await, [ok(1, "a")]);
        assert_eq!(read(b"").await, []);
        let (number, line) = (2, Err(BadLine::NotUtf8));
        assert_eq!(read(b"a\n\xff\nb").await, [ok(1, "a"), (number, line), ok(3, "b")]);
    }

    #[tokio::test]
    async fn what_is_too_long_is_passed_over_and_not_kept() {
        let long = "x".repeat(3 * LINE_MAX);
        let mut lines = Lines::new(long.as_bytes());
        while lines.fill().await.expect("it reads") {
            assert!(lines.buffer.len() <= LINE_MAX + READ, "{}", lines.buffer.len());
            if let Some(line) = lines.take() {
                assert_eq!(line, (1, Err(BadLine::TooLong)));
            }
        }
        let input = format!("a\n{long}\nb\n");
        let all = read(input.as_bytes()).await;
        let too_long = (2, Err(BadLine::TooLong));
        assert_eq!(all, [(1, Ok("a".into())), too_long, (3, Ok("b".into()))]);
    }
}
