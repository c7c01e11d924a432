//! Names that stand for several addresses, of which not every one answers: a machine that is
//! gone swallows what is sent to it, and one that hangs accepts and says nothing.

use std::{
    fs, io,
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use myxi::internals::net::dial::first_to_connect;
use serde_json::json;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{
    DEADLINE, TempDir, handler::TestHandler, process::Myxi, rabbitmq::RabbitMq, unique, within,
};

/// From one address to the next.
const STAGGER: Duration = Duration::from_millis(250);

/// Somewhere that swallows what asks for a connection, while this lives: nobody takes those
/// that it has room for.
struct Silent {
    address: SocketAddr,
    _socket: Socket,
    _waiting: Vec<TcpStream>,
}

impl Silent {
    async fn at(address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&address.into()).expect("bound");
        socket.listen(0).expect("listening");
        let address = socket.local_addr().expect("bound").as_socket().expect("IPv4");
        let mut waiting = Vec::new();
        let room = Duration::from_millis(500);
        while let Ok(Ok(one)) = tokio::time::timeout(room, TcpStream::connect(address)).await {
            waiting.push(one);
        }
        Self { address, _socket: socket, _waiting: waiting }
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

async fn connect(addresses: &[SocketAddr], attempt: usize) -> io::Result<SocketAddr> {
    let addresses = addresses.iter().copied();
    let connecting = first_to_connect(addresses, attempt, DEADLINE, TcpStream::connect);
    within(DEADLINE, "an end", connecting).await?.peer_addr()
}

#[tokio::test]
async fn an_address_that_swallows_all_does_not_hide_the_next() {
    let any = address("127.0.0.1:0");
    let silent = [Silent::at(any).await, Silent::at(any).await];
    let alive = TcpListener::bind(any).await.expect("a listener");
    let alive = alive.local_addr().expect("its address");
    let began = Instant::now();
    let addresses = [silent[0].address, silent[1].address, alive];
    assert_eq!(connect(&addresses, 0).await.expect("connected"), alive);
    // The others had their chance.
    assert!(began.elapsed() >= 2 * STAGGER, "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_address_that_refuses_is_passed_over_and_its_reason_told() {
    let gone = [address("127.0.0.1:1"), address("127.0.0.2:1")];
    let error = connect(&gone, 0).await.expect_err("nobody is there");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    connect(&[], 0).await.expect_err("no address at all");
    let alive = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let alive = alive.local_addr().expect("its address");
    assert_eq!(connect(&[gone[0], gone[1], alive], 0).await.expect("connected"), alive);
}

#[tokio::test]
async fn each_attempt_begins_at_another_address() {
    let listeners = [(); 3].map(|()| std::net::TcpListener::bind("127.0.0.1:0").expect("bound"));
    let addresses = listeners.each_ref().map(|one| one.local_addr().expect("its address"));
    for attempt in 0..6 {
        let connected = connect(&addresses, attempt).await.expect("connected");
        assert_eq!(connected, addresses[attempt % 3]);
    }
}

/// Stands before the system's resolver: one name has two addresses, in this order.
const RESOLVER: &str = r#"
    #define _GNU_SOURCE
    #include <dlfcn.h>
    #include <netdb.h>
    #include <string.h>
    typedef int resolve(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                    struct addrinfo **found) {
        resolve *system = (resolve *)dlsym(RTLD_NEXT, "getaddrinfo");
        if (!name || strcmp(name, "twice.invalid")) return system(name, service, hints, found);
        int error = system("127.0.0.2", service, hints, found);
        if (error) return error;
        struct addrinfo *last = *found;
        while (last->ai_next) last = last->ai_next;
        return system("127.0.0.1", service, hints, &last->ai_next);
    }
"#;

fn resolver(directory: &TempDir) -> PathBuf {
    let [source, library] = ["resolver.c", "resolver.so"].map(|file| directory.path().join(file));
    fs::write(&source, RESOLVER).expect("written");
    let mut cc = Command::new("cc");
    cc.args(["-w", "-shared", "-fPIC", "-o"]).args([&library, &source]).arg("-ldl");
    assert!(cc.status().expect("a C compiler").success());
    library
}

/// A gateway whose broker and application each have a second address, at their own ports of
/// 127.0.0.2.
async fn gateway(app: &TestHandler, broker: SocketAddr) -> Myxi {
    let directory = TempDir::new("resolver");
    let mut command = Myxi::bare();
    command.env("LD_PRELOAD", resolver(&directory));
    command.arg(format!("--exchange={}", unique("a")));
    command.arg(format!("--action-handler=http://twice.invalid:{}", app_address(app).port()));
    command.arg(format!("--rabbitmq-url=amqp://guest:guest@twice.invalid:{}", broker.port()));
    Myxi::run(command).await
}

fn app_address(app: &TestHandler) -> SocketAddr {
    address(app.endpoint().trim_start_matches("http://"))
}

fn broker_address(broker: &RabbitMq) -> SocketAddr {
    let url = broker.url();
    let (_, address_and_vhost) = url.split_once('@').expect("a user");
    address(address_and_vhost.split('/').next().expect("an address"))
}

fn second(mut address: SocketAddr) -> SocketAddr {
    address.set_ip([127, 0, 0, 2].into());
    address
}

async fn serves(app: &TestHandler, myxi: &Myxi) {
    app.on("Hello", |_| Ok(Default::default()));
    let mut client = myxi.client().await;
    within(DEADLINE, "an answer of the application", async {
        while client.request("Hello", json!({})).await["event"] != "Done" {}
    })
    .await;
    myxi.ready().await;
}

#[tokio::test]
async fn broker_and_application_are_found_behind_an_address_that_swallows_all() {
    let (broker, app) = (RabbitMq::shared().await, TestHandler::start().await);
    let broker = broker_address(broker);
    let _silent = [Silent::at(second(broker)).await, Silent::at(second(app_address(&app))).await];
    let myxi = gateway(&app, broker).await;
    serves(&app, &myxi).await;
}

#[tokio::test]
async fn broker_and_application_are_found_behind_an_address_that_accepts_and_is_mute() {
    let (broker, app) = (RabbitMq::exclusive().await, TestHandler::start().await);
    let address = broker_address(&broker);
    let mute = |address| std::net::TcpListener::bind(address).expect("a listener");
    let _mute = [mute(second(address)), mute(second(app_address(&app)))];
    let myxi = gateway(&app, address).await;
    serves(&app, &myxi).await;
}
