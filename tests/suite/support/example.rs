//! The handlers of `examples` as processes, started as their own READMEs say. Killed on drop.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::Duration,
};

use tokio::{
    net::{TcpStream, UnixStream},
    process::{Child, Command},
    time::sleep,
};

use super::{DEADLINE, TempDir, handler::free_address, process::Myxi, runtime::built, within};

/// For a runtime that has just begun, on a machine that has other things to do.
const PATIENT: &str = "20s";

/// What the gateway shows to the handler, and the handler to the gateway.
pub const HANDLER_TOKEN: &str = "of-the-gateway";
pub const GATEWAY_TOKEN: &str = "of-the-handler";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Python,
    Node,
    Go,
    Java,
    Ruby,
    Rust,
}

impl Language {
    /// Where it was built: in a copy by `tests/runtimes/build`, but for Rust.
    fn directory(self) -> PathBuf {
        match self {
            Self::Rust => Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/rust"),
            _ => built(&format!("examples/{}", format!("{self:?}").to_lowercase())),
        }
    }

    /// The README's second block: the first builds, and the third runs its own tests. In Rust it is
    /// what cargo has built beside the tests.
    fn start_command(self) -> String {
        if self == Self::Rust {
            let beside = Path::new(env!("CARGO_BIN_EXE_myxi")).with_file_name("examples");
            return beside.join("chat").display().to_string();
        }
        let readme = fs::read_to_string(self.directory().join("README.md")).expect("a README");
        let block = readme.split("```sh\n").nth(2).expect("three blocks");
        block.split("\n```").next().expect("an end").to_owned()
    }

    /// How it ends after `SIGTERM`.
    fn status_when_stopped(self) -> i32 {
        match self {
            // The JVM says so after every shutdown by a signal.
            Self::Java => 143,
            _ => 0,
        }
    }
}

/// Where a handler listens.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    Tcp,
    Unix,
}

/// A handler and the gateway that asks it.
pub struct Example {
    language: Language,
    listen: String,
    /// Of the `Gateway` that it pushes to.
    pushes_to: String,
    process: Child,
    pub gateway: Myxi,
    directory: TempDir,
}

impl Example {
    /// Both, ready. The handler pushes to the gateway, or to what stands in its place.
    pub async fn start(language: Language, place: Place, pushes_to: Option<&str>) -> Self {
        Self::with_timeout(PATIENT, language, place, pushes_to).await
    }

    /// Calls have so long.
    pub async fn with_timeout(
        timeout: &str,
        language: Language,
        place: Place,
        pushes_to: Option<&str>,
    ) -> Self {
        let directory = TempDir::new("example");
        let listen = match place {
            Place::Tcp => free_address().to_string(),
            Place::Unix => format!("unix:{}", directory.path().join("handler.sock").display()),
        };
        let gateway = gateway(&listen, HANDLER_TOKEN, timeout).await;
        let pushes_to = pushes_to.map_or_else(|| gateway.grpc().to_string(), str::to_owned);
        let process = spawn(language, &listen, &pushes_to, directory.path());
        let example = Self { language, listen, pushes_to, process, gateway, directory };
        example.gateway.ready().await;
        example
    }

    /// As `--action-handler` names it.
    pub fn endpoint(&self) -> String {
        endpoint(&self.listen)
    }

    /// Where it may write.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Another gateway that asks it, with a token that is not its.
    pub async fn gateway_with_a_wrong_token(&self) -> Myxi {
        gateway(&self.listen, "of-somebody-else", PATIENT).await
    }

    /// `TERM`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        let pid = self.process.id().expect("it runs").to_string();
        let status = std::process::Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// With SIGKILL, as a machine's end would.
    pub async fn kill(&mut self) {
        self.process.kill().await.expect("killed");
    }

    pub async fn ends_well(&mut self) {
        let status = within(DEADLINE, "the handler's end", self.process.wait()).await;
        let code = status.expect("awaited").code();
        assert_eq!(code, Some(self.language.status_when_stopped()), "{:?}", self.language);
    }

    /// Waits until it takes no connection any more.
    pub async fn refuses(&self) {
        within(DEADLINE, "a handler that takes no more", async {
            while self.accepts().await {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    async fn accepts(&self) -> bool {
        match self.listen.strip_prefix("unix:") {
            Some(path) => UnixStream::connect(path).await.is_ok(),
            None => TcpStream::connect(&self.listen).await.is_ok(),
        }
    }

    /// Once more, where it was.
    pub async fn start_again(&mut self) {
        self.process = spawn(self.language, &self.listen, &self.pushes_to, self.directory.path());
        self.gateway.ready().await;
    }
}

impl Drop for Example {
    /// What they said is of interest where a test fails.
    fn drop(&mut self) {
        if thread::panicking() {
            let said = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            eprintln!("the handler in {:?} said:\n{said}", self.language);
            eprintln!("and its gateway:\n{}", self.gateway.log().join("\n"));
        }
    }
}

async fn gateway(handler: &str, token: &str, timeout: &str) -> Myxi {
    let timeout = format!("--action-timeout={timeout}");
    let mut command = Myxi::bare_with(&["--exchange=rooms,elsewhere", &timeout]);
    let handler = endpoint(handler);
    command.args(["--session-opened=required", "--log=debug"]);
    command.arg(format!("--action-handler={handler}"));
    command.arg(format!("--action-handler-token={token}"));
    command.arg(format!("--grpc-token={GATEWAY_TOKEN}"));
    Myxi::run(command).await
}

fn endpoint(listen: &str) -> String {
    match listen.starts_with("unix:") {
        true => listen.to_owned(),
        false => format!("http://{listen}"),
    }
}

fn spawn(language: Language, listen: &str, pushes_to: &str, directory: &Path) -> Child {
    let log = File::options().create(true).append(true).open(directory.join("log"));
    let log = log.expect("a file");
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec {}", language.start_command())]);
    command.current_dir(language.directory()).kill_on_drop(true);
    command.env("LISTEN", listen).env("MYXI_GATEWAY", pushes_to);
    command.env("MYXI_ACTION_HANDLER_TOKEN", HANDLER_TOKEN).env("MYXI_GRPC_TOKEN", GATEWAY_TOKEN);
    // It starts many times, and each time for a short while.
    command.env("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC");
    // Python's is the one that its README makes.
    let mut path = vec![language.directory().join("venv/bin")];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    command.env("PATH", std::env::join_paths(path).expect("a path"));
    // As in many a company: it is none for the gateway.
    command.env("http_proxy", "http://127.0.0.1:9").env_remove("no_proxy").env_remove("NO_PROXY");
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a copy")).stderr(log);
    command.spawn().expect("sh")
}
