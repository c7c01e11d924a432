//! Hostile input: whatever a client sends is answered or closed with the right code, and a
//! healthy client beside it notices nothing.

use serde_json::{Value, json};

use crate::support::{
    client::Client,
    gateway::Gateway,
    handler::{TestHandler, reply},
};

async fn start() -> (TestHandler, Gateway, Client) {
    let app = TestHandler::start().await;
    app.on("Echo", |request| Ok(reply::events([("Echoed", request.payload.as_str())])));
    let gateway = Gateway::start(&app).await;
    let client = gateway.client().await;
    (app, gateway, client)
}

/// The gateway still serves: an old client, a new one, and the application.
async fn is_well(gateway: &Gateway, healthy: &mut Client) {
    for client in [healthy, &mut gateway.client().await] {
        assert!(client.quiet().await);
        assert_eq!(client.request("Echo", json!([1])).await["payload"], json!([1]));
    }
}

fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

#[tokio::test]
async fn what_is_not_json_or_no_object_is_invalid_json() {
    let (_app, gateway, mut healthy) = start().await;
    let mut client = gateway.client().await;
    let good = r#"{"action":"Ping"}"#;
    let mut texts: Vec<String> = [
        "",
        " ",
        "null",
        "true",
        "7",
        "\"Ping\"",
        "[]",
        r#"[{"action":"Ping"}]"#,
        "{",
        "}",
        "{}{}",
        "{\"action\":\"Ping\"",
        "{\"action\":\"Ping\",}",
        "{'action':'Ping'}",
        "{action:\"Ping\"}",
        "{\"action\":\"Ping\"} // comment",
        "{\"action\":\"Pi\nng\"}",
        "{\"action\":\"Pi\0ng\"}",
        "\0",
        "{\"action\":\"Ping\"}\0",
        r#"{"action":"Ping","tag":01}"#,
        r#"{"action":"Ping","tag":+1}"#,
        r#"{"action":"Ping","tag":.5}"#,
        r#"{"action":"Ping","tag":NaN}"#,
        r#"{"action":"Ping","tag":Infinity}"#,
        r#"{"action":"Ping","tag":"\x41"}"#,
        r#"{"action":"Ping","tag":"\u12g4"}"#,
        r#"{"action":"Ping","tag":undefined}"#,
        r#"{"action":"Ping","tag":1,"tag":2}"#,
        r#"{"action":"Ping","payload":{},"payload":{}}"#,
        r#"{"action":"Ping","\u0061ction":"Ping"}"#,
        r#"{"\ud800":1,"action":"Ping"}"#,
    ]
    .map(str::to_owned)
    .into();
    texts.push(format!("\u{feff}{good}"));
    texts.push(format!("{good}{good}"));
    texts.push(format!("{good}x"));
    texts.push(format!("{{\"action\":\"Ping\",\"tag\":{}}}", nested(128)));
    texts.push(nested(30_000));
    texts.push("[".repeat(60_000));
    texts.push("{\"a\":".repeat(12_000));
    texts.push(format!("\"{}", "\\".repeat(60_001)));
    for text in &texts {
        let shown: String = text.chars().take(60).collect();
        let reply: Value = serde_json::from_str(&client.ask(text).await).expect("JSON");
        assert_eq!(reply["event"], "Error", "{shown}: {reply}");
        assert_eq!(reply["payload"]["error"], "InvalidJSON", "{shown}: {reply}");
        assert_eq!(reply["payload"]["retryable"], false, "{shown}: {reply}");
    }
    assert!(client.quiet().await, "one error each");
    is_well(&gateway, &mut healthy).await;
}

