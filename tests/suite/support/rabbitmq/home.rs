//! What the nodes of a cluster share: a directory, a cookie and an epmd.
//!
//! However the test process ends, all that runs here ends with it: a small shell waits for the
//! end of a pipe that only this process holds open, then kills it and removes the files.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::Write,
    net::TcpListener,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
};

use super::super::unique;

/// Ends what it was told of when its input ends.
const GUARD: &str = r#"
    cat > /dev/null
    for group in $(cat "$1/groups"); do env kill -9 -- "-$group" 2> /dev/null; done
    rm -rf "$1"
"#;

pub struct Home {
    dir: PathBuf,
    epmd_port: u16,
    /// The guard, then epmd.
    running: Mutex<Vec<Child>>,
}

impl Home {
    pub fn new() -> Self {
        let dir = std::env::temp_dir().join(unique("myxi-test-rabbitmq"));
        fs::create_dir_all(&dir).expect("a directory for RabbitMQ");
        fs::write(dir.join("groups"), "").expect("the guard's list");
        // Nodes that find none each make one.
        let cookie = dir.join(".erlang.cookie");
        fs::write(&cookie, unique("cookie")).expect("a cookie");
        fs::set_permissions(&cookie, Permissions::from_mode(0o400)).expect("a secret cookie");
        let guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(&dir)
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("sh");
        let [epmd_port] = free_ports();
        let home = Self { dir, epmd_port, running: Mutex::new(vec![guard]) };
        // Left to itself, a node starts one that outlives it.
        let mut epmd = home.command("epmd", &home.dir);
        epmd.args(["-port", &epmd_port.to_string(), "-address", "127.0.0.1"]);
        let epmd = home.spawn(epmd, &home.dir.join("epmd.log"));
        home.running.lock().unwrap().push(epmd);
        home
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// To be run in this directory, at home here.
    pub fn command(&self, program: &str, dir: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(dir)
            .env("HOME", &self.dir)
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", self.epmd_port.to_string());
        command
    }

    /// In a process group of its own, which ends with this process.
    pub fn spawn(&self, mut command: Command, log: &Path) -> Child {
        let open = |path: &Path| OpenOptions::new().create(true).append(true).open(path);
        let log = open(log).expect("a log");
        let child = command
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("a log"))
            .stdout(log)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|e| panic!("{:?} (Debian's rabbitmq-server): {e}", command));
        let mut groups = open(&self.dir.join("groups")).expect("the guard's list");
        writeln!(groups, "{}", child.id()).expect("written");
        child
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let running = self.running.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        drop(running[0].stdin.take());
        for child in running {
            let _ = child.wait();
        }
    }
}

/// Ports that were free a moment ago, from below those that the system gives to connections:
/// no other test's connection takes one before the broker does.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let free = || {
        let mut ports = std::iter::repeat_with(|| rand::random_range(10_000..32_000));
        ports.find_map(|port: u16| TcpListener::bind(("127.0.0.1", port)).ok()).expect("a port")
    };
    let listeners = [(); N].map(|()| free());
    listeners.map(|listener| listener.local_addr().expect("its address").port())
}
