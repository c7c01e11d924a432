//! `myxi demo`: what somebody sees who tries it for the first time.

use std::{
    net::{SocketAddr, TcpListener},
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    TempDir, http,
    process::{self, Myxi},
    within,
};

/// Less than anything that a start might wait for; else as generous as a busy machine needs.
const START_MAX: Duration = Duration::from_secs(15);

fn demo(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_myxi"));
    command.arg("demo");
    for name in ["listen", "grpc-listen", "admin-listen", "page-listen"] {
        if !flags.iter().any(|flag| flag.starts_with(&format!("--{name}="))) {
            command.arg(format!("--{name}=127.0.0.1:0"));
        }
    }
    command.args(flags);
    command
}

/// A demo on free ports that has greeted.
pub async fn start(flags: &[&str]) -> Myxi {
    let demo = Myxi::run(demo(flags)).await;
    within(START_MAX, "the greeting", async {
        while !demo.printed().contains("Ctrl-C") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    demo
}

/// Where its page is, as it says.
pub fn page(demo: &Myxi) -> SocketAddr {
    let printed = demo.printed();
    let (_, page) = printed.split_once("Open  http://").expect("the page's address");
    page.split('/').next().expect("one").parse().expect("an address")
}

#[tokio::test]
async fn it_is_up_at_once_and_prints_where() {
    let began = Instant::now();
    let mut demo = start(&[]).await;
    assert!(began.elapsed() < START_MAX, "took {:?}", began.elapsed());
    let printed = demo.printed();
    for address in [demo.clients, demo.grpc, demo.admin] {
        assert!(printed.contains(&address.to_string()), "{address}: {printed}");
    }
    demo.ready().await;
    demo.signal("INT");
    assert_eq!(demo.ended().await.code(), Some(0));
}

/// Whoever tries it opens nothing to their network, unless they say so. The port alone is
/// chosen here, as others on this machine may have the demo's own.
#[tokio::test]
async fn it_listens_on_loopback_unless_told_otherwise() {
    for (variables, open) in [
        (&[("MYXI_PORT", "0")][..], false),
        (&[("MYXI_PORT", "0"), ("MYXI_BIND_ADDRESS", "0.0.0.0")], true),
        (&[("MYXI_LISTEN", "0.0.0.0:0")], true),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_myxi"));
        command.args(["demo", "--grpc-listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"]);
        command.arg("--page-listen=127.0.0.1:0").envs(variables.iter().copied());
        let demo = Myxi::run(command).await;
        assert_eq!(demo.clients.ip().is_unspecified(), open, "{variables:?}: {}", demo.clients);
        assert_eq!(demo.clients.ip().is_loopback(), !open, "{variables:?}: {}", demo.clients);
    }
}

/// Those of its flags that the test above gives, and every other: none is open by default.
#[test]
fn every_address_in_its_help_is_of_loopback() {
    let help = Command::new(env!("CARGO_BIN_EXE_myxi")).args(["demo", "--help"]).output();
    let help = String::from_utf8(help.expect("the help").stdout).expect("text");
    let words = help.split(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'));
    let listens: Vec<SocketAddr> = words.filter_map(|word| word.parse().ok()).collect();
    assert_eq!(listens.len(), 5, "{help}");
    assert!(listens.iter().all(|listen| listen.ip().is_loopback()), "{help}");
}

/// Nobody can connect to `0.0.0.0` everywhere.
#[tokio::test]
async fn what_it_prints_can_be_connected_to_where_it_listens_on_every_interface() {
    let demo = start(&["--listen=0.0.0.0:0", "--page-listen=0.0.0.0:0"]).await;
    assert!(demo.clients.ip().is_unspecified());
    let printed = demo.printed();
    let port = demo.clients.port();
    assert!(printed.contains(&format!("ws://127.0.0.1:{port}/")), "{printed}");
    assert!(!printed.contains("0.0.0.0"), "{printed}");
}

/// The page comes from the name that it is asked under, as its gateway must (`Origin`).
#[tokio::test]
async fn its_page_is_served_and_knows_the_gateway_and_the_console() {
    let demo = start(&[]).await;
    let page = page(&demo);
    let port = demo.clients.port();
    for (host, name) in [
        ("localhost", "localhost"),
        ("Machine.example:5008", "Machine.example"),
        ("[::1]:5008", "[::1]"),
        ("\"><script>alert(1)</script>", "127.0.0.1"),
        ("a'b", "127.0.0.1"),
    ] {
        let (status, body) = http::get(page, "/", host).await;
        assert_eq!(status, 200);
        let library = format!("<script src=\"http://{name}:{port}/myxi.js\"></script>");
        assert!(body.contains(&library), "{host}: {body}");
        assert!(body.contains(&format!("content=\"ws://{name}:{port}/pushwss\"")), "{body}");
        assert!(body.contains(&format!("href=\"http://{}/\"", demo.admin)), "{body}");
        assert!(!body.contains("{{"), "a placeholder is left");
    }
    assert_eq!(http::get(page, "/favicon.ico", "localhost").await.0, 404);
}

/// As `serve` does, whoever asks: a terminal, or a supervisor.
#[tokio::test]
async fn asked_to_end_it_sends_its_clients_away_and_ends_without_an_error() {
    for signal in ["TERM", "INT"] {
        let mut demo = start(&[]).await;
        let mut client = demo.client().await;
        client.request("Ping", json!({})).await;
        demo.signal(signal);
        client.event("Reconnect").await;
        assert_eq!(client.closed().await.code, 1012);
        let status = demo.ended().await;
        assert_eq!(status.code(), Some(0), "SIG{signal}: {status}");
        assert!(demo.log().iter().any(|line| line.contains(r#""drained""#)), "{:#?}", demo.log());
    }
}

/// What the greeting and the page invite to.
#[tokio::test]
async fn a_whole_session_works_as_the_greeting_says() {
    let demo = start(&[]).await;
    let mut client = demo.client().await;
    let topic = |key: Value| json!({"exchange": "widgets", "routing_key": key});

    let error = client.error("Subscribe", topic(json!(1))).await;
    assert_eq!(error["error"], "SubscriptionDenied");
    let error = client.error("Authenticate", json!({"session_token": "wrong"})).await;
    assert_eq!(error["error"], "InvalidToken");
    assert_eq!(error["retryable"], false);
    let authenticated = client.request("Authenticate", json!({"session_token": "demo-token"}));
    assert_eq!(authenticated.await["event"], "Authenticated");

    let error = client.error("Subscribe", topic(json!(13))).await;
    assert_eq!(error["error"], "SubscriptionDenied");
    for key in 1..=3 {
        assert_eq!(client.request("Subscribe", topic(json!(key))).await["event"], "Subscribed");
    }
    let listed = client.request("ListSubscriptions", json!({})).await;
    assert_eq!(listed["payload"], json!({"subscriptions": {"widgets": [1, 2, 3]}}));

    let changed = client.event("WidgetQtyChanged").await;
    assert_eq!(changed["mq"]["e"], "widgets");
    assert_eq!(changed["mq"]["rk"], changed["payload"]["id"]);
    assert!(changed["payload"]["quantity"].is_u64(), "{changed}");

    let hello = client.request("SayHello", json!({"name": "Adam"})).await;
    assert_eq!(
        (&hello["event"], &hello["payload"]["message"]),
        (&json!("Hello"), &json!("Hello, Adam!"))
    );
    assert_eq!(client.error("SayHello", json!({})).await["error"], "InvalidPayload");
    assert_eq!(client.error("Nonsense", json!({})).await["error"], "InvalidAction");
    client.send(json!({"action": "DropMe"})).await;
    assert_eq!(client.closed().await.code, 4000, "come back");
}

#[tokio::test]
async fn an_address_in_use_is_told_with_the_flag_to_change() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().map(|address| (taken, address)).expect("its address").1;
    let _holder = TcpListener::bind(taken).expect("still free");
    for flag in ["--listen", "--grpc-listen", "--admin-listen", "--page-listen"] {
        let (status, log) = process::refused(demo(&[&format!("{flag}={taken}")])).await;
        assert_eq!(status.code(), Some(1), "{flag}: {log}");
        assert!(log.contains(&format!("cannot listen on {taken} ({flag})")), "{flag}: {log}");
        assert!(log.to_lowercase().contains("in use"), "{flag}: {log}");
    }
}

/// Whoever runs it need not read what it prints.
#[tokio::test]
async fn a_greeting_that_nobody_reads_holds_up_nothing() {
    let (demo, directory) = (demo(&[]), TempDir::new("greeting"));
    let mut shell = Command::new("sh");
    // All that a pipe holds, and only itself to read it.
    let script =
        "mkfifo $1 && exec 3<>$1 && head -c 65536 /dev/zero >&3 && shift && exec \"$@\" >&3";
    shell.args(["-c", script, "sh"]).arg(directory.path().join("pipe"));
    shell.arg(demo.get_program()).args(demo.get_args());
    let demo = Myxi::run(shell).await;
    demo.ready().await;
}
