//! Whether the application is there, speaks gRPC, has the service and takes the gateway's
//! token: known before the first client, and said in words that name the likely cause.

use std::process::Stdio;

use tokio::{
    io::AsyncReadExt,
    process::{Child, Command},
};

use crate::support::{gateway::Gateway, process::Myxi, unique};

use super::*;

#[tokio::test]
async fn it_is_asked_once_about_nothing_before_the_first_client() {
    let app = TestHandler::start().await;
    app.on("Act", |_| Ok(reply::events([])));
    let (asked, mut questions) = tokio::sync::mpsc::unbounded_channel();
    app.on_probe(move |question| {
        let _ = asked.send(question);
        Ok(proto::CheckSubscriptionsResponse::default())
    });
    let client = Client::start(config(&app.endpoint()), 1);
    client.ready().await;
    let question = questions.recv().await.unwrap();
    assert!(question.topics.is_empty());
    assert_eq!(question.reason(), proto::CheckReason::Unspecified);
    let session = question.session.expect("all of it: some languages' handlers die without");
    assert_eq!(session, proto::Session { id: "0".repeat(16), ..Default::default() });

    for _ in 0..20 {
        act(&client, "Act").await.unwrap();
        check(&client, CheckReason::Subscribe).await.unwrap();
    }
    assert_eq!(app.probes(), 1, "calls that succeed say it as well");
}

#[tokio::test]
async fn it_takes_no_turn_of_a_client_and_is_in_no_figure() {
    let app = TestHandler::start().await;
    app.on("Act", |_| Ok(reply::events([])));
    app.on_probe_async(|_| std::future::pending());
    let client = Client::start(config(&app.endpoint()), 1);
    until(|| app.probes() > 0).await;
    act(&client, "Act").await.unwrap();
    // An answer to anybody proves that it is there.
    client.ready().await;

    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    assert_eq!(app.probes(), 1);
    let (_, page) = crate::support::http::get(gateway.admin(), "/metrics", "localhost").await;
    let counted = page.lines().any(|line| {
        line.starts_with("myxi_application_calls")
            && line.contains("CheckSubscriptions")
            && !line.ends_with(" 0")
    });
    assert!(!counted, "{page}");
}

#[tokio::test]
async fn without_the_service_an_action_is_not_unknown_but_the_application_unavailable() {
    let app = TestHandler::start().await;
    app.on_probe(|_| Err(Status::unimplemented("unknown service")));
    let client = client(&app.endpoint());
    let problem = client.problem_with("ActionHandler").await;
    assert!(problem.contains("unknown service"), "{problem}");
    assert_kind(&act(&client, "Nothing").await, "Unavailable");
    app.on_probe(|_| Ok(proto::CheckSubscriptionsResponse::default()));
    client.ready().await;
    assert_kind(&act(&client, "Nothing").await, "Unimplemented");
}

#[tokio::test]
async fn an_action_of_which_it_is_not_known_yet_waits_for_the_answer() {
    let app = TestHandler::start().await;
    let gate = Arc::new(Notify::new());
    let opened = gate.clone();
    app.on_probe_async(move |_| {
        let gate = opened.clone();
        async move {
            gate.notified().await;
            Err(Status::unimplemented("unknown service"))
        }
    });
    let client = client(&app.endpoint());
    until(|| app.probes() > 0).await;
    let answer = async {
        app.next("HandleAction").await;
        gate.notify_one();
    };
    let (result, ()) = tokio::join!(act(&client, "Nothing"), answer);
    assert_kind(&result, "Unavailable");
}

#[tokio::test]
async fn any_other_answer_proves_the_service() {
    for code in [Code::Internal, Code::InvalidArgument, Code::PermissionDenied, Code::Unknown] {
        let app = TestHandler::start().await;
        app.on_probe(move |_| Err(Status::new(code, "no session here")));
        client(&app.endpoint()).ready().await;
    }
}

/// A handler answers it before it looks at anything, as the stock interceptors do.
#[tokio::test]
async fn a_refused_token_is_the_operators_and_no_users_affair() {
    let app = TestHandler::start().await;
    let refuse = || Err(Status::unauthenticated("bad token"));
    app.on("Act", move |_| Err(Status::unauthenticated("bad token")));
    app.on_probe(move |_| refuse());
    let mut config = config(&app.endpoint());
    let problem = Client::start(config.clone(), 1).problem_with("token").await;
    assert!(problem.contains("has no --action-handler-token"), "{problem}");
    config.token = Some("other".parse().unwrap());
    let client = Client::start(config, 1);
    let problem = client.problem_with("token").await;
    assert!(problem.contains("has another --action-handler-token"), "{problem}");
    assert_kind(&act(&client, "Act").await, "Unavailable");

    app.on_probe(|_| Ok(proto::CheckSubscriptionsResponse::default()));
    client.ready().await;
    // Now it is about the user.
    assert_kind(&act(&client, "Act").await, "Unauthenticated");
}

