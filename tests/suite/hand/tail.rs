//! `myxi tail`: what is pushed is shown, whatever happens to the connection, and in a form that
//! does whoever reads it no harm.

use std::{net::SocketAddr, sync::Arc};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::TcpListener,
    task::JoinSet,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};
use tonic::Status;

use super::{Running, SECRET, bare, end, myxi, way::Way};
use crate::{
    support::{
        DEADLINE,
        fleet::Fleet,
        gateway::{Addresses, Gateway},
        handler::{
            TestHandler, free_address,
            proto::{
                CheckSubscriptionsResponse, Decision, Event, HandleActionResponse, SessionUpdate,
            },
        },
        process::Myxi,
        rabbitmq::RabbitMq,
        within,
    },
    tls::Authority,
};

/// Lets those subscribe who know the secret.
async fn application() -> TestHandler {
    let app = TestHandler::start().await;
    app.on("Login", |request| {
        if request.payload != format!(r#"{{"password":"{SECRET}"}}"#) {
            return Err(Status::permission_denied("wrong password"));
        }
        let welcome = Event { event: "LoggedIn".into(), payload: "{}".into() };
        let update = SessionUpdate { set_auth: Some("1".into()), ..Default::default() };
        Ok(HandleActionResponse {
            events: vec![welcome],
            session_update: Some(update),
            ..Default::default()
        })
    });
    app.on_check(|request| {
        let known = request.session.is_some_and(|session| session.auth.is_some());
        let decision = if known { Decision::Allow } else { Decision::Deny };
        let decisions = vec![decision.into(); request.topics.len()];
        Ok(CheckSubscriptionsResponse { decisions })
    });
    app
}

/// Runs until it is subscribed.
async fn tail(gateway: &Addresses, app: &TestHandler, args: &[&str]) -> Running {
    let args: Vec<_> = std::iter::once("tail").chain(args.iter().copied()).collect();
    let running = Running::start(myxi(gateway, &args));
    subscribed(gateway, app).await;
    running
}

/// An event that is pushed is acknowledged before the replica has read it.
async fn push_and_read(gateway: &Addresses, event: &str, payload: Value) {
    let mut reader = gateway.subscribers(1, "widgets", "1").await.remove(0);
    gateway.push("widgets", "1", event, payload).await;
    reader.event(event).await;
    reader.close().await;
}

