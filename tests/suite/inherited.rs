//! Sockets that are handed over: to one process, and by one to its successor.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::sleep,
};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::support::{
    DEADLINE,
    client::Client,
    handler::TestHandler,
    metrics::Scrape,
    process::{Myxi, refused_over},
    within,
};

const ANYWHERE: [&str; 4] = [
    "--exchange=widgets",
    "--listen=127.0.0.1:0",
    "--grpc-listen=127.0.0.1:0",
    "--admin-listen=127.0.0.1:0",
];

/// With room for all who come at once.
fn socket() -> (TcpListener, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    SockRef::from(&socket).listen(4096).expect("a socket that listens");
    let address = socket.local_addr().expect("an address");
    (socket, address)
}

#[tokio::test]
async fn each_listener_is_found_by_its_name() {
    let app = TestHandler::start().await;
    let ((one, at_one), (two, at_two)) = (socket(), socket());
    let myxi = Myxi::over(&[("gateway", &one), ("clients", &two)], &app, &ANYWHERE).await;
    assert_eq!((myxi.grpc(), myxi.clients()), (at_one, at_two));
    assert_ne!(myxi.admin().port(), 0);
    myxi.ready().await;
    let mut client = myxi.client().await;
    client.subscribe("widgets", "1").await;
    myxi.push("widgets", "1", "Changed", json!({})).await;
    client.event("Changed").await;
    myxi.logged("--listen 127.0.0.1:0 is not used").await;

    drop(myxi);
    let myxi = Myxi::over(&[("admin", &one)], &app, &ANYWHERE).await;
    assert_eq!(myxi.admin(), at_one);
    myxi.ready().await;
}

/// systemd calls it by its unit then.
#[tokio::test]
async fn a_single_one_without_a_name_is_for_clients() {
    let app = TestHandler::start().await;
    for name in ["", "unknown", "myxi.socket"] {
        let (socket, address) = socket();
        let myxi = Myxi::over(&[(name, &socket)], &app, &ANYWHERE).await;
        assert_eq!(myxi.clients(), address, "{name:?}");
        myxi.client().await;
    }
}

