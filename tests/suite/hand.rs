//! The commands that are given by hand, as somebody gives them: the real `myxi` in a process of its
//! own, with the variables of the gateway that it is for, and nothing else said of where that is.

mod health;
mod page;
mod paper;
mod push;
mod sessions;
mod tail;
mod way;

use std::{process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    time::sleep,
};

use crate::support::{DEADLINE, gateway::Addresses, within};

/// What nobody may find in anything that was printed.
const SECRET: &str = "S3CR3T-T0K3N";

/// `myxi`, in the environment of this gateway.
fn myxi(gateway: &Addresses, args: &[&str]) -> Command {
    let mut command = bare(args);
    command
        .env("MYXI_LISTEN", gateway.clients.to_string())
        .env("MYXI_GRPC_LISTEN", gateway.grpc.to_string())
        .env("MYXI_ADMIN_LISTEN", gateway.admin.to_string());
    command
}

/// In an environment that says nothing.
fn bare(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_myxi"));
    command.env_clear().args(args).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// How it ended, and what it said.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    /// Its stdout, if all that was asked for was done and nothing else was said.
    fn well(self) -> String {
        assert!(self.code == Some(0) && self.stderr.is_empty(), "{self:#?}");
        self.stdout
    }

    /// Its stderr, if it failed.
    fn badly(self) -> String {
        assert_eq!(self.code, Some(1), "{self:#?}");
        assert!(!format!("{self:?}").contains(SECRET), "{self:#?}");
        self.stderr
    }
}

async fn end(command: Command) -> Ended {
    end_with(command, "").await
}

/// With this as its standard input.
async fn end_with(mut command: Command, input: impl Into<Vec<u8>>) -> Ended {
    let mut child = command.stdin(Stdio::piped()).spawn().expect("myxi runs");
    let (mut stdin, input) = (child.stdin.take().expect("piped"), input.into());
    // It may end before it has read everything.
    let writing = tokio::spawn(async move { stdin.write_all(&input).await });
    let output = within(DEADLINE, "its end", child.wait_with_output()).await.expect("its output");
    writing.abort();
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// One that runs while the test does something else. Killed on drop.
struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<Lines<BufReader<ChildStdout>>>,
    stderr: Lines<BufReader<ChildStderr>>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).spawn().expect("myxi runs");
        let stdout = child.stdout.take().expect("piped");
        let stderr = child.stderr.take().expect("piped");
        Self {
            stdin: child.stdin.take(),
            stdout: Some(BufReader::new(stdout).lines()),
            stderr: BufReader::new(stderr).lines(),
            child,
        }
    }

    async fn type_in(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("open");
        within(DEADLINE, "typed", stdin.write_all(text.as_bytes())).await.expect("it reads");
    }

    async fn line(&mut self) -> String {
        let lines = self.stdout.as_mut().expect("open");
        let line = within(DEADLINE, "a line", lines.next_line()).await.expect("it writes");
        match line {
            Some(line) => line,
            None => panic!("it ended; stderr: {}", self.rest_of_stderr().await),
        }
    }

    async fn json(&mut self) -> Value {
        serde_json::from_str(&self.line().await).expect("JSON")
    }

    /// The next line of stderr that holds this.
    async fn said(&mut self, what: &str) -> String {
        within(DEADLINE, what, async {
            loop {
                let line = self.stderr.next_line().await.expect("it writes");
                let line = line.unwrap_or_else(|| panic!("it ended without {what:?}"));
                if line.contains(what) {
                    return line;
                }
            }
        })
        .await
    }

    async fn rest_of_stderr(&mut self) -> String {
        let mut rest = String::new();
        let _ = within(DEADLINE, "stderr", self.stderr.get_mut().read_to_string(&mut rest)).await;
        rest
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        let kill = std::process::Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(kill.is_ok_and(|status| status.success()));
    }

    /// Until one of its threads is held up by the system there.
    async fn waits_in(&self, place: &str) {
        let threads = format!("/proc/{}/task", self.child.id().expect("it runs"));
        within(DEADLINE, place, async {
            loop {
                let threads = std::fs::read_dir(&threads).expect("its threads").flatten();
                let mut places = threads.map(|thread| {
                    std::fs::read_to_string(thread.path().join("wchan")).unwrap_or_default()
                });
                if places.any(|at| at.contains(place)) {
                    return;
                }
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    async fn ended(&mut self) -> Option<i32> {
        within(DEADLINE, "its end", self.child.wait()).await.expect("a status").code()
    }
}
