//! What a broker says when it does not do what it was asked: it reaches the log, whoever asks
//! for health, and whoever pushed. With a real broker, real users and real rights.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::sleep;
use tonic::Code;

use crate::support::{
    DEADLINE,
    client::Client,
    gateway::{Addresses, Gateway, push_request},
    handler::{TestHandler, proto::PushEventsRequest},
    process::Myxi,
    rabbitmq::RabbitMq,
    unique, within,
};

const POLL: Duration = Duration::from_millis(20);

/// A channel that was closed is opened again after at most half a second.
const CHANNEL_AGAIN: Duration = Duration::from_millis(600);

/// Somebody with a password on a broker.
struct User {
    name: String,
    url: String,
}

impl User {
    const PASSWORD: &str = "sesame";

    /// Not on the broker yet.
    fn of(broker: &RabbitMq) -> Self {
        let name = unique("user");
        let url = broker.url().replace("myxi:myxi", &format!("{name}:{}", Self::PASSWORD));
        Self { name, url }
    }

    async fn with_rights(broker: &RabbitMq, rights: [&str; 3]) -> Self {
        let user = Self::of(broker);
        broker.ctl(&["add_user", &user.name, Self::PASSWORD]).await;
        user.may(broker, rights).await;
        user
    }

    /// Configure, write, read. Connections that are open may remember others for a minute.
    async fn may(&self, broker: &RabbitMq, [configure, write, read]: [&str; 3]) {
        broker.ctl(&["set_permissions", &self.name, configure, write, read]).await;
    }

    /// Ends the user's connections, with this reason.
    async fn disconnect(&self, broker: &RabbitMq, reason: &str) {
        broker.ctl(&["close_all_user_connections", &self.name, reason]).await;
    }
}

const EVERYTHING: [&str; 3] = [".*", ".*", ".*"];

#[tokio::test]
async fn each_reason_is_in_the_log_as_it_comes_and_not_again() {
    let mut broker = RabbitMq::exclusive().await;
    broker.stop().await;
    let (app, exchange, user) = (TestHandler::start().await, unique("a"), User::of(&broker));
    let mut command = Myxi::bare();
    command.arg(format!("--exchange={exchange}"));
    command.arg(format!("--action-handler={}", app.endpoint()));
    command.arg(format!("--rabbitmq-url={}", user.url));
    let myxi = Myxi::run(command).await;

    warned(&myxi, "refused", 2).await;
    broker.restart().await;
    warned(&myxi, "ACCESS_REFUSED", 2).await;
    broker.ctl(&["add_user", &user.name, User::PASSWORD]).await;
    warned(&myxi, "NOT_ALLOWED", 2).await;
    // It may connect, and nothing else.
    user.may(&broker, ["", "", ""]).await;
    let reason = warned(&myxi, &format!("'myxi.in.{exchange}'"), 1).await;
    let reason = format!("exchange {exchange}, reading: {reason}");
    within(DEADLINE, "the same reason", async {
        loop {
            let (http, body) = myxi.health().await;
            assert_eq!((http, &body["status"]), (503, &json!("starting")), "{body}");
            if body["reasons"].as_array().is_some_and(|all| all.contains(&json!(reason))) {
                return;
            }
            sleep(POLL).await;
        }
    })
    .await;
    user.may(&broker, EVERYTHING).await;
    myxi.ready().await;

    broker.ctl(&["change_password", &user.name, "changed"]).await;
    user.disconnect(&broker, "rotated").await;
    warned(&myxi, "CONNECTION_FORCED", 2).await;
    // A reason that was written a moment ago is written again when it stays.
    warned(&myxi, "Login was refused", 4).await;
    broker.ctl(&["change_password", &user.name, User::PASSWORD]).await;
    myxi.ready().await;

    // Each was said many times a second.
    let mut lines = BTreeMap::<_, usize>::new();
    for (part, message) in warnings(&myxi) {
        *lines.entry((part, message)).or_default() += 1;
    }
    assert!(lines.values().all(|times| *times <= 2), "{lines:#?}");
    let over = myxi.log().iter().filter(|line| line.contains("connected to amqp")).count();
    assert!(over >= 4, "{:#?}", myxi.log());
}

