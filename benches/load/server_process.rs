//! A server as a process, in a process group of its own, and the directories that servers
//! work in. However this process ends, they end with it: a small shell waits for the end of
//! a pipe that only this process holds open, then kills the groups it was told of and
//! removes the directories.

use std::{
    fs, io,
    io::Write,
    net::{SocketAddr, TcpListener},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::{net::TcpStream, time::sleep};

use super::{usage, within};

const START_DEADLINE: Duration = Duration::from_secs(60);

const GUARD: &str = r#"
    groups=
    while read -r group; do groups="$groups -$group"; done
    [ -z "$groups" ] || env kill -9 -- $groups 2> /dev/null
    rm -rf "$1"
"#;

static GUARDED: LazyLock<Guarded> = LazyLock::new(Guarded::start);

struct Guarded {
    directory: PathBuf,
    groups: Mutex<ChildStdin>,
    /// It ends after this process.
    _guard: Child,
}

impl Guarded {
    fn start() -> Self {
        let name = format!("bench-{}", std::process::id());
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&directory).expect("a directory for servers");
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(&directory)
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("sh");
        let groups = Mutex::new(guard.stdin.take().expect("a pipe"));
        Self { directory, groups, _guard: guard }
    }
}

pub struct ServerProcess {
    child: Child,
    name: String,
}

impl ServerProcess {
    /// Starts it on these processors (see [`super::processors`]).
    pub fn spawn(command: &Command, processors: &str) -> anyhow::Result<Self> {
        Self::spawn_with(command, processors, |command| {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        })
    }

    /// As [`Self::spawn`]; `outputs` says where its outputs go.
    pub fn spawn_with(
        command: &Command,
        processors: &str,
        outputs: impl FnOnce(&mut Command),
    ) -> anyhow::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut pinned = Command::new("taskset");
        pinned.args(["-c", processors]).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            pinned.env(key, value.unwrap_or_default());
        }
        if let Some(directory) = command.get_current_dir() {
            pinned.current_dir(directory);
        }
        pinned.stdin(Stdio::null()).process_group(0);
        outputs(&mut pinned);
        let child = pinned.spawn().context("taskset (Debian's util-linux)")?;
        let mut groups = GUARDED.groups.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(groups, "{}", child.id()).context("the guard")?;
        Ok(Self { child, name })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub fn cpu(&self) -> Duration {
        usage::cpu(self.id())
    }

    /// In KiB.
    pub fn memory(&self) -> u64 {
        usage::memory(self.id())
    }

    pub fn descriptors(&self) -> usize {
        usage::descriptors(self.id())
    }

    /// Waits until something listens there; fails when the process ends before.
    pub async fn listens(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let what = format!("{} listens on {address}", self.name);
        let up = async {
            while !listening(address).await {
                if let Some(status) = self.child.try_wait()? {
                    bail!("it ended: {status}");
                }
                sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        within(START_DEADLINE, &what, up).await
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-9", "--", &group]).stderr(Stdio::null()).status();
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory of its own, removed on drop.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> io::Result<Self> {
        let path = (0..).map(|n| GUARDED.directory.join(format!("{name}-{n}")));
        let path = path.into_iter().find(|path| !path.exists()).expect("a free name");
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn write(&self, file: &str, content: &str) -> io::Result<PathBuf> {
        let path = self.0.join(file);
        fs::write(&path, content)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left goes with the process.
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub async fn listening(address: SocketAddr) -> bool {
    TcpStream::connect(address).await.is_ok()
}

/// Ports that were free a moment ago.
pub fn free_ports<const COUNT: usize>() -> io::Result<[u16; COUNT]> {
    let mut ports = [0; COUNT];
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}
