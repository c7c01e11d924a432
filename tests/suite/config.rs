//! Flags and variables: what they make, what is refused and how it is told.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use myxi::config::{BusConfig, Config, ConfigErrors, DrainConfig, Limits, Note, SessionOpened};
use myxi::internals::{net::origin::OriginPolicy, protocol::Dialect};

use crate::support::DEADLINE;

const REQUIRED: [&str; 4] = ["--action-handler", "http://127.0.0.1:50051", "--exchange", "widgets"];

fn with(flags: &[&str]) -> Result<Config, ConfigErrors> {
    Config::from_flags(REQUIRED.into_iter().chain(flags.iter().copied()))
}

fn valid(flags: &[&str]) -> Config {
    with(flags).expect("a valid configuration")
}

/// The only problem of these flags beside the required ones.
fn problem(flags: &[&str]) -> String {
    let ConfigErrors(problems) = with(flags).expect_err("a problem");
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems.into_iter().next().expect("one")
}

/// `myxi` in an environment that holds nothing but `variables`.
fn myxi(args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_myxi"));
    command.args(args).env_clear().envs(variables.iter().copied());
    command.output().expect("myxi runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// What `myxi serve` printed when it refused to start.
fn refusal(args: &[&str], variables: &[(&str, &str)]) -> String {
    let args: Vec<_> = std::iter::once("serve").chain(args.iter().copied()).collect();
    let output = myxi(&args, variables);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty());
    text(&output.stderr).to_owned()
}

#[test]
fn defaults_are_those_that_are_promised() {
    let config = valid(&[]);
    assert_eq!(config.listen, SocketAddr::from(([0, 0, 0, 0], 5005)));
    assert_eq!(config.grpc.listen, SocketAddr::from(([127, 0, 0, 1], 5006)));
    assert_eq!(config.admin.listen, SocketAddr::from(([127, 0, 0, 1], 5007)));
    assert_eq!(config.application.timeout, Duration::from_secs(3));
    assert_eq!(config.application.max_in_flight, 256);
    assert_eq!(config.session_opened, SessionOpened::Off);
    assert_eq!(config.recheck_interval, Duration::from_secs(60));
    assert_eq!(config.bus, BusConfig::Memory);
    assert!(!config.ready_requires_bus);
    assert_eq!(config.origins, OriginPolicy::SameHostOr(Vec::new()));
    assert!(config.paths.is_empty() && config.subprotocols.is_empty() && !config.health_on_listen);
    let limits = Limits {
        max_message_size: 64 << 10,
        max_event_size: 256 << 10,
        max_outbox: 1 << 20,
        resume_buffer: 64 << 20,
        max_unread_actions: 256,
        max_subscriptions: 1000,
        max_connections: 10_000,
        max_pending_handshakes: 1000,
        handshake_timeout: Duration::from_secs(5),
        ping_interval: Duration::from_secs(25),
    };
    assert_eq!(config.limits, limits);
    let drain = DrainConfig { shutdown_delay: Duration::ZERO, drain_time: Duration::from_secs(10) };
    assert_eq!(config.drain, drain);
    assert!(config.worker_threads >= 1);
}

#[test]
fn what_is_written_is_what_is_used() {
    let config = valid(&[
        "--listen=[::1]:0",
        "--grpc-listen=0.0.0.0:6000",
        "--grpc-token=push-secret",
        "--action-handler-token=call-secret",
        "--admin-token=look-secret",
        "--exchange=gadgets;max-age=30s,gizmos",
        "--rabbitmq-url=amqp://u:p@one,amqps://two/shop",
        "--rabbitmq-url=amqp://three",
        "--ready-requires-bus",
        "--session-opened=required",
        "--forward-header=Cookie, x-tenant",
        "--allow-origin=https://app.example.com",
        "--path=/ws/,/a%20b",
        "--path=/cable",
        "--compatibility=myxi",
        "--subprotocol=v1.json, v2",
        "--health-on-listen",
        "--trusted-proxy=10.0.0.0/8,192.0.2.7",
        "--max-outbox=128KiB",
        "--shutdown-delay=5s",
        "--worker-threads=3",
    ]);
    assert!(config.listen.is_ipv6());
    assert_eq!(config.grpc.token.expect("a token").header(), "Bearer push-secret");
    assert_eq!(config.application.token.expect("a token").header(), "Bearer call-secret");
    assert_eq!(config.admin.token.expect("a token").header(), "Bearer look-secret");
    assert_eq!(config.application.endpoint.to_string(), "http://127.0.0.1:50051");
    let names: Vec<_> = config.exchanges.iter().map(|exchange| exchange.name.as_str()).collect();
    assert_eq!(names, ["widgets", "gadgets", "gizmos"]);
    assert_eq!(config.exchanges[1].max_age, Duration::from_secs(30));
    let BusConfig::RabbitMq { urls } = config.bus else { panic!("{:?}", config.bus) };
    let urls: Vec<_> = urls.iter().map(ToString::to_string).collect();
    assert_eq!(urls, ["amqp://one:5672", "amqps://two:5671/shop", "amqp://three:5672"]);
    assert!(config.ready_requires_bus);
    assert_eq!(config.session_opened, SessionOpened::Required);
    assert_eq!(config.forward_headers, ["cookie", "x-tenant"]);
    let app = "https://app.example.com".parse().expect("an origin");
    assert_eq!(config.origins, OriginPolicy::SameHostOr(vec![app]));
    let texts = |texts: &[Box<str>]| texts.join(" ");
    assert_eq!(texts(&config.paths), "/ws /a%20b /cable");
    assert_eq!(texts(&config.subprotocols), "v1.json v2");
    assert_eq!(config.compatibility, Some(Dialect::Original));
    assert!(config.health_on_listen);
    assert_eq!(config.limits.max_event_size, 32 << 10, "a quarter of the smaller outbox");
    assert_eq!(config.drain.shutdown_delay, Duration::from_secs(5));
    assert_eq!(config.worker_threads, 3);
    assert!(config.notes.is_empty());
}

#[test]
fn the_memory_bus_comes_with_a_warning() {
    let notes = valid(&[]).notes;
    assert!(matches!(&notes[..], [Note::Warning(text)] if text.contains("--rabbitmq-url")));
}

#[test]
fn any_origin_is_one_star() {
    let config = valid(&["--allow-origin", "https://a.example,*"]);
    assert_eq!(config.origins, OriginPolicy::Any);
}

#[test]
fn every_wrong_value_says_what_to_write() {
    for (flag, advice) in [
        ("--listen=5005", "write for example 127.0.0.1:5005"),
        ("--grpc-listen=localhost:5006", "write for example 127.0.0.1:5005"),
        ("--admin-listen=127.0.0.1", "write for example 127.0.0.1:5005"),
        ("--grpc-token=a b", "openssl rand -hex 32"),
        ("--action-handler-token=", "openssl rand -hex 32"),
        ("--admin-token=ü", "openssl rand -hex 32"),
        ("--action-timeout=0s", "write 1ms or more"),
        ("--max-in-flight=0", "write 1 to"),
        ("--session-opened=maybe", "write off or required"),
        ("--recheck-interval=often", "write for example 1500ms"),
        ("--forward-header=a b", "write for example cookie"),
        ("--exchange=widgets", "name each exchange once"),
        ("--exchange=x;kind=direct;max-age=1h", "leave max-age out"),
        ("--rabbitmq-url=http://broker", "write amqp://"),
        ("--rabbitmq-url=", "leave it out"),
        ("--ready-requires-bus=perhaps", "write true or false"),
        ("--allow-origin=https://a.example/", "without a path"),
        ("--path=ws", "write for example /ws"),
        ("--path=/ws?x", "without a query"),
        ("--path=/a b", "percent-encoded"),
        ("--path=/", "is taken"),
        ("--path=/health", "is taken"),
        ("--path=/health/live", "is taken"),
        ("--path=/myxi.js", "is taken"),
        ("--path=/myxi.js/", "is taken"),
        ("--compatibility=1.0", "write myxi, or leave it out"),
        ("--subprotocol=a b", "write for example actioncable"),
        ("--subprotocol=", "leave it out"),
        ("--health-on-listen=perhaps", "write true or false"),
        ("--trusted-proxy=proxy", "write for example 10.0.0.0/8"),
        ("--handshake-timeout=0", "write 1ms or more"),
        ("--ping-interval=25 seconds", "write for example 1500ms"),
        ("--max-message-size=64K", "write for example 64KiB"),
        ("--max-event-size=257KiB", "write 262144 (bytes) or less"),
        ("--max-event-size=5MiB", "write 1KiB to 4MiB"),
        ("--max-outbox=2GiB", "write 64KiB to 1GiB"),
        ("--max-unread-actions=-1", "write 1 to"),
        ("--max-subscriptions=1e3", "write 1 to"),
        ("--max-connections=many", "write 1 to"),
        ("--max-pending-handshakes=0", "write 1 to"),
        ("--shutdown-delay=x", "write for example 1500ms"),
        ("--drain-time=10.5s", "write for example 1500ms"),
        ("--worker-threads=0", "write 1 to 1024"),
        ("--log=inof", "write for example info"),
        ("--log-format=xml", "write auto, text or json"),
    ] {
        let problem = problem(&[flag]);
        let (name, _) = flag.split_once('=').expect("a value");
        assert!(problem.starts_with(&format!("{name}: ")), "{problem}");
        assert!(problem.contains(advice), "{problem}");
    }
}

#[test]
fn callers_from_elsewhere_need_a_token() {
    for reachable in ["0.0.0.0:5006", "[::]:5006", "10.0.0.1:5006"] {
        let problem = problem(&["--grpc-listen", reachable]);
        assert!(problem.contains("MYXI_GRPC_TOKEN"), "{problem}");
        valid(&["--grpc-listen", reachable, "--grpc-token", "s3cret"]);
    }
    for loopback in ["127.0.0.1:0", "127.8.8.8:1", "[::1]:5006", "[::ffff:127.0.0.1]:5006"] {
        valid(&["--grpc-listen", loopback]);
    }
}

#[test]
fn two_listeners_do_not_share_a_port() {
    let problem = problem(&["--admin-listen", "127.0.0.1:5005"]);
    assert_eq!(problem, "--admin-listen: port 5005 is also that of --listen; write another");
    valid(&["--listen", "127.0.0.1:7000", "--admin-listen", "127.0.0.2:7000"]);
    valid(&["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
}

#[test]
fn secrets_do_not_show() {
    let flags = ["--grpc-token=s3cret", "--action-handler-token=s3cret", "--admin-token=s3cret"];
    let config = valid(&[&flags[..], &["--rabbitmq-url=amqp://u:s3cret@host"]].concat());
    assert!(!format!("{config:?}").contains("s3cret"));
    let wrong = refusal(
        &["--grpc-token=s3cret with spaces", "--rabbitmq-url=amqp://u:s3cret,s3cret@host"],
        &[("MYXI_ACTION_HANDLER_TOKEN", "s3cret é")],
    );
    assert!(wrong.contains("--grpc-token") && wrong.contains("MYXI_ACTION_HANDLER_TOKEN"));
    assert!(wrong.contains("--rabbitmq-url") && !wrong.contains("s3cret"), "{wrong}");
}

#[test]
fn a_start_without_anything_says_all_that_is_missing() {
    let message = refusal(&[], &[]);
    assert!(message.contains("- --action-handler (MYXI_ACTION_HANDLER) is missing"), "{message}");
    assert!(message.contains("- --exchange (MYXI_EXCHANGES) is missing"), "{message}");
}

#[test]
fn a_problem_names_the_variable_or_the_flag_that_was_written() {
    let variables = [
        ("MYXI_EXCHANGES", "amq.direct"),
        ("MYXI_DRAIN_TIME", "soon"),
        ("MYXI_READY_REQUIRES_BUS", "perhaps"),
        ("MYXI_LISTEN", "garbage"),
        ("RABBITMQ_URL", "garbage"),
        ("MYXI_PORT", "garbage"),
    ];
    let message =
        refusal(&["--listen=1.2.3.4:5", "--max-outbox=x", "--action-handler=x"], &variables);
    for name in [
        "MYXI_EXCHANGES",
        "MYXI_DRAIN_TIME",
        "MYXI_READY_REQUIRES_BUS",
        "RABBITMQ_URL",
        "--max-outbox",
        "--action-handler",
    ] {
        assert!(message.contains(&format!("- {name}: ")), "{name}: {message}");
    }
    assert_eq!(message.matches("\n- ").count(), 6, "a flag wins over its variable: {message}");
}

#[test]
fn the_port_comes_from_the_first_variable_that_has_one() {
    let variables =
        [("MYXI_PORT", "tcp://10.0.0.1:5005"), ("MIXI_PORT", "here"), ("PORT", "there")];
    assert!(refusal(&[], &variables).contains("- MIXI_PORT: \"here\""));
    assert!(refusal(&[], &variables[2..]).contains("- PORT: \"there\""));
    assert!(refusal(&[], &[("MYXI_BIND_ADDRESS", "x")]).contains("- MYXI_BIND_ADDRESS: \"x\""));
}

#[test]
fn an_empty_variable_is_none() {
    let variables = [("MYXI_DRAIN_TIME", ""), ("MYXI_GRPC_TOKEN", ""), ("RABBITMQ_URL", "")];
    let message = refusal(&[], &variables);
    assert_eq!(message.matches("\n- ").count(), 2, "only the required ones: {message}");
}

#[test]
fn help_and_version_are_no_failures() {
    let version = myxi(&["--version"], &[]);
    assert!(version.status.success());
    assert_eq!(text(&version.stdout), concat!("myxi ", env!("CARGO_PKG_VERSION"), "\n"));
    let help = myxi(&["serve", "--help"], &[("MYXI_GRPC_TOKEN", "s3cret")]);
    assert!(help.status.success());
    let help = text(&help.stdout);
    for needed in ["--action-handler", "RABBITMQ_URL", "[default: 64KiB]", "MYXI_BIND_ADDRESS"] {
        assert!(help.contains(needed), "{needed}: {help}");
    }
    assert!(!help.contains("s3cret"), "{help}");
}

#[test]
fn what_myxi_does_not_know_is_refused_with_help() {
    let nothing = myxi(&[], &[]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(text(&nothing.stderr).contains("Usage: myxi <COMMAND>"), "{nothing:?}");
    let typo = myxi(&["serve", "--exchnage", "widgets"], &[]);
    assert_eq!(typo.status.code(), Some(2));
    assert!(text(&typo.stderr).contains("--exchange"), "{typo:?}");
}

/// The first line that a starting gateway logs into a pipe.
fn first_log_line(flags: &[&str]) -> String {
    struct Gateway(Child);
    impl Drop for Gateway {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_myxi"));
    command.arg("serve").args(REQUIRED).args(flags).env_clear().stderr(Stdio::piped());
    for listener in ["--listen", "--grpc-listen", "--admin-listen"] {
        command.args([listener, "127.0.0.1:0"]);
    }
    let mut gateway = Gateway(command.spawn().expect("myxi starts"));
    let stderr = gateway.0.stderr.take().expect("a pipe");
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let line = BufReader::new(stderr).lines().next();
        sender.send(line.expect("a line").expect("UTF-8"))
    });
    lines.recv_timeout(DEADLINE).expect("a line in time")
}

#[test]
fn logs_are_json_where_nobody_watches_and_text_on_demand() {
    let line = first_log_line(&[]);
    let json: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(json["level"], "WARN");
    assert!(json["message"].as_str().is_some_and(|text| text.contains("RABBITMQ_URL")), "{line}");
    let line = first_log_line(&["--log-format", "text"]);
    assert!(line.contains(" WARN ") && !line.contains('\u{1b}'), "no colours in a pipe: {line}");
}
