//! Everything that clients may say, and all that they may be told, made to happen for real.

use lapin::BasicProperties;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tonic::{Code, Status};

use crate::{
    from_the_log::position,
    support::{
        client::Client,
        fleet::Fleet,
        gateway::Gateway,
        handler::{
            TestHandler, free_address,
            proto::{Decision, HandleActionResponse, Topic},
            reply,
        },
        program::Program,
        rabbitmq::{LEGACY, RabbitMq},
        schema, unique,
    },
};

/// What passed, as JSON.
pub struct Messages {
    /// By clients, and right.
    pub said: Vec<Value>,
    pub heard: Vec<Value>,
}

static ALL: OnceCell<Messages> = OnceCell::const_new();

pub async fn all() -> &'static Messages {
    ALL.get_or_init(|| async {
        schema::record();
        what_needs_an_application().await;
        what_the_application_is_asked().await;
        what_nobody_answers().await;
        what_was_missed().await;
        what_needs_a_broker().await;
        let traffic = schema::recorded();
        let json = |texts: Vec<String>| {
            texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect::<Vec<Value>>()
        };
        // What is wrong with the others they are told, and that is in what they hear.
        let right =
            |message: &Value| schema::Schema::wire().check("ClientMessage", message).is_ok();
        let said = json(traffic.said).into_iter().filter(right).collect();
        Messages { said, heard: json(traffic.heard) }
    })
    .await
}

fn topic(routing_key: &str) -> Topic {
    Topic { exchange: "widgets".into(), routing_key: routing_key.into() }
}

