//! The README as a newcomer follows it: its blocks are written to files and run as they
//! stand. Only addresses are replaced, so that tests can run beside each other, and the
//! lines that install something are not run.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpStream,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use myxi::internals::protocol::ErrorCode;
use serde_json::Value;

use tokio::time::sleep;

use super::support::{
    DEADLINE, client::without_positions, handler::free_address, http, python::python,
    rabbitmq::RabbitMq, unique, within,
};

const README: &str = include_str!("../../README.md");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn the_first_application_does_what_the_readme_says() {
    let newcomer = Newcomer::new();
    let gateway = newcomer.gateway("myxi serve --action-handler", &[]);
    let client = newcomer.python("client.py", &gateway);
    let mut pushes =
        [Newcomer::push_by_stub, Newcomer::push_by_grpcurl, Newcomer::push_by_curl].into_iter();
    for expected in block("text", "\"Welcome\"").lines() {
        if expected.contains("\"mq\"") {
            pushes.next().expect("a push for each pushed event")(&newcomer, &gateway);
        }
        let printed = client.line(|_| true);
        assert_eq!(without_ids(&printed), without_ids(expected));
    }
    assert!(pushes.next().is_none(), "each push is in the transcript");
}

#[tokio::test]
async fn what_is_pushed_to_one_replica_of_the_readme_reaches_a_client_of_the_other() {
    let broker = RabbitMq::shared().await.url();
    let newcomer = Newcomer::new();
    let documented = "amqp://guest:guest@127.0.0.1:5672";
    let mut replicas = newcomer.clone_with(&[(documented, &broker)]);
    for port in ["6005", "6006", "6007"] {
        replicas.replace(&format!("127.0.0.1:{port}"), "127.0.0.1:0");
    }
    let first = replicas.gateway("--rabbitmq-url amqp://guest:guest@127.0.0.1:5672\n", &[]);
    let second = replicas.gateway("--listen 127.0.0.1:6005", &[]);
    second.ready().await;
    let client = newcomer.python("client.py", &second);
    client.line(|line| line.contains("InvalidAction"));
    newcomer.push_by_stub(&first);
    let event = client.line(|_| true);
    assert!(event.starts_with(r#"< {"event":"WidgetChanged""#), "{event}");
}

#[test]
fn what_the_readme_installs_is_what_the_tests_use() {
    let requirements = read("scripts/test-requirements.txt");
    let install = block("sh", "pip install");
    let (_, packages) = install.split_once("pip install ").expect("pip install");
    for package in packages.split_whitespace() {
        assert!(requirements.contains(&format!("{package}>=")), "{package}");
    }
}

#[test]
fn the_tables_name_every_error_code_and_every_flag_is_documented() {
    let wire = read("docs/wire.md");
    for code in ErrorCode::NAMES {
        assert!(wire.contains(&format!("| `{code}` |")), "{code}");
    }
    let configuration = read("docs/configuration.md");
    let about_the_gateway = ["README", "docs/wire", "docs/grpc", "docs/rabbitmq", "docs/operation"];
    for page in about_the_gateway.map(|page| format!("{page}.md")) {
        for flag in read(&page).split('`').filter(|code| code.starts_with("--")) {
            let name = flag.split([' ', '=']).next().expect("a name");
            assert!(configuration.contains(&format!("`{name}`")), "{page}: {name}");
        }
    }
}

/// Of a promise, a sentence for a text names a test of the file that it leads to.
#[test]
fn every_link_leads_somewhere() {
    let mut tests = 0;
    for page in &pages() {
        let folder = Path::new(ROOT).join(page).parent().expect("a folder").to_owned();
        let text = prose(&read(page));
        let links = text.match_indices("](").map(|(at, _)| {
            let shown = text[..at].rsplit('[').next().expect("a link's text");
            (shown, text[at + 2..].split(')').next().expect("a link's target"))
        });
        for (shown, target) in links.filter(|(_, target)| !target.starts_with("http")) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { Path::new(ROOT).join(page) } else { folder.join(file) };
            assert!(path.exists(), "{page}: {target}");
            let content = fs::read_to_string(&path).unwrap_or_default();
            assert!(heading.is_empty() || has_heading(&content, heading), "{page}: {target}");
            if page == "docs/promises.md" && shown.split(' ').count() > 3 {
                let test = format!("fn {}(", shown.to_lowercase().replace(' ', "_"));
                assert!(content.contains(&test), "{page}: {test} in {file}");
                tests += 1;
            }
        }
    }
    assert!(tests >= 50, "each promise has its test");
}

/// Those that people read, but for what lies in other packages.
fn pages() -> Vec<String> {
    let docs = fs::read_dir(Path::new(ROOT).join("docs")).expect("docs");
    let names = docs.map(|file| file.expect("a file").file_name().into_string().expect("a name"));
    let docs = names.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}"));
    ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "examples/README.md"]
        .map(str::to_owned)
        .into_iter()
        .chain(docs)
        .collect()
}

