//! A proxy in a process of its own, with its file of `deploy/proxies` but for ports, and for what only
//! a real host has: a user, a certificate. Killed on drop.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpSocket, TcpStream},
    process::{Child, Command},
    time::sleep,
};
use tokio_tungstenite::{client_async, tungstenite::http::Request};

use crate::support::{DEADLINE, TempDir, client::Client, handler::free_address, within};

/// What all of the files call the gateway.
pub const HOST: &str = "gateway.example";

/// The replicas of the files.
const REPLICAS: [&str; 2] = ["127.0.0.1:5005", "127.0.0.1:6005"];

/// How long a connection on which nothing passes lives.
const IDLE: &str = "90s";

/// For the end of one, before it is killed.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxy {
    Nginx,
    Haproxy,
    Caddy,
}

impl Proxy {
    fn file(self) -> PathBuf {
        let name = match self {
            Self::Nginx => "nginx.conf",
            Self::Haproxy => "haproxy.cfg",
            Self::Caddy => "Caddyfile",
        };
        Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/proxies").join(name)
    }

    fn command(self, file: &Path) -> Command {
        let mut command = match self {
            Self::Nginx => Command::new("nginx"),
            Self::Haproxy => Command::new("haproxy"),
            Self::Caddy => Command::new("caddy"),
        };
        let directory = file.parent().expect("a directory");
        match self {
            Self::Nginx => command.args(["-g", "daemon off; pid nginx.pid;", "-e", "stderr"]),
            Self::Haproxy => command.arg("-db"),
            Self::Caddy => command.args(["run", "--adapter", "caddyfile"]),
        };
        match self {
            Self::Nginx => command.arg("-p").arg(directory).arg("-c").arg(file),
            Self::Haproxy => command.arg("-f").arg(file),
            Self::Caddy => command.arg("--config").arg(file),
        };
        command.env("HOME", directory).current_dir(directory);
        command
    }

    /// Whether it lets go of a connection on which nothing passes.
    pub fn lets_go_of_the_silent(self) -> bool {
        self != Self::Caddy
    }

    /// What is replaced in its file.
    fn changes(self, balancer: &Places, directory: &Path) -> Vec<(&'static str, String)> {
        let Places { http, tls, plain } = balancer;
        let path = |name: &str| directory.join(name).display().to_string();
        match self {
            Self::Nginx => vec![
                ("listen 80;", format!("listen {http};")),
                ("listen 443 ssl;", format!("listen {tls} ssl; listen {plain};")),
                ("/etc/ssl/certs/gateway.example.pem", path("certificate.pem")),
                ("/etc/ssl/private/gateway.example.key", path("key.pem")),
                // Debian's are of its user.
                ("http {", format!("http {{ access_log off; {}", temporary_paths(directory))),
            ],
            Self::Haproxy => vec![
                ("bind :80\n", format!("bind {http}\n")),
                ("bind :443 ", format!("bind {plain}\n    bind {tls} ")),
                ("/etc/haproxy/gateway.example.pem", path("both.pem")),
                ("    user haproxy\n    group haproxy\n", String::new()),
                // Here a process may not have so many descriptors.
                ("maxconn 20000", "maxconn 1000".into()),
            ],
            // By itself it would ask for a certificate.
            Self::Caddy => vec![
                (
                    "gateway.example {",
                    "{\n\tadmin off\n\tauto_https disable_redirects\n}\n(site) {".into(),
                ),
                (
                    "\t}\n}\n",
                    format!(
                        "\t}}\n}}\n\
                         http://{HOST}:{} {{\n\timport site\n}}\n\
                         https://{HOST}:{} {{\n\timport site\n\ttls {} {}\n}}\n",
                        plain.port(),
                        tls.port(),
                        path("certificate.pem"),
                        path("key.pem"),
                    ),
                ),
            ],
        }
    }
}

fn temporary_paths(directory: &Path) -> String {
    let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    kinds.map(|kind| format!("{kind}_temp_path {};", directory.join(kind).display())).join(" ")
}

/// Where it listens.
struct Places {
    /// For those who have not heard of TLS.
    http: SocketAddr,
    tls: SocketAddr,
    /// As behind TLS, for tests alone.
    plain: SocketAddr,
}

pub struct Balancer {
    proxy: Proxy,
    process: Child,
    places: Places,
    directory: TempDir,
}

impl Balancer {
    pub async fn start(proxy: Proxy, replicas: [SocketAddr; 2]) -> Self {
        Self::start_with_idle(proxy, replicas, IDLE).await
    }

