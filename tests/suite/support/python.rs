//! The Python that the tests run their scripts with.

use std::{ffi::OsString, path::Path, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::{DEADLINE, within};

/// Has what `scripts/test-requirements.txt` lists.
pub fn python() -> OsString {
    std::env::var_os("MYXI_TEST_PYTHON").unwrap_or_else(|| {
        panic!(
            "MYXI_TEST_PYTHON is not set: run scripts/test, or name a Python that has what \
             scripts/test-requirements.txt lists"
        )
    })
}

/// What a script of `tests/conformance` prints. It must end well, and within the deadline.
pub async fn printed_by(script: &str, args: &[&str], deadline: Duration) -> String {
    let mut command = command(script, args);
    command.stdin(Stdio::null());
    let output = within(deadline, script, command.output()).await.expect("Python runs");
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {}\n{printed}{complaints}", output.status);
    printed
}

/// A script of `tests/conformance` that is spoken with, line by line. Killed on drop.
pub struct Script {
    name: String,
    process: Child,
    input: ChildStdin,
    printed: Lines<BufReader<ChildStdout>>,
}

impl Script {
    pub fn start(name: &str, args: &[&str]) -> Self {
        let mut command = command(name, args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("Python runs");
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

fn command(script: &str, args: &[&str]) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance").join(script);
    let mut command = Command::new(python());
    command.arg(path).args(args).env("NO_PROXY", "127.0.0.1").env("PYTHONDONTWRITEBYTECODE", "1");
    command.kill_on_drop(true);
    command
}
