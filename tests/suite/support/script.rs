//! A program that is spoken with, line by line. Killed on drop.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::{DEADLINE, within};

pub struct Script {
    name: String,
    process: Child,
    input: ChildStdin,
    printed: Lines<BufReader<ChildStdout>>,
}

impl Script {
    pub fn start(name: &str, mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let input = process.stdin.take().expect("piped");
        let printed = BufReader::new(process.stdout.take().expect("piped")).lines();
        Self { name: name.into(), process, input, printed }
    }

    /// The next line that it prints; none after its last.
    pub async fn line(&mut self) -> Option<String> {
        within(DEADLINE, &self.name, self.printed.next_line()).await.expect("UTF-8")
    }

    pub async fn tell(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).await.expect("it reads");
    }

    /// With SIGKILL, as a machine's end would.
    pub async fn kill(&mut self) {
        self.process.kill().await.expect("killed");
    }

    /// What else it prints. It must end well.
    pub async fn rest(mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = self.line().await {
            lines.push(line);
        }
        let status = within(DEADLINE, &self.name, self.process.wait()).await.expect("awaited");
        assert!(status.success(), "{}: {status}", self.name);
        lines
    }
}