#[tokio::test]
async fn what_nests_too_deep_is_refused_under_its_tag() {
    let (_app, gateway, mut healthy) = start().await;
    let mut client = gateway.client().await;
    let text = format!(r#"{{"action":"Echo","tag":[7],"payload":{}}}"#, nested(30_000));
    let reply: Value = serde_json::from_str(&client.ask(&text).await).expect("JSON");
    assert_eq!(reply["tag"], json!([7]));
    assert_eq!(reply["payload"]["error"], "InvalidJSON");
    is_well(&gateway, &mut healthy).await;
}

#[tokio::test]
async fn json_that_few_programs_expect_passes_through_untouched() {
    let (app, gateway, mut healthy) = start().await;
    let mut client = gateway.client().await;
    let long_number = "9".repeat(30_000);
    let deep = nested(126);
    let braces = format!("\"{}\"", "[{".repeat(1_000));
    for value in [
        "1e400",
        "-1E+999999999",
        "0.0000000000000000000000000000000000000000000001e-400",
        long_number.as_str(),
        deep.as_str(),
        // Brackets in a string are no depth.
        braces.as_str(),
        r#""\ud800""#,
        r#""\udc00\ud800""#,
        r#""\u0000""#,
        r#""\u001f\u007f""#,
        "\"\u{7f}\u{85}\u{2028}\u{fffe}\"",
        "\"a\u{feff}\"",
        r#"{"":{"":{"":""}}}"#,
        r#"{"a":1,"a":2,"\u0061":3}"#,
        r#"{"__proto__":{"admin":true}}"#,
    ] {
        let shown: String = value.chars().take(40).collect();
        // Twice the long number is too much for one message.
        let tag = if value.len() < 20_000 { value } else { "1" };
        let text = format!(r#"{{"action":"Echo","tag":{tag},"payload":{value}}}"#);
        // The application's own parsers are not the gateway's business: it says it back
        // through another path.
        app.on("Echo", |_| Ok(reply::events([("Echoed", "1")])));
        let reply = client.ask(&text).await;
        assert_eq!(reply, format!(r#"{{"event":"Echoed","tag":{tag},"payload":1}}"#), "{shown}");
        let call = app.next("HandleAction").await;
        assert_eq!(call.action().payload, value, "{shown}");
        assert_eq!(call.action().tag.as_deref(), Some(tag), "{shown}");
    }
    app.on("Echo", |request| Ok(reply::events([("Echoed", request.payload.as_str())])));
    is_well(&gateway, &mut healthy).await;
}

#[tokio::test]
async fn action_names_may_be_anything_and_are_only_names() {
    let (app, gateway, mut healthy) = start().await;
    let mut client = gateway.client().await;
    let long = "x".repeat(60_000);
    for name in
        ["\u{0}", "\u{7}\u{1b}[31m", "a\nb", "../../etc", "Ping ", " Ping", "PING", "💥", &long]
    {
        let reply = client.request(name, json!({})).await;
        assert_eq!(reply["payload"]["error"], "InvalidAction", "{reply}");
        assert_eq!(app.next("HandleAction").await.action().action, name);
    }
    // Half a surrogate is no text that could be handed on.
    let reply: Value =
        serde_json::from_str(&client.ask(r#"{"action":"\ud800","tag":1}"#).await).expect("JSON");
    assert_eq!(reply["payload"]["error"], "InvalidAction", "{reply}");
    assert_eq!(reply["tag"], 1);
    is_well(&gateway, &mut healthy).await;
}

#[tokio::test]
async fn routing_keys_that_amqp_could_not_carry_are_refused_as_they_were_sent() {
    let (app, gateway, mut healthy) = start().await;
    let mut client = gateway.client().await;
    let string = |text: &str| format!("\"{text}\"");
    let refused = [
        string(&"x".repeat(256)),
        string(&"é".repeat(128)),
        "7".repeat(256),
        string("\\u0000"),
        string("a\\nb"),
        string("\\u001b"),
        string("\\u007f"),
        string("\u{85}"),
        string("\\ud800"),
        "1.0".into(),
        "1e3".into(),
        "-1.5".into(),
        "1e400".into(),
        "true".into(),
        "[]".into(),
        "[[1]]".into(),
        r#"{"a":1}"#.into(),
    ];
    for key in &refused {
        for action in ["Subscribe", "Unsubscribe"] {
            let payload = format!(r#"{{"exchange":"widgets","routing_key":{key}}}"#);
            let text = format!(r#"{{"action":"{action}","tag":1,"payload":{payload}}}"#);
            let reply = client.ask(&text).await;
            let start = r#"{"event":"Error","tag":1,"payload":{"error":"InvalidRoutingKey","retryable":false,"exchange":"widgets","#;
            assert!(reply.starts_with(start), "{action} {key}: {reply}");
            assert!(reply.ends_with(&format!(r#""routing_key":{key}}}}}"#)), "{key}: {reply}");
        }
    }
    let calls = app.seen().await;
    assert!(calls.is_empty(), "{calls:?}");
    is_well(&gateway, &mut healthy).await;
}

#[tokio::test]
async fn strange_routing_keys_are_ordinary_ones() {
    let (_app, gateway, mut healthy) = start().await;
    let mut client = gateway.client().await;
    let (long, accents) = ("x".repeat(255), "é".repeat(127));
    let strange = [
        "#",
        "*",
        "a.#",
        "*.*",
        "amq.direct",
        "amq.gen-x",
        ".",
        "..",
        " ",
        "\"",
        "\\",
        "/",
        "%00",
        "null",
        "-0",
        "007",
        "💥",
        "\u{feff}",
        "\u{202e}",
        long.as_str(),
        accents.as_str(),
    ];
    for key in strange {
        client.subscribe("widgets", key).await;
        gateway.push("widgets", key, "Pushed", json!(key)).await;
        let event = client.event("Pushed").await;
        assert_eq!(event["mq"], json!({"e": "widgets", "rk": key}));
        assert!(client.quiet().await, "{key:?}: once");
    }
    let mut expected = strange.to_vec();
    expected.sort_unstable();
    assert_eq!(client.subscriptions().await, json!({"widgets": expected}));
    is_well(&gateway, &mut healthy).await;
}

#[tokio::test]
async fn a_whole_message_of_keys_is_answered_or_refused_and_never_too_much() {
    let (app, gateway, mut healthy) = start().await;
    let mut client = gateway.client().await;
    let many = |key: &str| {
        let head =
            r#"{"action":"Subscribe","tag":1,"payload":{"exchange":"widgets","routing_keys":["#;
        let count = (64 * 1024 - head.len() - 3) / (key.len() + 1);
        format!("{head}{}]}}}}", vec![key; count].join(","))
    };
    for key in ["1", "\"\"", "null", "{}", "1.5"] {
        let text = many(key);
        assert!(text.len() > 65_000 && text.len() <= 65_536);
        let reply: Value = serde_json::from_str(&client.ask(&text).await).expect("JSON");
        assert_eq!(reply["payload"]["error"], "TooManySubscriptions", "{reply}");
        assert_eq!(reply["tag"], 1);
    }
    assert!(client.quiet().await, "one error for all");
    assert!(app.seen().await.is_empty());
    // As long as may be, and as many as fit: each is answered.
    let keys: Vec<_> = (0..250).map(|n| format!("{n:0>255}")).collect();
    let payload = json!({"exchange": "widgets", "routing_keys": keys});
    client.send(json!({"action": "Subscribe", "tag": 2, "payload": payload})).await;
    for key in &keys {
        assert_eq!(client.next().await["payload"]["routing_key"], key.as_str());
    }
    // A great tag is echoed in each reply, which is more than may wait for one client.
    let tag = "x".repeat(50_000);
    let keys: Vec<_> = (1_000..1_400).collect();
    let payload = json!({"exchange": "widgets", "routing_keys": keys});
    client.send(json!({"action": "Subscribe", "tag": tag, "payload": payload})).await;
    assert_eq!(client.closed().await.code, 3008);
    is_well(&gateway, &mut healthy).await;
}

#[tokio::test]
async fn a_flood_of_nonsense_is_answered_piece_by_piece() {
    const MESSAGES: usize = 2_000;
    let (_app, gateway, mut healthy) = start().await;
    let mut client = gateway.client().await;
    let nonsense = ["{", "[]", r#"{"action":1}"#, r#"{"action":"Subscribe","payload":[]}"#];
    for n in 0..MESSAGES {
        client.send_text(nonsense[n % nonsense.len()]).await;
    }
    for n in 0..MESSAGES {
        let expected = ["InvalidJSON", "InvalidJSON", "InvalidAction", "InvalidPayload"];
        let reply = client.next().await;
        assert_eq!(reply["payload"]["error"], expected[n % expected.len()], "{n}: {reply}");
    }
    is_well(&gateway, &mut healthy).await;
}