/// The parts and messages of what was logged as a warning.
fn warnings(myxi: &Myxi) -> Vec<(String, String)> {
    let lines = myxi.log().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    lines
        .filter(|line| line["level"] == "WARN")
        .map(|line| (text(&line["part"]), text(&line["message"])))
        .collect()
}

/// Waits until there are so many warnings of this, and answers the last one.
async fn warned(myxi: &Myxi, what: &str, times: usize) -> String {
    let warned = async {
        loop {
            let mut lines: Vec<_> =
                warnings(myxi).into_iter().filter(|(_, line)| line.contains(what)).collect();
            if lines.len() >= times
                && let Some((_, line)) = lines.pop()
            {
                return line;
            }
            sleep(POLL).await;
        }
    };
    match tokio::time::timeout(DEADLINE, warned).await {
        Ok(line) => line,
        Err(_) => panic!("not {times} times {what:?}: {:#?}", myxi.log()),
    }
}

#[tokio::test]
async fn without_the_right_to_bind_it_is_said_once_and_only_where_it_matters() {
    let broker = RabbitMq::shared().await;
    let (app, exchange) = (TestHandler::start().await, unique("a"));
    let flag = format!("--exchange={exchange}");
    let url = format!("--rabbitmq-url={}", broker.url());
    drop(Gateway::with(&app, &[&flag, &url]).await);
    // Binding needs to write to the log.
    let rights = [r"^myxi\.replica\.", r"^myxi\.(in\.|replica)", ".*"];
    let user = User::with_rights(broker, rights).await;
    let url = format!("--rabbitmq-url={}", user.url);
    let myxi = Myxi::serve(&app, &[&flag, &url]).await;
    let mut client = myxi.subscribers(1, &exchange, "1").await.remove(0);
    myxi.push(&exchange, "1", "Changed", json!(1)).await;
    client.event("Changed").await;
    let bound = |(_, line): &(String, String)| line.contains("bound");
    assert!(!warnings(&myxi).iter().any(bound), "{:#?}", myxi.log());

    // Now it does matter, and is met by each push.
    unbind(broker, &exchange).await;
    for n in 0..40 {
        let (code, message) = push(&myxi, &exchange, n).await;
        assert_eq!(code, Code::Unavailable, "{message}");
    }
    let why = within(DEADLINE, "the reason", async {
        loop {
            let why = myxi.health().await.1["reasons"].to_string();
            if why.contains("cannot be bound") {
                return why;
            }
            push(&myxi, &exchange, 0).await;
        }
    })
    .await;
    assert!(why.contains("ACCESS_REFUSED"), "{why}");
    myxi.logged("cannot be bound").await;
    let lines = warnings(&myxi).into_iter().filter(bound).count();
    assert!((1..=3).contains(&lines), "{:#?}", myxi.log());
}

/// The code of a push, and its message.
async fn push(gateway: &Addresses, exchange: &str, payload: u64) -> (Code, String) {
    let request = push_request(exchange, "1", "Event", &json!(payload));
    match gateway.api().await.push_event(request).await {
        Ok(_) => (Code::Ok, String::new()),
        Err(status) => (status.code(), status.message().into()),
    }
}

/// So many at once; the code and message of each.
async fn push_many(
    gateway: &Addresses,
    exchange: &str,
    payloads: std::ops::Range<u64>,
) -> Vec<(u64, Code, String)> {
    let event = |n| push_request(exchange, "1", "Event", &json!(n));
    let events = payloads.clone().map(event).collect();
    let pushed = gateway.api().await.push_events(PushEventsRequest { events }).await;
    let results = pushed.expect("a result each").into_inner().results;
    payloads.zip(results).map(|(n, one)| (n, one.code.into(), one.message)).collect()
}