/// Without its blocks of code.
fn prose(page: &str) -> String {
    page.split("```").step_by(2).collect()
}

fn has_heading(page: &str, anchor: &str) -> bool {
    page.lines().filter_map(|line| line.strip_prefix('#')).any(|heading| {
        let words = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        words.replace([':', '`', ','], "") == anchor
    })
}

/// The fenced block of this language that holds this text.
fn block(language: &str, holds: &str) -> &'static str {
    let fence = format!("```{language}\n");
    let blocks = README.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap_or(rest));
    let mut found = blocks.filter(|block| block.contains(holds));
    found.next().unwrap_or_else(|| panic!("README.md has no block of {language} with {holds:?}"))
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Nor positions, which are drawn as well.
fn without_ids(line: &str) -> String {
    let line = without_positions(line);
    match line.split_once("\"payload\":{\"id\":\"") {
        Some((before, rest)) => format!("{before}…{}", rest.get(16..).unwrap_or("too short")),
        None => line,
    }
}

/// Somebody who follows the README, in a directory of their own, with the handler running.
struct Newcomer {
    directory: PathBuf,
    /// What is documented, and what stands for it here.
    addresses: Vec<(String, String)>,
    handler: Option<Program>,
}

/// The addresses of a running gateway.
struct Gateway {
    clients: String,
    grpc: String,
    admin: String,
    _program: Program,
}

impl Gateway {
    /// Whoever starts it by hand sees it ready before the next command is typed.
    async fn ready(&self) {
        let admin = self.admin.parse().expect("an address");
        let ready = async {
            while http::get(admin, "/health/ready", "localhost").await.0 != 200 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        within(DEADLINE, "ready", ready).await;
    }
}

impl Newcomer {
    fn new() -> Self {
        let directory = std::env::temp_dir().join(unique("myxi-test-readme"));
        fs::create_dir(&directory).expect("a directory");
        let handler = free_address();
        let addresses = vec![("127.0.0.1:50051".into(), handler.to_string())];
        let mut newcomer = Self { directory, addresses, handler: None };
        newcomer.run_to_end(newcomer.shell(&format!("cp -r {ROOT}/proto .")));
        newcomer.run_to_end(newcomer.shell(block("sh", "grpc_tools.protoc")));
        newcomer.write("app.py");
        newcomer.handler = Some(Program::start(newcomer.shell("python app.py")));
        let start = Instant::now();
        while TcpStream::connect(handler).is_err() {
            let app = newcomer.handler.as_ref().expect("it was started");
            assert!(start.elapsed() < DEADLINE, "app.py does not listen:\n{}", app.said());
            thread::sleep(Duration::from_millis(20));
        }
        newcomer
    }

    /// The same person, with further addresses to replace.
    fn clone_with(&self, addresses: &[(&str, &str)]) -> Self {
        let directory = self.directory.join("again");
        fs::create_dir(&directory).expect("a directory");
        let mut clone = Self { directory, addresses: self.addresses.clone(), handler: None };
        addresses.iter().for_each(|(documented, here)| clone.replace(documented, here));
        clone
    }

    fn replace(&mut self, documented: &str, here: &str) {
        self.addresses.push((documented.into(), here.into()));
    }

    /// Runs the README's command that holds this, and awaits that it listens.
    fn gateway(&self, command: &str, variables: &[(&str, &str)]) -> Gateway {
        let mut shell = self.shell(&self.here(block("sh", command)));
        for variable in ["MYXI_LISTEN", "MYXI_GRPC_LISTEN", "MYXI_ADMIN_LISTEN"] {
            shell.env(variable, "127.0.0.1:0");
        }
        shell.envs(variables.iter().copied());
        let program = Program::start(shell);
        let listening = program.line(|line| line.contains("\"listening\""));
        let listening: Value = serde_json::from_str(&listening).expect("a line of JSON");
        let address = |name: &str| listening[name].as_str().expect("an address").to_owned();
        let (clients, grpc, admin) = (address("clients"), address("grpc"), address("admin"));
        Gateway { clients, grpc, admin, _program: program }
    }