/// One more client holds a subscription.
async fn subscribed(gateway: &Addresses, app: &TestHandler) {
    app.next("CheckSubscriptions").await;
    within(DEADLINE, "a subscription", async {
        loop {
            let (_, metrics) =
                crate::support::http::get(gateway.admin, "/metrics", "localhost").await;
            let live = metrics.lines().find_map(|line| line.strip_prefix("myxi_subscriptions "));
            if live.is_some_and(|count| count != "0") {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_logs_in_and_shows_events_as_they_were_written() {
    let app = application().await;
    let gateway = Gateway::start(&app).await;
    let login = format!(r#"Login={{"password":"{SECRET}"}}"#);
    let args = ["widgets", "1", "2", "--count=2", "--login", &login];
    let mut tail = tail(&gateway, &app, &args).await;
    gateway.push("widgets", "2", "Changed", json!({"n": 1})).await;
    gateway.push("widgets", "3", "Changed", json!({"n": 2})).await;
    let payload = r#"{"n":123456789012345678901234567890,  "x":1.0e2}"#;
    let args = ["push", "widgets", "1", "Changed", payload];
    end(myxi(&gateway, &args)).await.well();

    let first = tail.json().await;
    assert_eq!(first["exchange"], "widgets");
    assert_eq!(first["routing_key"], "2");
    assert_eq!(first["event"], "Changed");
    assert_eq!(first["payload"], json!({"n": 1}));
    assert!(first["at_ms"].is_u64() && first["position"].is_string(), "{first}");
    let line = tail.line().await;
    assert!(
        line.contains(&format!(r#""routing_key":"1","event":"Changed","payload":{payload},"#)),
        "{line}"
    );
    assert_eq!(tail.ended().await, Some(0));
    assert_eq!(tail.rest_of_stderr().await, "");
    assert_eq!(app.next("SessionClosed").await.closed().code, 1000);
}

#[tokio::test]
async fn who_is_refused_is_told_why_and_no_secret_is_printed() {
    let app = application().await;
    let gateway = Gateway::start(&app).await;
    let mut command = myxi(&gateway, &["tail", "widgets", "1"]);
    command.env("MYXI_LOGIN", format!(r#"Login={{"password":"not {SECRET}"}}"#));
    let said = end(command).await.badly();
    assert!(said.contains("the login is refused: PermissionDenied"), "{said}");
    let said = end(myxi(&gateway, &["tail", "widgets", "1"])).await.badly();
    assert_eq!(said, "myxi tail: widgets 1 cannot be subscribed to: SubscriptionDenied\n");
    let said = end(myxi(&gateway, &["tail", "nowhere", "1"])).await.badly();
    assert!(said.contains("InvalidExchangeName"), "{said}");
    let said = end(bare(&["tail", "widgets", "1", "--url=ws://127.0.0.1:1/?token=S3CR3T-T0K3N"]))
        .await
        .badly();
    assert!(said.contains("no connection to ws://127.0.0.1:1/ ("), "{said}");
}

#[tokio::test]
async fn it_begins_with_the_last_events_or_behind_a_position() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    for n in 0..5 {
        push_and_read(&gateway, "E", json!(n)).await;
    }
    let args = ["tail", "widgets", "1", "--last=3", "--count=3"];
    let last = end(myxi(&gateway, &args)).await.well();
    let last: Vec<Value> =
        last.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(last.iter().map(|event| &event["payload"]).collect::<Vec<_>>(), [2, 3, 4]);
    let position = last[0]["position"].as_str().expect("a position");
    let after = format!("--after={position}");
    let args = ["tail", "widgets", "1", &after, "--count=2"];
    let rest = end(myxi(&gateway, &args)).await.well();
    let [first, second] = rest.lines().collect::<Vec<_>>()[..] else { panic!("{rest}") };
    assert!(first.contains(r#""payload":3,"#) && second.contains(r#""payload":4,"#), "{rest}");
}

#[tokio::test]
async fn a_connection_that_is_cut_costs_no_event() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let way = Way::to(gateway.clients.port()).await;
    let url = format!("--url=ws://127.0.0.1:{}/", way.port());
    let mut tail = tail(&gateway, &app, &["widgets", "1", &url]).await;
    for n in 0..30 {
        gateway.push("widgets", "1", "E", json!(n)).await;
        assert_eq!(tail.json().await["payload"], n);
        if n % 10 == 5 {
            way.cut();
            tail.said("; connecting again").await;
            gateway.push("widgets", "1", "E", json!("missed")).await;
            way.mend();
            assert_eq!(tail.json().await["payload"], "missed");
            tail.said("connected again").await;
        }
    }
}

#[tokio::test]
async fn a_gateway_that_stops_and_comes_back_costs_no_event() {
    let broker = RabbitMq::shared().await;
    let fleet = Fleet::start(broker, 1).await;
    let (other, flags) = (&fleet[0], fleet.flags(broker));
    let at = format!("--listen={}", free_address());
    let flags = flags.iter().map(String::as_str).chain(["--drain-time=0s", &at]);
    let flags: Vec<_> = flags.collect();
    let mut gateway = Myxi::serve(&fleet.app, &flags).await;
    let mut tail = tail(&gateway, &fleet.app, &[&fleet.exchange, "1"]).await;
    other.push(&fleet.exchange, "1", "E", json!(0)).await;
    assert_eq!(tail.json().await["payload"], 0);

    gateway.signal("TERM");
    tail.said("; connecting again").await;
    gateway.ended().await;
    for n in 1..100 {
        other.push(&fleet.exchange, "1", "E", json!(n)).await;
    }
    let _gateway = Myxi::serve(&fleet.app, &flags).await;
    tail.said("connected again").await;
    other.push(&fleet.exchange, "1", "E", json!(100)).await;
    for n in 1..=100 {
        assert_eq!(tail.json().await["payload"], n);
    }
}

#[tokio::test]
async fn a_log_that_is_gone_is_said() {
    let app = TestHandler::start().await;
    let at = format!("--listen={}", free_address());
    let mut gateway = Myxi::serve(&app, &["--exchange=widgets", "--drain-time=0s", &at]).await;
    let mut tail = tail(&gateway, &app, &["widgets", "1"]).await;
    gateway.signal("TERM");
    gateway.ended().await;
    let gateway = Myxi::serve(&app, &["--exchange=widgets", &at]).await;
    tail.said("events are missing (unknown)").await;
    tail.said("connected again").await;
    gateway.push("widgets", "1", "E", json!(1)).await;
    assert_eq!(tail.json().await["payload"], 1);
}

#[tokio::test]
async fn who_is_sent_away_stays_away_and_who_may_come_back_does() {
    let app = TestHandler::start().await;
    let gateway = Gateway::with(&app, &["--exchange=widgets", "--session-opened=required"]).await;
    let mut tail = Running::start(myxi(&gateway, &["tail", "widgets", "1"]));
    let id = async |app: &TestHandler| {
        let call = app.next("SessionOpened").await;
        call.opened().session.clone().expect("a session").id
    };
    let first = id(&app).await;
    subscribed(&gateway, &app).await;
    gateway.disconnect(&first, 4000, "again").await;
    let said = tail.said("connecting again").await;
    assert!(said.contains("(4000 again)"), "{said}");
    let second = id(&app).await;
    tail.said("connected again").await;
    gateway.disconnect(&second, 4500, "\u{1b}[2Jaway").await;
    let said = tail.said("not to come back").await;
    assert!(said.contains("(4500 \\u{1b}[2Jaway)"), "{said}");
    assert_eq!(tail.ended().await, Some(1));
}

#[tokio::test]
async fn a_signal_and_a_reader_that_has_enough_end_it_well() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    for name in ["INT", "TERM"] {
        let mut tail = tail(&gateway, &app, &["widgets", "1"]).await;
        tail.signal(name);
        assert_eq!(tail.ended().await, Some(0), "SIG{name}");
        assert_eq!(tail.rest_of_stderr().await, "");
        assert_eq!(app.next("SessionClosed").await.closed().code, 1000);
    }
    let mut tail = tail(&gateway, &app, &["widgets", "1"]).await;
    gateway.push("widgets", "1", "E", json!(1)).await;
    tail.line().await;
    // Also where nothing more comes.
    tail.stdout = None;
    assert_eq!(tail.ended().await, Some(0));
    assert_eq!(tail.rest_of_stderr().await, "");
    assert_eq!(app.next("SessionClosed").await.closed().code, 1000);
}

/// An admin listener that gives these answers, one after another; without one it closes.
async fn answering(answers: Vec<Option<Value>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        for answer in answers {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") && socket.read_buf(&mut request).await.is_ok() {}
            let Some(body) = answer.map(|answer| answer.to_string()) else { continue };
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            socket.write_all(format!("{head}{body}").as_bytes()).await.expect("sent");
        }
    });
    address
}

#[tokio::test]
async fn without_keys_it_says_what_it_does_not_show() {
    let event = |n: u64| {
        json!({"at_ms": 0, "exchange": "widgets", "routing_key": "1", "event": "E",
            "payload": n.to_string(), "bytes": 1})
    };
    let address = answering(vec![
        Some(json!({"next": 3, "skipped": 0, "events": [event(1), event(2), event(3)]})),
        Some(json!({"next": 9, "skipped": 5, "unwatched": true, "events": [event(9)]})),
        None,
        Some(json!({"next": 9, "skipped": 0, "events": []})),
        Some(json!({"next": 4, "skipped": 0, "events": [event(4)]})),
    ])
    .await;
    let admin = format!("--admin=http://{address}");
    let mut command = bare(&["tail", "widgets", "--last=2", "--count=4", &admin]);
    command.env("MYXI_ADMIN_TOKEN", SECRET);
    let mut tail = Running::start(command);
    for shown in [2, 3, 9, 4] {
        assert_eq!(tail.json().await["payload"], shown);
    }
    let said = tail.rest_of_stderr().await;
    for told in [
        "the gateway was not asked in time: what passed meanwhile is not shown",
        "5 events (of all exchanges) passed that are not shown",
        "asking again",
        "the gateway answers again",
        "the gateway is another one: what passed meanwhile is not shown",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
    assert!(!said.contains(SECRET), "{said}");
    assert_eq!(tail.ended().await, Some(0));
}

/// `script` gives it a terminal.
#[tokio::test]
async fn nothing_of_a_strangers_event_reaches_a_terminal_as_a_command() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let name = "\u{1b}]0;owned\u{7}\u{9b}2J";
    // As text it may stand in JSON, but for the first of them.
    let payload = json!({"s": "\u{9b}31m\u{202e}ü\u{7f}"});
    push_and_read(&gateway, name, payload).await;
    let shown = async |variables: &[(&str, &str)]| {
        let mut command = myxi(&gateway, &[]);
        let mut script = tokio::process::Command::new("script");
        let myxi = format!("{} tail widgets 1 --last=1 --count=1", env!("CARGO_BIN_EXE_myxi"));
        script.args(["--quiet", "--return", "--command", &myxi, "/dev/null"]);
        let own = command.as_std().get_envs().filter_map(|(name, value)| Some((name, value?)));
        script.env_clear().envs(own).envs(variables.iter().copied());
        script.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
        script.stderr(std::process::Stdio::piped()).kill_on_drop(true);
        command = script;
        end(command).await.well()
    };
    let bare = shown(&[("NO_COLOR", "1")]).await;
    let text = bare.trim_end();
    assert!(!text.chars().any(char::is_control) && !text.contains('\u{202e}'), "{text:?}");
    assert!(text.contains("Z  1  \\u{1b}]0;owned\\u{7}\\u{9b}2J  "), "{text}");
    assert!(text.ends_with(r#"{"s":"\u009b31m\u202eü\u007f"}"#), "{text}");
    let coloured = shown(&[("TERM", "xterm")]).await;
    let ours = ["\x1b[2m", "\x1b[36m", "\x1b[1m", "\x1b[0m"];
    let rest = ours.iter().fold(coloured.clone(), |text, code| text.replace(code, ""));
    assert!(coloured != rest && !rest.trim_end().chars().any(char::is_control), "{coloured:?}");
}

#[tokio::test]
async fn without_keys_it_shows_what_the_console_shows() {
    let app = TestHandler::start().await;
    let flags = ["--exchange=widgets,others", "--admin-token=right"];
    let gateway = Gateway::with(&app, &flags).await;
    let said = end(myxi(&gateway, &["tail", "widgets"])).await.badly();
    assert!(said.contains("refuses: the token") && said.contains("MYXI_ADMIN_TOKEN"), "{said}");
    let mut command = myxi(&gateway, &["tail", "widgets"]);
    command.env("MYXI_ADMIN_TOKEN", SECRET);
    end(command).await.badly();

    let mut command = myxi(&gateway, &["tail", "widgets"]);
    command.env("MYXI_ADMIN_TOKEN", "right");
    let mut tail = Running::start(command);
    // Nothing says when it has begun to watch.
    let shown: Value = within(DEADLINE, "an event", async {
        for n in 0.. {
            gateway.push("others", "1", "E", json!(n)).await;
            gateway.push("widgets", &n.to_string(), "E", json!({"n": n})).await;
            let pause = std::time::Duration::from_millis(100);
            if let Ok(line) = tokio::time::timeout(pause, tail.line()).await {
                return serde_json::from_str(&line).expect("JSON");
            }
        }
        Value::Null
    })
    .await;
    assert_eq!(shown["exchange"], "widgets");
    assert_eq!(shown["routing_key"], shown["payload"]["n"].to_string());
    gateway.push("widgets", "long", "E", json!("x".repeat(5_000))).await;
    let cut = loop {
        let event = tail.json().await;
        assert_eq!(event["exchange"], "widgets");
        if event["routing_key"] == "long" {
            break event;
        }
    };
    assert!(cut.get("payload").is_none() && cut["payload_cut"].as_str().is_some(), "{cut}");
    tail.signal("INT");
    assert_eq!(tail.ended().await, Some(0));
}

#[tokio::test]
async fn a_gateway_behind_tls_is_reached_if_it_proves_who_it_is() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    push_and_read(&gateway, "E", json!(1)).await;
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (port, _serving) = terminator(&authority, gateway.clients.port()).await;
    let url = format!("--url=wss://localhost:{port}/");
    let command = |trusted: &Authority| {
        let mut command = bare(&["tail", "widgets", "1", "--last=1", "--count=1", &url]);
        command.env("SSL_CERT_FILE", trusted.file("ca.pem"));
        command
    };
    assert!(end(command(&authority)).await.well().contains(r#""payload":1,"#));
    let said = end(command(&stranger)).await.badly();
    assert!(said.contains("certificate"), "{said}");
}

/// What stands in front of a gateway and speaks TLS.
async fn terminator(authority: &Authority, port: u16) -> (u16, JoinSet<()>) {
    let certificate = CertificateDer::from_pem_file(authority.file("broker.pem")).expect("one");
    let key = PrivateKeyDer::from_pem_file(authority.file("broker.key")).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a certificate");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let listening = listener.local_addr().expect("an address").port();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let server = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
                let mut server = server.expect("a connection");
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (listening, serving)
}