/// One that answers an action by its name.
pub async fn application() -> TestHandler {
    let app = TestHandler::start().await;
    app.on("Echo", |request| Ok(reply::events([("Echoed", request.payload.as_str())])));
    app.on("Nothing", |_| Ok(reply::events([])));
    app.on("SellOut", |_| Ok(reply::error("SoldOut", r#"{"left":0,"of":["a"]}"#, true)));
    app.on("Join", |_| {
        Ok(HandleActionResponse { subscribe: vec![topic("joined")], ..Default::default() })
    });
    app.on("Leave", |_| {
        Ok(HandleActionResponse { unsubscribe: vec![topic("joined")], ..Default::default() })
    });
    for (action, code) in [
        ("Unknown", Code::Unimplemented),
        ("Stranger", Code::Unauthenticated),
        ("Forbidden", Code::PermissionDenied),
        ("Invalid", Code::InvalidArgument),
        ("Late", Code::DeadlineExceeded),
        ("Lost", Code::Unavailable),
        ("Exhausted", Code::ResourceExhausted),
        ("Broken", Code::Internal),
    ] {
        app.on(action, move |_| Err(Status::new(code, "in the application's words")));
    }
    app
}

async fn what_needs_an_application() {
    let app = application().await;
    let flags = ["--exchange=widgets", "--max-subscriptions=5"];
    let gateway = Gateway::with(&app, &flags).await;
    let mut client = gateway.client().await;
    for (action, answer) in [
        ("Echo", "Echoed"),
        ("Nothing", "Done"),
        ("SellOut", "Error"),
        ("Unknown", "Error"),
        ("Stranger", "Error"),
        ("Forbidden", "Error"),
        ("Invalid", "Error"),
        ("Late", "Error"),
        ("Lost", "Error"),
        ("Exhausted", "Error"),
        ("Broken", "Error"),
        ("Ping", "Pong"),
        ("ListSubscriptions", "YourSubscriptions"),
    ] {
        let payload = json!({"n": [1, null]});
        assert_eq!(client.request(action, payload).await["event"], answer, "{action}");
        client.send(json!({"action": action})).await;
        assert!(answer == "Done" || client.event(answer).await.get("tag").is_none());
    }
    for text in ["no JSON", r#"{"action":7,"tag":1}"#, r#"{"action":"Subscribe","tag":[2]}"#] {
        client.send_text(text).await;
        client.event("Error").await;
    }
    assert_eq!(gateway.send_event(&client.id, "ForYou").await, Code::Ok);
    client.event("ForYou").await;

    for action in ["Join", "Leave"] {
        client.send(json!({"action": action})).await;
    }
    client.event("Subscribed").await;
    assert_eq!(client.event("Unsubscribed").await["payload"]["auto"], true);

    let keys = json!([1, "two", null, true, 1]);
    client.request("Subscribe", json!({"exchange": "widgets", "routing_keys": keys})).await;
    client.request("Subscribe", json!({"exchange": "widgets", "routing_key": 4})).await;
    client.request("Subscribe", json!({"exchange": "widgets", "routing_key": "5"})).await;
    client.error("Subscribe", json!({"exchange": "widgets", "routing_key": "6"})).await;
    let many = json!({"exchange": "widgets", "routing_keys": [1, 2, 3, 4, 5, 6]});
    assert_eq!(client.error("Subscribe", many).await["error"], "TooManySubscriptions");
    client.error("Subscribe", json!({"exchange": "nothing", "routing_key": "6"})).await;
    gateway.push("widgets", "1", "Changed", json!({"quantity": 7})).await;
    client.event("Changed").await;
    assert!(client.request("Ping", json!({})).await["payload"]["time"].is_u64());
    client.subscriptions().await;
    for payload in [
        json!({"exchange": "widgets", "routing_key": 1}),
        json!({"exchange": "widgets", "routing_keys": ["two", null]}),
        json!({"exchange": "widgets"}),
        json!({}),
    ] {
        client.request("Unsubscribe", payload).await;
    }
    tokio::join!(client.event("Reconnect"), gateway.drain());
}

async fn what_the_application_is_asked() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    let widgets = json!({"exchange": "widgets", "routing_keys": [1, "two"]});
    app.on_check(|_| Ok(reply::decisions([Decision::Deny, Decision::Allow])));
    client.error("Subscribe", widgets.clone()).await;
    client.request("Unsubscribe", json!({})).await;
    for code in
        [Code::DeadlineExceeded, Code::Unavailable, Code::ResourceExhausted, Code::PermissionDenied]
    {
        app.on_check(move |_| Err(Status::new(code, "")));
        client.error("Subscribe", widgets.clone()).await;
    }
}

/// Neither the application is there, nor the broker.
async fn what_nobody_answers() {
    let app = TestHandler::start().await;
    app.kill();
    let broker = format!("--rabbitmq-url=amqp://{}", free_address());
    let gateway = Gateway::unready(&app, &["--exchange=widgets", &broker]).await;
    let mut client = gateway.client().await;
    let unreachable = json!({"error": "ApplicationUnavailable", "retryable": true});
    assert_eq!(client.error("Echo", json!({})).await, unreachable);
    let widgets = json!({"exchange": "widgets", "routing_key": 1});
    assert_eq!(client.error("Subscribe", widgets).await["error"], "ExchangeUnavailable");
}

/// Why nothing of it follows, or none where it does.
async fn asks_for(client: &mut Client, exchange: &str, key: &str, past: Value) -> Option<String> {
    let mut payload = json!({"exchange": exchange, "routing_key": key});
    payload.as_object_mut().expect("an object").extend(past.as_object().cloned().expect("one"));
    let subscribed = client.request("Subscribe", payload).await;
    assert_eq!(subscribed["event"], "Subscribed", "{subscribed}");
    let reason = subscribed["payload"]["reason"].as_str().map(Into::into);
    if reason.is_none() {
        client.event("Replayed").await;
    }
    reason
}

async fn what_was_missed() {
    let app = TestHandler::start().await;
    let gateway = Gateway::with(&app, &["--exchange=widgets", "--resume-buffer=1MiB"]).await;
    let old = position(&gateway, "widgets").await;
    let mut reader = gateway.client().await;
    for key in ["1", "large"] {
        reader.subscribe("widgets", key).await;
    }
    gateway.push("widgets", "1", "Changed", json!(1)).await;
    reader.event("Changed").await;
    let why = async |key: &str, past: Value| {
        asks_for(&mut gateway.client().await, "widgets", key, past).await
    };
    assert_eq!(why("1", json!({"after": old})).await, None);
    assert_eq!(why("1", json!({"last": 1})).await, None);
    assert_eq!(why("1", json!({"after": "?"})).await.as_deref(), Some("unknown"));
    let large = |_| ("large", json!("x".repeat(100_000)));
    gateway.push_many("widgets", "Large", (0..20).map(large)).await;
    for _ in 0..20 {
        reader.event("Large").await;
    }
    assert_eq!(why("large", json!({"last": 4})).await.as_deref(), Some("too_many"));
    assert_eq!(why("1", json!({"after": old})).await.as_deref(), Some("expired"));
}

async fn what_needs_a_broker() {
    let broker = RabbitMq::shared().await;
    let app = TestHandler::start().await;
    let (url, exchange) = (format!("--rabbitmq-url={}", broker.legacy_url()), unique(LEGACY));
    let direct = format!("--exchange={exchange};kind=direct");
    let gateway = Gateway::with(&app, &[&url, &direct]).await;
    let why = asks_for(&mut gateway.client().await, &exchange, "1", json!({"after": "?"})).await;
    assert_eq!(why.as_deref(), Some("no_log"));

    let fleet = Fleet::start(broker, 1).await;
    let mut client = fleet[0].client().await;
    client.subscribe(&fleet.exchange, "1").await;
    let newer = BasicProperties::default().with_type("myxi.of-tomorrow".into());
    Program::connect(broker).await.publish_with(&fleet.exchange, "1", b"\0\x01", newer).await;
    client.event("Gap").await;
}