#[tokio::test]
async fn a_token_that_is_refused_later_is_seen_where_no_user_is_meant() {
    let app = TestHandler::start().await;
    let client = client(&app.endpoint());
    let refuse_probes = || app.on_probe(|_| Err(Status::unauthenticated("rotated")));
    let accept_probes = || app.on_probe(|_| Ok(proto::CheckSubscriptionsResponse::default()));
    client.ready().await;

    refuse_probes();
    app.on_check(|_| Err(Status::unauthenticated("rotated")));
    assert_kind(&check(&client, CheckReason::Recheck).await, "Unavailable");
    client.problem_with("token").await;
    accept_probes();
    client.ready().await;

    refuse_probes();
    app.on_closed(|_| Err(Status::unauthenticated("rotated")));
    let reason = Close::new(Close::ABNORMAL, "gone");
    client.session_closed(&session(), &reason, Duration::ZERO).await;
    client.problem_with("token").await;
}

/// What stands at a port that is the wrong one.
struct WrongPort {
    endpoint: String,
    _process: Child,
}

impl WrongPort {
    /// Runs a server that listens at a free port of loopback.
    async fn run(command: impl FnOnce(u16) -> Command) -> Self {
        let port = free_address().port();
        let mut command = command(port);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.kill_on_drop(true).spawn().expect("it is installed");
        until(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
        Self { endpoint: format!("http://127.0.0.1:{port}"), _process: process }
    }
}

#[tokio::test]
async fn a_web_port_is_called_one() {
    let web = WrongPort::run(|port| {
        let mut command = Command::new(crate::support::python::python());
        command.args(["-m", "http.server", "--bind=127.0.0.1", &port.to_string()]);
        command
    })
    .await;
    client(&web.endpoint).problem_with("the application's web port").await;
    for said in ["HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n", "220 mail.internal\r\n"] {
        let server = RawServer::start(move |mut stream, _| async move {
            let _ = stream.write_all(said.as_bytes()).await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
        .await;
        let client = client(&server.endpoint());
        let problem = client.problem_with(said.lines().next().unwrap()).await;
        assert_eq!(problem.contains("web port"), said.starts_with("HTTP"), "{problem}");
        assert_kind(&act(&client, "Act").await, "Unreachable");
    }
}

#[tokio::test]
async fn a_port_that_expects_tls_is_called_one() {
    let files = std::env::temp_dir().join(unique("myxi-test-tls-port"));
    let (key, certificate) = (files.with_extension("key"), files.with_extension("pem"));
    let mut make = Command::new("openssl");
    make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
    make.args(["-subj", "/CN=test", "-keyout"]).arg(&key).arg("-out").arg(&certificate);
    assert!(make.output().await.expect("openssl").status.success());
    let tls = WrongPort::run(|port| {
        let mut command = Command::new("openssl");
        command.args(["s_server", "-quiet", "-accept", &format!("127.0.0.1:{port}"), "-key"]);
        command.arg(&key).arg("-cert").arg(&certificate);
        command
    })
    .await;
    client(&tls.endpoint).problem_with("expects TLS").await;
    for file in [key, certificate] {
        let _ = std::fs::remove_file(file);
    }
}

#[tokio::test]
async fn a_port_of_another_grpc_service_is_called_one() {
    let app = TestHandler::start().await;
    let other = Gateway::start(&app).await;
    let client = client(&format!("http://{}", other.grpc()));
    client.problem_with("another service's").await;
    assert_kind(&act(&client, "Act").await, "Unavailable");
}

#[tokio::test]
async fn a_port_that_says_nothing_or_hangs_up_is_said_to() {
    let silent = RawServer::start(|stream, _| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    client(&silent.endpoint()).problem_with("no HTTP/2, which gRPC needs, came within").await;
    let closing = RawServer::start(|stream, _| async move { drop(stream) }).await;
    let client = client(&closing.endpoint());
    until(|| {
        client.problem().is_some_and(|problem| {
            problem.contains("closes connections without a word") || problem.contains("reset")
        })
    })
    .await;
}

#[tokio::test]
async fn the_gateways_own_ports_are_known_by_their_flags() {
    for flag in ["--listen", "--grpc-listen", "--admin-listen"] {
        let own = free_address();
        let mut command = Myxi::bare_with(&[&format!("{flag}={own}")]);
        command.arg("--exchange=widgets").arg(format!("--action-handler=http://{own}"));
        let gateway = Myxi::run(command).await;
        degraded_with(&gateway, &format!("own port ({flag})")).await;
        gateway.logged("own port").await;
    }
}

#[tokio::test]
async fn every_workers_connection_counts() {
    // It takes one worker's connection alone.
    let server = RawServer::start(|mut stream, number| async move {
        if number > 0 {
            let _ = stream.read(&mut [0; 1024]).await;
            return;
        }
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_request, respond))) = connection.accept().await {
            succeed(respond);
        }
    })
    .await;
    let mut command = Myxi::bare_with(&["--worker-threads=2"]);
    command.arg("--exchange=widgets").arg(format!("--action-handler={}", server.endpoint()));
    let gateway = Myxi::run(command).await;
    degraded_with(&gateway, "without a word").await;
}

async fn degraded_with(gateway: &Myxi, part: &str) {
    until_async(async || {
        let (status, body) = gateway.health().await;
        assert_eq!(status, 200);
        body["status"] == "degraded" && body["reasons"].to_string().contains(part)
    })
    .await;
}
