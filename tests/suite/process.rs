//! `myxi` as a process: signals, exit codes, and what little the system allows it.

use std::{fs, net::SocketAddr, process::Command, time::Duration};

use serde_json::json;
use tokio::{net::TcpStream, time::sleep};

use crate::support::{
    DEADLINE, TempDir, client::Client, handler::TestHandler, process::Myxi, within,
};

#[tokio::test]
async fn a_signal_to_stop_drains_and_ends_without_an_error() {
    for signal in ["TERM", "INT"] {
        let app = TestHandler::start().await;
        app.on("Hello", |_| Ok(Default::default()));
        let mut myxi = Myxi::serve(&app, &["--exchange=widgets"]).await;
        let mut client = myxi.client().await;
        assert_eq!(client.request("Hello", json!({})).await["event"], "Done");

        myxi.signal(signal);
        client.event("Reconnect").await;
        assert_eq!(client.closed().await.code, 1012);
        assert_eq!(app.next("SessionClosed").await.closed().code, 1012);
        let status = myxi.ended().await;
        assert_eq!(status.code(), Some(0), "SIG{signal}: {status}");
        assert!(myxi.log().iter().any(|line| line.contains(r#""drained""#)), "{:#?}", myxi.log());
    }
}

#[tokio::test]
async fn a_second_signal_ends_at_once_and_says_so() {
    for second in ["TERM", "INT"] {
        let app = TestHandler::start().await;
        app.hang_on("Hang");
        let flags = ["--exchange=widgets", "--action-timeout=1h", "--worker-threads=2"];
        let mut myxi = Myxi::serve(&app, &flags).await;
        let mut clients = [myxi.client().await, myxi.client().await];
        for client in &mut clients {
            client.send(json!({"action": "Hang", "tag": 1})).await;
            app.next("HandleAction").await;
        }
        myxi.signal("TERM");
        myxi.logged("a second signal ends at once").await;
        assert!(myxi.is_running());

        myxi.signal(second);
        // Sooner than the actions under way, which it would wait for.
        let status = myxi.ended().await;
        assert_eq!(status.code(), Some(1), "{status}");
        let last = myxi.log().pop().expect("a log");
        assert!(last.contains("before the drain was over"), "{last}");
    }
}

#[tokio::test]
async fn a_signal_during_a_start_without_broker_or_application_ends_it_too() {
    let mut command = Myxi::bare();
    command.args(["--exchange=widgets", "--action-handler=http://127.0.0.1:9"]);
    command.arg("--rabbitmq-url=amqp://127.0.0.1:9");
    let mut myxi = Myxi::run(command).await;
    assert_eq!(myxi.health_becomes("starting").await.0, 503);
    myxi.signal("TERM");
    assert_eq!(myxi.ended().await.code(), Some(0));
}

/// Stands before the system's resolver: says that it was asked, and never answers.
const HANGING_RESOLVER: &str = r#"
    #include <unistd.h>
    int getaddrinfo(void) {
        write(2, "resolving\n", 10);
        for (;;) pause();
    }
"#;

/// Nothing interrupts a thread that asks the system for the address of a name.
#[tokio::test]
async fn a_resolver_that_hangs_does_not_keep_it_from_ending() {
    let directory = TempDir::new("resolver");
    let [source, library] = ["resolver.c", "resolver.so"].map(|file| directory.path().join(file));
    fs::write(&source, HANGING_RESOLVER).expect("written");
    let mut cc = Command::new("cc");
    cc.args(["-w", "-shared", "-fPIC", "-o"]).args([&library, &source]);
    assert!(cc.status().expect("a C compiler").success());

    let mut command = Myxi::bare();
    command.args(["--exchange=widgets", "--action-handler=http://127.0.0.1:9"]);
    command.arg("--rabbitmq-url=amqp://broker.invalid").env("LD_PRELOAD", &library);
    let mut myxi = Myxi::run(command).await;
    myxi.logged("resolving").await;
    myxi.signal("TERM");
    assert_eq!(myxi.ended().await.code(), Some(0));
}

const DESCRIPTORS: u32 = 300;

#[tokio::test]
async fn with_few_descriptors_it_takes_as_many_clients_as_it_can_and_then_the_next() {
    let app = TestHandler::start().await;
    let mut myxi = Myxi::with_descriptors(DESCRIPTORS, &app, &["--exchange=widgets"]).await;
    let warning = myxi.logged("file descriptors").await;
    assert!(warning.contains("300 file descriptors") && warning.contains("ulimit -n"), "{warning}");
    let (_, count) = warning.split_once("no more than ").expect("a number");
    let count: usize = count.split(' ').next().expect("one").parse().expect("a number");
    assert!((200..300).contains(&count), "{warning}");

    let mut clients = myxi.subscribers(count, "widgets", "1").await;
    let mut waiting = Vec::new();
    for _ in 0..100 {
        waiting.push(TcpStream::connect(myxi.clients()).await.expect("the backlog has room"));
    }
    let address = myxi.clients();
    let late = tokio::spawn(async move { Client::connect(address).await });
    // It serves whom it has, the application and the operator, while others wait.
    myxi.push("widgets", "1", "Changed", json!(1)).await;
    for client in &mut clients {
        assert_eq!(client.event("Changed").await["payload"], 1);
    }
    assert_eq!(myxi.health().await.0, 200);
    assert!(!late.is_finished(), "one more than there is room for");
    assert!(myxi.is_running());

    // Where some leave, others come in.
    drop(waiting);
    clients.truncate(count - 50);
    let mut late = late.await.expect("connected");
    late.subscribe("widgets", "1").await;
    clients.push(late);
    clients.extend(within(DEADLINE, "room", myxi.subscribers(49, "widgets", "1")).await);
    myxi.push("widgets", "1", "Changed", json!(2)).await;
    for client in &mut clients {
        assert_eq!(client.event("Changed").await["payload"], 2);
    }
}

/// The application's own connections use the descriptors up, so that accepting fails.
#[tokio::test]
async fn out_of_descriptors_it_pauses_and_goes_on() {
    let app = TestHandler::start().await;
    let mut myxi = Myxi::with_descriptors(DESCRIPTORS, &app, &["--exchange=widgets"]).await;
    let mut first = myxi.client().await;
    first.subscribe("widgets", "1").await;
    let mut api = myxi.api().await;

    let mut greedy = Vec::new();
    for _ in 0..DESCRIPTORS {
        greedy.push(TcpStream::connect(myxi.grpc()).await.expect("the backlog has room"));
    }
    let pause = |listener: SocketAddr| format!(r#"pausing","address":"{listener}""#);
    myxi.logged(&pause(myxi.grpc())).await;
    let late = tokio::spawn(Client::connect(myxi.clients()));
    myxi.logged(&pause(myxi.clients())).await;
    assert!(myxi.is_running());
    let request = crate::support::gateway::push_request("widgets", "1", "Changed", &json!(1));
    api.push_event(request).await.expect("pushed");
    assert_eq!(first.event("Changed").await["payload"], 1);
    // Long enough for several attempts to fail.
    sleep(Duration::from_millis(350)).await;
    let pauses = myxi.log().iter().filter(|line| line.contains("pausing")).count();
    assert_eq!(pauses, 2, "one for each listener: {:#?}", myxi.log());

    drop(greedy);
    myxi.logged("accepting connections again").await;
    let mut late = late.await.expect("a client");
    late.subscribe("widgets", "1").await;
    myxi.push("widgets", "1", "Changed", json!(2)).await;
    for client in [&mut first, &mut late] {
        assert_eq!(client.event("Changed").await["payload"], 2);
    }
}