async fn unbind(broker: &RabbitMq, exchange: &str) {
    let connection = broker.connect().await;
    let channel = connection.create_channel().await.expect("a channel");
    let (input, log) = (format!("myxi.in.{exchange}"), format!("myxi.log.{exchange}"));
    let unbinding = channel.queue_unbind(log.into(), input.into(), "".into(), Default::default());
    unbinding.await.expect("unbound");
}

#[tokio::test]
async fn without_the_right_to_write_nothing_is_published_and_who_pushes_is_told() {
    let broker = RabbitMq::shared().await;
    let (app, exchange) = (TestHandler::start().await, unique("a"));
    let user = User::with_rights(broker, EVERYTHING).await;
    let flags = [format!("--exchange={exchange}"), format!("--rabbitmq-url={}", user.url)];
    let gateway = Gateway::with(&app, &[&flags[0], &flags[1]]).await;
    let mut client = gateway.subscribers(1, &exchange, "1").await.remove(0);

    user.may(broker, [".*", r"^myxi\.(log\.|replica)", ".*"]).await;
    user.disconnect(broker, "other rights").await;
    // Until the connection is back, the reason is another one.
    within(DEADLINE, "the broker's reason", async {
        loop {
            let (code, message) = push(&gateway, &exchange, 0).await;
            assert_eq!(code, Code::Unavailable, "{message}");
            if message.contains("ACCESS_REFUSED") {
                return;
            }
            sleep(POLL).await;
        }
    })
    .await;
    // While a connection is lost, that is all that is told.
    within(DEADLINE, "the connections for reading", async {
        while gateway.health().await.1["reasons"].to_string().contains("lost the connection") {
            sleep(POLL).await;
        }
    })
    .await;
    let mut results = Vec::new();
    for round in 1..=6 {
        // For there to be a channel again that they meet together.
        sleep(CHANNEL_AGAIN).await;
        results.extend(push_many(&gateway, &exchange, 100 * round..100 * round + 50).await);
        let (http, body) = gateway.health().await;
        assert_eq!((http, &body["status"]), (200, &json!("degraded")), "{body}");
        let reason = format!("exchange {exchange}, publishing: ");
        let reasons = body["reasons"].to_string();
        assert!(reasons.contains(&reason) && reasons.contains("ACCESS_REFUSED"), "{body}");
    }
    for (n, code, message) in results {
        assert_eq!(code, Code::Unavailable, "{n}: {message}");
        assert!(message.contains("ACCESS_REFUSED"), "{n}: {message}");
    }

    user.may(broker, EVERYTHING).await;
    within(DEADLINE, "a push that is taken", async {
        while push(&gateway, &exchange, 1).await.0 != Code::Ok {
            sleep(POLL).await;
        }
    })
    .await;
    gateway.ready().await;
    // What was not published did not come.
    assert_eq!(client.event("Event").await["payload"], 1);
}