#[tokio::test]
async fn what_is_wrong_with_them_is_told_at_once() {
    let ((one, _), (two, _)) = (socket(), socket());
    for (names, problem) in [
        (["client", "admin"], r#"socket 0 is called "client"; call it clients, gateway or admin"#),
        (["", "admin"], r#"socket 0 is called """#),
        (["admin", "admin"], "admin is there twice"),
    ] {
        let sockets = [(names[0], &one), (names[1], &two)];
        let (status, log) = refused_over(&sockets, &["--log=nonsense"]).await;
        assert_eq!(status.code(), Some(2), "{log}");
        for problem in [problem, "--exchange", "--log", "--action-handler"] {
            assert!(log.contains(problem), "{problem}: {log}");
        }
    }
}

/// A connection, as systemd's `Accept=yes` hands over, and a port that others reach.
#[tokio::test]
async fn what_does_not_listen_or_is_open_to_all_is_refused() {
    let (listener, address) = socket();
    let connection = std::net::TcpStream::connect(address).expect("connected");
    let connection = TcpListener::from(std::os::fd::OwnedFd::from(connection));
    let (status, log) = refused_over(&[("clients", &connection)], &[]).await;
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains("clients: it does not listen"), "{log}");
    drop(listener);

    let open = TcpListener::bind("0.0.0.0:0").expect("a free port");
    let (_, log) = refused_over(&[("gateway", &open)], &[]).await;
    assert!(log.contains("MYXI_GRPC_TOKEN"), "{log}");
}

/// Whoever has connected, and has yet to say what for, was not refused: a process that ends lets
/// them in before it sends them away.
#[tokio::test]
async fn who_was_accepted_before_the_end_is_let_in() {
    let app = TestHandler::start().await;
    let mut myxi = Myxi::serve(&app, &["--exchange=widgets", "--handshake-timeout=1h"]).await;
    let mut stream = TcpStream::connect(myxi.clients()).await.expect("connected");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").await.expect("sent");
    Scrape::until(&myxi, "myxi_connections", |open| open == 1.0).await;
    myxi.signal("TERM");
    myxi.logged("sending the clients away").await;
    let rest = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(rest.as_bytes()).await.expect("it is still there");
    let mut heard = Vec::new();
    let whole = async {
        while !heard.windows(9).any(|text| text == b"Reconnect") {
            assert_ne!(stream.read_buf(&mut heard).await.expect("no reset"), 0, "closed");
        }
    };
    within(DEADLINE, "a greeting and a farewell", whole).await;
    let heard = String::from_utf8_lossy(&heard);
    assert!(heard.starts_with("HTTP/1.1 101") && heard.contains("Welcome"), "{heard}");
    drop(stream);
    assert_eq!(myxi.ended().await.code(), Some(0));
}

/// A successor that cannot reach its broker leaves the clients to whoever serves them, but not for
/// ever: there may be nobody.
#[tokio::test]
async fn a_successor_takes_no_client_before_its_bus_is_there() {
    let app = TestHandler::start().await;
    let (clients, at) = socket();
    let sockets = [("clients", &clients)];
    let mut old = Myxi::over(&sockets, &app, &ANYWHERE).await;
    old.ready().await;
    let of_old = replica(&connect(at).await);
    // It takes connections, and says nothing.
    let broker = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("--rabbitmq-url=amqp://{}", broker.local_addr().expect("an address"));
    let flags = [&ANYWHERE[..], &[&url]].concat();

    let mut tries = 3;
    let (_new, connected) = loop {
        let new = Myxi::over(&sockets, &app, &flags).await;
        let mut connected = Vec::new();
        for _ in 0..20 {
            let client = connect(at).await;
            if replica(&client) != of_old {
                break;
            }
            connected.push(client);
        }
        new.logged("accepting clients, though the bus is not attached").await;
        tries -= 1;
        // A machine that has other things to do may let nobody in before that.
        if !connected.is_empty() || tries == 0 {
            break (new, connected);
        }
    };
    assert!(!connected.is_empty(), "none in time");
    old.signal("TERM");
    assert_eq!(old.ended().await.code(), Some(0));
    assert_ne!(replica(&connect(at).await), of_old);
}

const CLIENTS: usize = 1_000;
/// Of them so many connect at the same time.
const AT_ONCE: usize = 50;

/// What an upgrade on one machine is to its clients.
#[derive(Default)]
struct Crowd {
    connected: AtomicUsize,
    /// Come and go while it is on.
    passing: AtomicUsize,
    sent_away: AtomicUsize,
    /// The successor alone is there.
    over: AtomicBool,
}

/// The old process and its successor hold the same sockets. Whoever connects meanwhile is taken by
/// the one or the other, and whoever is sent away by the old one is back with the new one.
#[tokio::test]
async fn an_upgrade_refuses_nobody() {
    let app = TestHandler::start().await;
    let ((clients, at), (gateway, _)) = (socket(), socket());
    let sockets = [("clients", &clients), ("gateway", &gateway)];
    let flags = [
        "--exchange=widgets",
        "--admin-listen=127.0.0.1:0",
        "--drain-time=2s",
        "--worker-threads=2",
    ];
    let mut old = Myxi::over(&sockets, &app, &flags).await;
    old.ready().await;

    let crowd = Arc::new(Crowd::default());
    let mut connecting = JoinSet::new();
    for _ in 0..AT_ONCE {
        let crowd = crowd.clone();
        connecting.spawn(async move {
            let mut staying = JoinSet::new();
            for _ in 0..CLIENTS / AT_ONCE {
                let client = connect(at).await;
                crowd.connected.fetch_add(1, Ordering::Relaxed);
                staying.spawn(stay(client, at, crowd.clone()));
            }
            while !crowd.over.load(Ordering::Relaxed) {
                connect(at).await;
                crowd.passing.fetch_add(1, Ordering::Relaxed);
            }
            staying.join_all().await
        });
    }
    let some = async |part: usize| {
        while crowd.connected.load(Ordering::Relaxed) < part {
            sleep(Duration::from_millis(1)).await;
        }
    };
    within(DEADLINE, "the first clients", some(CLIENTS / 10)).await;
    let new = Myxi::over(&sockets, &app, &flags).await;
    old.signal("TERM");
    assert_eq!(old.ended().await.code(), Some(0));
    crowd.over.store(true, Ordering::Relaxed);

    let stayed = within(DEADLINE, "the clients", connecting.join_all()).await;
    let times: Vec<_> = stayed.into_iter().flatten().flatten().collect();
    let longest = times.iter().max().copied().unwrap_or_default();
    let (away, passing) = (times.len(), crowd.passing.load(Ordering::Relaxed));
    println!(
        "{CLIENTS} clients that stayed and {passing} that left: {away} were sent away, the last \
         was back after {longest:?}"
    );
    assert!(!times.is_empty(), "nobody was there before");
    assert_eq!(crowd.sent_away.load(Ordering::Relaxed), times.len());
    // The application reaches the successor where it reached the old one.
    let mut client = new.client().await;
    client.subscribe("widgets", "1").await;
    new.push("widgets", "1", "Changed", json!({})).await;
    client.event("Changed").await;
}

/// Whose session it is.
fn replica(client: &Client) -> String {
    client.id[..8].to_owned()
}

/// A connection that is refused or reset is none.
async fn connect(gateway: SocketAddr) -> Client {
    let request = format!("ws://{gateway}/").into_client_request().expect("a URL");
    let mut client = Client::connect_with(request, gateway).await.expect("nobody is refused");
    client.id = client.event("Welcome").await["payload"]["id"].as_str().expect("an id").to_owned();
    client
}

/// Stays until the upgrade is over, on whichever process is there; how long it was away, if it was.
async fn stay(mut client: Client, gateway: SocketAddr, crowd: Arc<Crowd>) -> Option<Duration> {
    let mut away = None;
    loop {
        client.send(json!({"action": "Ping", "tag": 1})).await;
        let message: Value = client.next().await;
        match message["event"].as_str() {
            Some("Pong") if crowd.over.load(Ordering::Relaxed) => {
                client.close().await;
                return away;
            }
            Some("Pong") => sleep(Duration::from_millis(20)).await,
            Some("Reconnect") => {
                crowd.sent_away.fetch_add(1, Ordering::Relaxed);
                let hint = message["payload"]["after_ms"].as_u64().expect("a number");
                assert_eq!(client.closed().await.code, 1012);
                let began = Instant::now();
                sleep(Duration::from_millis(hint)).await;
                client = connect(gateway).await;
                assert_eq!(away.replace(began.elapsed()), None, "sent away twice");
            }
            _ => panic!("{message}"),
        }
    }
}