    /// With another bound on connections on which nothing passes.
    pub async fn start_with_idle(proxy: Proxy, replicas: [SocketAddr; 2], idle: &str) -> Self {
        let directory = TempDir::new("proxy");
        let places = Places { http: free_address(), tls: free_address(), plain: free_address() };
        certify(directory.path()).await;
        let mut text = fs::read_to_string(proxy.file()).expect("a file for the proxy");
        let mut replace = |from: &str, to: &str| {
            assert!(text.contains(from), "{proxy:?}: {from:?} is not there");
            text = text.replace(from, to);
        };
        for (replica, address) in REPLICAS.into_iter().zip(replicas) {
            replace(replica, &address.to_string());
        }
        for (from, to) in proxy.changes(&places, directory.path()) {
            replace(from, &to);
        }
        if proxy.lets_go_of_the_silent() {
            replace(IDLE, idle);
        }
        let file = directory.path().join("configuration");
        fs::write(&file, text).expect("written");

        let log = File::create(directory.path().join("log")).expect("a file");
        let mut command = proxy.command(&file);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a copy")).stderr(log);
        let process = command.kill_on_drop(true).spawn();
        let process = process.unwrap_or_else(|error| panic!("{proxy:?}: {error}; install it"));
        let mut balancer = Self { proxy, process, places, directory };
        within(DEADLINE, "a proxy that listens", balancer.listens()).await;
        balancer
    }

    async fn listens(&mut self) {
        while TcpStream::connect(self.places.plain).await.is_err() {
            let ended = self.process.try_wait().expect("its state");
            assert_eq!(ended, None, "the proxy ended");
            sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.places.plain
    }

    /// Where those are sent on to TLS who do not ask for it; not Caddy's, which would do so by itself.
    pub fn http(&self) -> Option<SocketAddr> {
        (self.proxy != Proxy::Caddy).then_some(self.places.http)
    }

    /// A client from this address of loopback.
    pub async fn client_from(&self, from: [u8; 4], request: Request<()>) -> Client {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from((from, 0))).expect("an address of loopback");
        let connecting = async {
            let stream = socket.connect(self.places.plain).await.expect("a connection");
            client_async(request, stream).await.expect("a WebSocket").0
        };
        Client::over(within(DEADLINE, "a WebSocket", connecting).await)
    }

    /// The head of what is answered over TLS, whose certificate is looked at.
    pub async fn head_over_tls(&self, path: &str, headers: &[&str]) -> String {
        let port = self.places.tls.port();
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "20", "--http1.1", "--head"]);
        curl.args(["--request", "GET", "--noproxy", "*"]);
        curl.args(["--resolve", &format!("{HOST}:{port}:127.0.0.1")]);
        curl.arg("--cacert").arg(self.directory.path().join("certificate.pem"));
        curl.args(headers.iter().flat_map(|header| ["--header", header]));
        curl.arg(format!("https://{HOST}:{port}{path}"));
        let output = within(DEADLINE, "curl", curl.output()).await.expect("curl");
        assert!(!output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }
}

impl Drop for Balancer {
    /// What it said is of interest where a test fails. nginx has further processes, which outlive the
    /// first one where that is killed.
    fn drop(&mut self) {
        if let (Proxy::Nginx, Some(pid)) = (self.proxy, self.process.id()) {
            let _ = std::process::Command::new("kill").arg(pid.to_string()).status();
            let ended =
                |process: &mut Child| process.try_wait().is_ok_and(|status| status.is_some());
            let until = Instant::now() + PATIENCE;
            while !ended(&mut self.process) && Instant::now() < until {
                thread::sleep(Duration::from_millis(5));
            }
        }
        if thread::panicking() {
            let said = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            eprintln!("the proxy said:\n{said}");
        }
    }
}

/// A certificate of the host's, its key, and both in one file.
async fn certify(directory: &Path) {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    openssl.args(["-nodes", "-days", "2", "-subj", &format!("/CN={HOST}")]);
    openssl.args(["-addext", &format!("subjectAltName=DNS:{HOST}")]);
    openssl.args(["-keyout", "key.pem", "-out", "certificate.pem"]);
    let output = openssl.current_dir(directory).output().await.expect("openssl");
    assert!(output.status.success(), "{output:?}");
    let read = |name| fs::read_to_string(directory.join(name)).expect("made");
    let both = [read("certificate.pem"), read("key.pem")].concat();
    fs::write(directory.join("both.pem"), both).expect("written");
}
