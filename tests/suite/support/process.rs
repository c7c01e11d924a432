//! The real `myxi` in a process of its own, as an operator runs it. Killed on drop.

use std::{
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    ops::Deref,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use serde_json::Value;
use tokio::{sync::watch, time::sleep};

use super::{
    DEADLINE,
    gateway::{Addresses, with_defaults},
    handler::TestHandler,
    within,
};

pub struct Myxi {
    child: Child,
    reading: Reading,
    lines: Lines,
    printed: Arc<Mutex<String>>,
    addresses: Addresses,
}

impl Deref for Myxi {
    type Target = Addresses;

    fn deref(&self) -> &Addresses {
        &self.addresses
    }
}

impl Myxi {
    /// `myxi serve` on free ports, on the memory bus unless told otherwise; ready.
    pub async fn serve(app: &TestHandler, flags: &[&str]) -> Self {
        Self::ready_with(Command::new(env!("CARGO_BIN_EXE_myxi")), app, flags).await
    }

    /// The same, with no more file descriptors than these.
    pub async fn with_descriptors(limit: u32, app: &TestHandler, flags: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        let script = format!("ulimit -n {limit} && exec \"$@\"");
        shell.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_myxi")]);
        Self::ready_with(shell, app, flags).await
    }

    async fn ready_with(mut command: Command, app: &TestHandler, flags: &[&str]) -> Self {
        let handler = format!("--action-handler={}", app.endpoint());
        command.arg("serve").args(with_defaults(flags)).arg(handler);
        let myxi = Self::run(command).await;
        myxi.ready().await;
        myxi
    }

    /// `myxi serve` on free ports, to be given the rest.
    pub fn bare() -> Command {
        Self::bare_with(&[])
    }

    /// The same with flags, some of which may say where to listen.
    pub fn bare_with(flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_myxi"));
        command.arg("serve").args(with_defaults(flags));
        command
    }

    /// `myxi serve` with these sockets, by the names that are given to them; nothing else is said
    /// of where it listens but by the flags.
    pub async fn over(sockets: &[(&str, &TcpListener)], app: &TestHandler, flags: &[&str]) -> Self {
        let mut command = handing(sockets);
        command.arg(format!("--action-handler={}", app.endpoint())).args(flags);
        Self::run_with(command, handed(sockets)).await
    }

    /// Runs what becomes a `myxi` that listens.
    pub async fn run(command: Command) -> Self {
        Self::run_with(command, Vec::new()).await
    }

    async fn run_with(command: Command, sockets: Vec<OwnedFd>) -> Self {
        let (child, lines, printed, reading) = spawn(command, sockets);
        let line = lines.next_with("listening").await;
        let address = |name| {
            let text = field(&line, name).unwrap_or_else(|| panic!("no {name}: {line}"));
            text.parse().unwrap_or_else(|_| panic!("{name}: {text}"))
        };
        let addresses = Addresses {
            clients: address("clients"),
            grpc: address("grpc"),
            admin: address("admin"),
        };
        Self { child, reading, lines, printed, addresses }
    }

    /// Waits for a line of the log that holds this, and answers it.
    pub async fn logged(&self, what: &str) -> String {
        self.lines.next_with(what).await
    }

    /// Whether its log is read from now on: while it is not, the pipe fills.
    pub fn read_log(&self, read: bool) {
        let (paused, changed) = &*self.reading;
        *paused.lock().unwrap() = !read;
        changed.notify_all();
    }

    /// Every line of the log so far.
    pub fn log(&self) -> Vec<String> {
        self.lines.0.borrow().lines.clone()
    }

    /// What it wrote to stdout so far.
    pub fn printed(&self) -> String {
        self.printed.lock().unwrap().clone()
    }

    /// `TERM`, `INT`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name}");
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_none()
    }

    /// Waits for its end; what it logged can then be read whole.
    pub async fn ended(&mut self) -> ExitStatus {
        let status = within(DEADLINE, "the end of the process", async {
            loop {
                if let Some(status) = self.child.try_wait().expect("its state") {
                    return status;
                }
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        self.lines.ended().await;
        status
    }
}

impl Drop for Myxi {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `myxi serve` as somebody starts it who hands sockets over. They come as its stdin and its
/// stdout, as which alone one gives a process what it is to have, and are then put where sockets
/// that are handed over begin.
pub fn handing(sockets: &[(&str, &TcpListener)]) -> Command {
    assert!(sockets.len() <= 2, "one for stdin, one for stdout");
    let names: Vec<_> = sockets.iter().map(|(name, _)| *name).collect();
    let script = "exec 3<&0 4<&1 </dev/null >/dev/null && LISTEN_PID=$$ exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_myxi"), "serve"]);
    command.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
    command
}

/// What [`handing`] needs.
fn handed(sockets: &[(&str, &TcpListener)]) -> Vec<OwnedFd> {
    let copy = |socket: &TcpListener| socket.try_clone().expect("a descriptor").into();
    sockets.iter().map(|(_, socket)| copy(socket)).collect()
}

/// Of a line of the log: JSON, or as it is written for people.
fn field(line: &str, name: &str) -> Option<String> {
    match serde_json::from_str::<Value>(line) {
        Ok(line) => line[name].as_str().map(str::to_owned),
        Err(_) => {
            let value = line.split_once(&format!(" {name}="))?.1;
            value.split(' ').next().map(str::to_owned)
        }
    }
}

/// The exit status and the log of a `myxi` that must not start.
pub async fn refused(mut command: Command) -> (ExitStatus, String) {
    command.stdin(Stdio::null());
    refused_as_it_is(command).await
}

/// One that was handed sockets, and must not start.
pub async fn refused_over(
    sockets: &[(&str, &TcpListener)],
    flags: &[&str],
) -> (ExitStatus, String) {
    let mut command = handing(sockets);
    command.args(flags);
    let mut sockets = handed(sockets).into_iter().map(Stdio::from);
    command.stdin(sockets.next().expect("one")).stdout(sockets.next().unwrap_or_else(Stdio::piped));
    command.stderr(Stdio::piped());
    refused_as_it_is(command).await
}

async fn refused_as_it_is(mut command: Command) -> (ExitStatus, String) {
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = within(DEADLINE, "an end", output).await.expect("awaited").expect("it runs");
    assert!(output.status.signal().is_none(), "{output:?}");
    (output.status, String::from_utf8(output.stderr).expect("UTF-8"))
}

/// Whether the reading of the log is paused, and who waits for it to go on.
type Reading = Arc<(Mutex<bool>, Condvar)>;

/// What it logs, as far as it was read.
struct Lines(watch::Receiver<Log>);

#[derive(Default)]
struct Log {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    async fn next_with(&self, what: &str) -> String {
        let mut log = self.0.clone();
        let found = |log: &Log| log.ended || log.lines.iter().any(|line| line.contains(what));
        let log = within(DEADLINE, what, log.wait_for(found)).await.expect("it is read on");
        let line = log.lines.iter().find(|line| line.contains(what));
        line.cloned().unwrap_or_else(|| panic!("it ended without {what:?}: {:#?}", log.lines))
    }

    async fn ended(&self) {
        let mut log = self.0.clone();
        let _ = within(DEADLINE, "the end of the log", log.wait_for(|log| log.ended)).await;
    }
}

/// Its log is read as it comes, so that it never waits for the test.
fn spawn(
    mut command: Command,
    sockets: Vec<OwnedFd>,
) -> (Child, Lines, Arc<Mutex<String>>, Reading) {
    let mut sockets = sockets.into_iter().map(Stdio::from);
    command.stdin(sockets.next().unwrap_or_else(Stdio::null));
    command.stdout(sockets.next().unwrap_or_else(Stdio::piped)).stderr(Stdio::piped());
    for (variable, _) in std::env::vars().filter(|(name, _)| is_configuration(name)) {
        command.env_remove(variable);
    }
    let mut child = command.spawn().expect("myxi runs");
    let stderr = BufReader::new(child.stderr.take().expect("piped"));
    let (log, lines) = watch::channel(Log::default());
    let reading = Reading::default();
    let gate = reading.clone();
    thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            let (paused, changed) = &*gate;
            drop(changed.wait_while(paused.lock().unwrap(), |paused| *paused).unwrap());
            log.send_modify(|log| log.lines.push(line));
        }
        log.send_modify(|log| log.ended = true);
    });
    let printed = Arc::new(Mutex::new(String::new()));
    let heard = printed.clone();
    // Not where it is a socket.
    if let Some(mut stdout) = child.stdout.take() {
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut buffer) {
                heard.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        });
    }
    (child, Lines(lines), printed, reading)
}

fn is_configuration(variable: &str) -> bool {
    variable.starts_with("MYXI_") || ["MIXI_PORT", "PORT", "RABBITMQ_URL"].contains(&variable)
}