    fn python(&self, file: &str, gateway: &Gateway) -> Program {
        let path = self.write(file);
        let program = fs::read_to_string(&path).expect("just written");
        let here = program
            .replace("127.0.0.1:5005", &gateway.clients)
            .replace("127.0.0.1:5006", &gateway.grpc);
        fs::write(path, here).expect("written");
        Program::start(self.shell(&format!("python {file}")))
    }

    fn push_by_stub(&self, gateway: &Gateway) {
        self.python("push.py", gateway).succeeds();
    }

    /// Makes the request of the README's grpcurl with a stub, as grpcurl reads it: JSON, by
    /// the names of the proto file.
    fn push_by_grpcurl(&self, gateway: &Gateway) {
        const PUSH: &str = "import sys, grpc\n\
            from google.protobuf import json_format\n\
            from myxi.v1 import gateway_pb2 as pb, gateway_pb2_grpc as rpc\n\
            _, json, address, method = sys.argv\n\
            assert method == 'myxi.v1.Gateway/PushEvent', method\n\
            request = json_format.Parse(json, pb.PushEventRequest())\n\
            rpc.GatewayStub(grpc.insecure_channel(address)).PushEvent(request)\n";
        fs::write(self.directory.join("grpcurl.py"), PUSH).expect("written");
        let command = block("sh", "grpcurl -plaintext -d");
        let command = command.replace("grpcurl -plaintext -d", "python grpcurl.py");
        let command = command.replace("127.0.0.1:5006", &gateway.grpc);
        Program::start(self.shell(&command)).succeeds();
    }

    fn push_by_curl(&self, gateway: &Gateway) {
        let command = block("sh", "curl http://127.0.0.1:5006/myxi.v1.Gateway/PushEvent -H");
        let command = command.replace("curl http", "curl --silent --show-error --fail http");
        let command = command.replace("127.0.0.1:5006", &gateway.grpc);
        Program::start(self.shell(&command)).succeeds();
    }

    fn write(&self, file: &str) -> PathBuf {
        let path = self.directory.join(file);
        fs::write(&path, self.here(block("python", &format!("# {file}\n")))).expect("written");
        path
    }

    fn here(&self, text: &str) -> String {
        self.addresses.iter().fold(text.into(), |text, (documented, here)| {
            assert!(README.contains(documented.as_str()), "{documented}");
            text.replace(documented, here)
        })
    }

    fn run_to_end(&self, shell: Command) {
        Program::start(shell).succeeds();
    }

    /// `python` and `myxi` are those of this build.
    fn shell(&self, script: &str) -> Command {
        let python = python();
        let beside = |program: &Path| program.parent().expect("a folder").to_owned();
        let mut path =
            vec![beside(Path::new(&python)), beside(Path::new(env!("CARGO_BIN_EXE_myxi")))];
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let mut shell = Command::new("sh");
        shell
            .args(["-euc", script])
            .current_dir(&self.directory)
            .env("PATH", std::env::join_paths(path).expect("a path"))
            .env("PYTHONUNBUFFERED", "1")
            .env("NO_PROXY", "127.0.0.1");
        shell
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A running program and what it says, line by line. Killed on drop, with its children.
struct Program {
    child: Child,
    lines: mpsc::Receiver<String>,
    said: Mutex<Vec<String>>,
}

impl Program {
    fn start(mut command: Command) -> Self {
        let (lines_out, lines) = mpsc::channel();
        let mut child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("sh");
        let (out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let outputs: [Box<dyn Read + Send>; 2] = [Box::new(out), Box::new(err)];
        for output in outputs {
            let lines = lines_out.clone();
            thread::spawn(move || {
                let _ = BufReader::new(output)
                    .lines()
                    .map_while(Result::ok)
                    .try_for_each(|line| lines.send(line));
            });
        }
        Self { child, lines, said: Mutex::default() }
    }

    /// The next line that fits.
    fn line(&self, fits: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + DEADLINE;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.said.lock().unwrap().push(line.clone());
                    if fits(&line) {
                        return line;
                    }
                }
                Err(e) => panic!("awaited a line: {e}; it said:\n{}", self.said()),
            }
        }
    }

    fn succeeds(mut self) {
        let until = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("its state") {
                break status;
            }
            assert!(Instant::now() < until, "it does not end; it said:\n{}", self.said());
            thread::sleep(Duration::from_millis(10));
        };
        assert!(status.success(), "{status}; it said:\n{}", self.said());
    }

    fn said(&self) -> String {
        let mut said = self.said.lock().unwrap();
        said.extend(self.lines.try_iter());
        said.join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-9", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.child.wait();
    }
}