/// An exchange that goes away under many messages: those that the broker took without a
/// chance to confirm them must not be called "not published".
#[tokio::test]
async fn what_is_said_of_messages_whose_channel_was_closed_is_true() {
    let broker = RabbitMq::shared().await;
    let (app, exchange) = (TestHandler::start().await, unique("a"));
    let flags = [format!("--exchange={exchange}"), format!("--rabbitmq-url={}", broker.url())];
    let gateway = Gateway::with(&app, &[&flags[0], &flags[1]]).await;
    let client = gateway.subscribers(1, &exchange, "1").await.remove(0);
    let delivered = tokio::spawn(numbers_until_last(client));
    let connection = broker.connect().await;
    let channel = connection.create_channel().await.expect("a channel");

    let (mut taken, mut refused, mut unknown) =
        <(BTreeSet<_>, BTreeSet<_>, BTreeSet<_>)>::default();
    let mut next = 1;
    // Often enough for a deletion to come between messages that are on their way.
    while next < 100_000 && (unknown.len() < 50 || refused.is_empty()) {
        let deleted = AtomicBool::new(false);
        let delete = async {
            sleep(Duration::from_millis(rand::random_range(0..20))).await;
            let input = format!("myxi.in.{exchange}");
            channel.exchange_delete(input.into(), Default::default()).await.expect("deleted");
            deleted.store(true, Ordering::Relaxed);
        };
        // Three messages at once, and again, so that it meets some.
        let pushing = async {
            let mut results = Vec::new();
            while !deleted.load(Ordering::Relaxed) {
                results.extend(push_many(&gateway, &exchange, next..next + 600).await);
                next += 600;
            }
            results
        };
        let (results, ()) = tokio::join!(pushing, delete);
        for (n, code, message) in results {
            match code {
                Code::Ok => taken.insert(n),
                Code::Unavailable => refused.insert(n),
                Code::Unknown => unknown.insert(n),
                code => panic!("{code:?}: {message}"),
            };
        }
        within(DEADLINE, "the exchange again", async {
            while push(&gateway, &exchange, 0).await.0 != Code::Ok {
                sleep(POLL).await;
            }
        })
        .await;
    }
    gateway.push(&exchange, "1", "Last", json!(0)).await;
    let delivered = delivered.await.expect("all of them");
    assert!(taken.is_subset(&delivered), "OK, and lost: {:?}", taken.difference(&delivered));
    let lied: Vec<_> = refused.intersection(&delivered).collect();
    assert!(lied.is_empty(), "not published, and delivered: {lied:?}");
    assert!(!refused.is_empty() && !unknown.is_empty(), "{} {}", refused.len(), unknown.len());
}

async fn numbers_until_last(mut client: Client) -> BTreeSet<u64> {
    let mut numbers = BTreeSet::new();
    loop {
        let message = client.next().await;
        match message["event"].as_str() {
            Some("Event") => {
                let number = message["payload"].as_u64().expect("a number");
                assert!(number == 0 || numbers.insert(number), "{number} twice");
            }
            Some("Last") => return numbers,
            _ => panic!("{message}"),
        }
    }
}

#[tokio::test]
async fn passwords_and_virtual_hosts_of_any_letters_are_written_as_is_advised() {
    let broker = RabbitMq::shared().await;
    let (app, exchange) = (TestHandler::start().await, unique("a"));
    let any = |name: &str| format!("{}50%#1?/@:, +&=[ü]", unique(name));
    let (user, password, vhost) = (any("user"), any("password"), any("vhost"));
    broker.ctl(&["add_vhost", &vhost]).await;
    broker.ctl(&["add_user", &user, &password]).await;
    broker.ctl(&["set_permissions", "-p", &vhost, &user, ".*", ".*", ".*"]).await;
    let address = broker.url();
    let (_, address) = address.split_once('@').expect("user and password before it");
    let (address, _) = address.split_once('/').expect("a virtual host behind it");
    let url = format!(
        "--rabbitmq-url=amqp://{}:{}@{address}/{}",
        advised(&user),
        advised(&password),
        advised(&vhost)
    );
    let gateway = Gateway::with(&app, &[&url, &format!("--exchange={exchange}")]).await;
    gateway.push(&exchange, "1", "Changed", json!(1)).await;
    let queues = broker.ctl(&["list_queues", "-p", &vhost, "name"]).await;
    assert!(queues.contains(&format!("myxi.log.{exchange}")), "{queues}");
    gateway.drain().await;
    broker.ctl(&["delete_vhost", &vhost]).await;
}

/// As the error of a broken URL says.
fn advised(text: &str) -> String {
    let letters = ["%25", "%23", "%3F", "%2F", "%40", "%3A", "%2C", "%20"];
    let mut text = text.to_owned();
    for letter in letters {
        let byte = u8::from_str_radix(&letter[1..], 16).expect("hexadecimal");
        text = text.replace(byte as char, letter);
    }
    text
}
