//! Subscribe, Unsubscribe and ListSubscriptions in every form they may take.

use serde_json::{Value, json};

use crate::support::{
    client::Client,
    gateway::Gateway,
    handler::{
        TestHandler,
        proto::{CheckReason, Decision, Topic},
        reply,
    },
};

const BIG: &str = "123456789012345678901234567890";

async fn start() -> (TestHandler, Gateway, Client) {
    let app = TestHandler::start().await;
    let gateway = Gateway::with(&app, &["--exchange=widgets,gadgets"]).await;
    let client = gateway.client().await;
    (app, gateway, client)
}

fn topic(routing_key: &str) -> Topic {
    Topic { exchange: "widgets".into(), routing_key: routing_key.into() }
}

fn subscribed(key: &str) -> String {
    format!(
        r#"{{"event":"Subscribed","tag":1,"payload":{{"exchange":"widgets","routing_key":{key}}}}}"#
    )
}

fn unsubscribed(exchange: &str, key: &str) -> String {
    format!(
        r#"{{"event":"Unsubscribed","tag":1,"payload":{{"exchange":"{exchange}","exchange_name":"{exchange}","routing_key":{key},"auto":false}}}}"#
    )
}

fn key_error(code: &str, key: &str) -> String {
    format!(
        r#"{{"event":"Error","tag":1,"payload":{{"error":"{code}","retryable":false,"exchange":"widgets","routing_key":{key}}}}}"#
    )
}

async fn say(client: &mut Client, action: &str, payload: &str) {
    client.send_text(&format!(r#"{{"action":"{action}","tag":1,"payload":{payload}}}"#)).await;
}

#[tokio::test]
async fn a_routing_key_comes_back_as_it_was_sent_and_is_its_text_elsewhere() {
    let (app, gateway, _) = start().await;
    for (members, echoed, text) in [
        (r#","routing_key":"1234""#, r#""1234""#, "1234"),
        (r#","routing_key":1234"#, "1234", "1234"),
        (r#","routing_key":-7"#, "-7", "-7"),
        (&format!(r#","routing_key":{BIG}"#), BIG, BIG),
        (r#","routing_key":null"#, "null", ""),
        ("", "null", ""),
        (r#","routing_key":"""#, r#""""#, ""),
        (r#","routing_key":"\u00e9""#, r#""é""#, "é"),
    ] {
        let mut client = gateway.client().await;
        say(&mut client, "Subscribe", &format!(r#"{{"exchange":"widgets"{members}}}"#)).await;
        assert_eq!(client.text().await, subscribed(echoed));
        let call = app.next("CheckSubscriptions").await;
        assert_eq!(call.check().topics, [topic(text)]);
        assert_eq!(call.check().reason(), CheckReason::Subscribe);
        let session = call.check().session.as_ref().expect("a session");
        assert_eq!(session.id, client.id);
        gateway.push("widgets", text, "Changed", json!({})).await;
        assert_eq!(client.event("Changed").await["mq"], json!({"e": "widgets", "rk": text}));
        say(&mut client, "ListSubscriptions", "{}").await;
        let listed = format!(
            r#"{{"event":"YourSubscriptions","tag":1,"payload":{{"subscriptions":{{"widgets":[{echoed}]}}}}}}"#
        );
        assert_eq!(client.text().await, listed);
        say(&mut client, "Unsubscribe", r#"{"exchange":"widgets"}"#).await;
        assert_eq!(client.text().await, unsubscribed("widgets", echoed));
    }
}

#[tokio::test]
async fn an_array_is_one_question_and_one_reply_per_key_in_its_order() {
    let (app, _gateway, mut client) = start().await;
    app.on_check(|request| {
        Ok(reply::decisions(request.topics.iter().map(|topic| match topic.routing_key.as_str() {
            "no" => Decision::Deny,
            "unspecified" => Decision::Unspecified,
            _ => Decision::Allow,
        })))
    });
    client.subscribe("widgets", "held").await;
    app.next("CheckSubscriptions").await;
    let keys = format!(r#"["a",1,"no",null,"1","held",1.5,"a",{BIG},"unspecified","",{{}}]"#);
    say(&mut client, "Subscribe", &format!(r#"{{"exchange":"widgets","routing_keys":{keys}}}"#))
        .await;
    let mut replies = Vec::new();
    for _ in 0..12 {
        replies.push(client.text().await);
    }
    let invalid = |key: &str| {
        let message = "routing_key must be a string or an integer of at most 255 bytes, without control characters";
        format!(
            r#"{{"event":"Error","tag":1,"payload":{{"error":"InvalidRoutingKey","retryable":false,"exchange":"widgets","message":"{message}","routing_key":{key}}}}}"#
        )
    };
    let expected = [
        subscribed(r#""a""#),
        subscribed("1"),
        key_error("SubscriptionDenied", r#""no""#),
        subscribed("null"),
        key_error("AlreadySubscribed", r#""1""#),
        key_error("AlreadySubscribed", r#""held""#),
        invalid("1.5"),
        key_error("AlreadySubscribed", r#""a""#),
        subscribed(BIG),
        key_error("SubscriptionDenied", r#""unspecified""#),
        key_error("AlreadySubscribed", r#""""#),
        invalid("{}"),
    ];
    assert_eq!(replies, expected);
    let calls = app.seen().await;
    assert_eq!(calls.len(), 1, "one call for the array");
    let asked = ["a", "1", "no", "", BIG, "unspecified"].map(topic);
    assert_eq!(calls[0].check().topics, asked);
    let held = client.subscriptions().await;
    assert_eq!(held["widgets"].as_array().map(Vec::len), Some(5), "{held}");
}

#[tokio::test]
async fn what_is_held_already_is_not_asked_again_and_a_number_is_its_text() {
    let (app, _gateway, mut client) = start().await;
    client.subscribe("widgets", "1234").await;
    app.next("CheckSubscriptions").await;
    for key in ["1234", r#""1234""#] {
        say(&mut client, "Subscribe", &format!(r#"{{"exchange":"widgets","routing_key":{key}}}"#))
            .await;
        assert_eq!(client.text().await, key_error("AlreadySubscribed", key));
    }
    assert!(app.seen().await.is_empty());
    // The same key of another exchange is another subscription.
    client.subscribe("gadgets", "1234").await;
    assert_eq!(client.subscriptions().await, json!({"gadgets": ["1234"], "widgets": ["1234"]}));
}

#[tokio::test]
async fn a_denied_key_may_be_asked_for_again_and_delivers_nothing_before() {
    let (app, gateway, mut client) = start().await;
    app.on_check(|request| Ok(reply::deny_all(&request)));
    let payload = json!({"exchange": "widgets", "routing_key": "k"});
    assert_eq!(client.error("Subscribe", payload.clone()).await["error"], "SubscriptionDenied");
    gateway.push("widgets", "k", "Early", json!({})).await;
    app.on_check(|request| Ok(reply::allow_all(&request)));
    client.subscribe("widgets", "k").await;
    gateway.push("widgets", "k", "Late", json!({})).await;
    assert_eq!(client.next().await["event"], "Late");
    assert!(client.quiet().await);
}

#[tokio::test]
async fn a_key_named_twice_shares_one_decision() {
    let (app, _gateway, mut client) = start().await;
    app.on_check(|request| {
        let decide = |topic: &Topic| match topic.routing_key.as_str() {
            "1" => Decision::Allow,
            _ => Decision::Deny,
        };
        Ok(reply::decisions(request.topics.iter().map(decide)))
    });
    let payload = r#"{"exchange":"widgets","routing_keys":[1,2,"1","2"]}"#;
    say(&mut client, "Subscribe", payload).await;
    assert_eq!(client.text().await, subscribed("1"));
    assert_eq!(client.text().await, key_error("SubscriptionDenied", "2"));
    assert_eq!(client.text().await, key_error("AlreadySubscribed", r#""1""#));
    assert_eq!(client.text().await, key_error("SubscriptionDenied", r#""2""#));
    assert_eq!(app.next("CheckSubscriptions").await.check().topics.len(), 2);
}

#[tokio::test]
async fn one_unknown_exchange_fails_the_whole_array() {
    let (app, _gateway, mut client) = start().await;
    app.on_check(|_| Ok(reply::decisions([Decision::Allow, Decision::UnknownExchange])));
    say(&mut client, "Subscribe", r#"{"exchange":"widgets","routing_keys":[1,2]}"#).await;
    assert_eq!(
        client.text().await,
        r#"{"event":"Error","tag":1,"payload":{"error":"InvalidExchangeName","retryable":false,"exchange":"widgets"}}"#
    );
    assert_eq!(client.subscriptions().await, json!({}));
}

#[tokio::test]
async fn an_exchange_that_is_not_configured_is_not_asked_about() {
    let (app, _gateway, mut client) = start().await;
    for name in ["other", "", "Widgets", "amq.topic", "a b", "#", "*", "widgets\u{0}", "é"] {
        for payload in [
            json!({"exchange": name, "routing_key": "k"}),
            json!({"exchange": name, "routing_keys": ["k", "l"]}),
        ] {
            let error = client.error("Subscribe", payload).await;
            assert_eq!(
                error,
                json!({"error": "InvalidExchangeName", "retryable": false, "exchange": name})
            );
        }
    }
    assert!(client.quiet().await, "one error for them all");
    assert!(app.seen().await.is_empty());
}

#[tokio::test]
async fn a_payload_that_makes_no_sense_is_invalid() {
    let (app, _gateway, mut client) = start().await;
    let both = [
        "null",
        "[]",
        "7",
        r#""widgets""#,
        r#"{"exchange":7,"routing_key":"k"}"#,
        r#"{"exchange":"widgets","routing_key":"k","routing_keys":["l"]}"#,
        r#"{"exchange":"widgets","routing_keys":[]}"#,
        r#"{"exchange":"widgets","routing_keys":"k"}"#,
        r#"{"exchange":"widgets","routing_keys":{"0":"k"}}"#,
        r#"{"routing_key":"k"}"#,
        r#"{"routing_keys":["k"]}"#,
        r#"{"exchange":null,"routing_key":"k"}"#,
        r#"{"exchange":"widgets","exchange":"widgets","routing_key":"k"}"#,
        r#"{"exchange":"widgets","routing_key":"k","routing_key":"k"}"#,
    ];
    for action in ["Subscribe", "Unsubscribe"] {
        let only = if action == "Subscribe" { vec!["{}"] } else { vec![] };
        for payload in both.iter().copied().chain(only) {
            say(&mut client, action, payload).await;
            let reply = client.next().await;
            assert_eq!(reply["payload"]["error"], "InvalidPayload", "{action} {payload}: {reply}");
            assert!(reply["payload"]["message"].is_string(), "{reply}");
            assert_eq!(reply["tag"], 1);
        }
    }
    assert!(app.seen().await.is_empty());
    assert!(client.quiet().await);
}

#[tokio::test]
async fn unsubscribe_takes_a_key_several_keys_an_exchange_or_everything() {
    let (_app, gateway, mut client) = start().await;
    let subscribe_all = async |client: &mut Client| {
        for exchange in ["widgets", "gadgets"] {
            let keys = r#"["a",1,null,"b"]"#;
            say(
                client,
                "Subscribe",
                &format!(r#"{{"exchange":"{exchange}","routing_keys":{keys}}}"#),
            )
            .await;
            for _ in 0..4 {
                assert_eq!(client.next().await["event"], "Subscribed");
            }
        }
    };
    subscribe_all(&mut client).await;
    say(&mut client, "Unsubscribe", r#"{"exchange":"widgets","routing_key":"a"}"#).await;
    assert_eq!(client.text().await, unsubscribed("widgets", r#""a""#));
    // As it is written now, not as it was subscribed.
    say(&mut client, "Unsubscribe", r#"{"exchange":"widgets","routing_keys":["1","",5,"a"]}"#)
        .await;
    for key in [r#""1""#, r#""""#, "5", r#""a""#] {
        assert_eq!(client.text().await, unsubscribed("widgets", key));
    }
    assert_eq!(client.subscriptions().await["widgets"], json!(["b"]));
    say(&mut client, "Unsubscribe", r#"{"exchange":"gadgets"}"#).await;
    let mut ended = Vec::new();
    for _ in 0..4 {
        ended.push(client.text().await);
    }
    ended.sort();
    let mut expected = ["null", "1", r#""a""#, r#""b""#].map(|key| unsubscribed("gadgets", key));
    expected.sort();
    assert_eq!(ended, expected);
    assert_eq!(client.subscriptions().await, json!({"widgets": ["b"]}));
    say(&mut client, "Unsubscribe", r#"{"exchange":"widgets"}"#).await;
    assert_eq!(client.text().await, unsubscribed("widgets", r#""b""#));

    subscribe_all(&mut client).await;
    say(&mut client, "Unsubscribe", "{}").await;
    for _ in 0..8 {
        let reply = client.next().await;
        assert_eq!((&reply["event"], &reply["tag"]), (&json!("Unsubscribed"), &json!(1)));
    }
    assert_eq!(client.subscriptions().await, json!({}));
    for (exchange, key) in [("widgets", "a"), ("widgets", "1"), ("gadgets", ""), ("gadgets", "b")] {
        gateway.push(exchange, key, "Changed", json!({})).await;
    }
    assert!(client.quiet().await, "an event came after Unsubscribed");
    for payload in ["{}", r#"{"exchange":"widgets"}"#] {
        say(&mut client, "Unsubscribe", payload).await;
        assert_eq!(client.text().await, r#"{"event":"Done","tag":1}"#);
    }
}

#[tokio::test]
async fn unsubscribe_is_acknowledged_also_where_nothing_was_subscribed() {
    let (app, _gateway, mut client) = start().await;
    for exchange in ["widgets", "never.configured"] {
        for key in [r#""k""#, "7", "null", BIG] {
            let payload = format!(r#"{{"exchange":"{exchange}","routing_key":{key}}}"#);
            say(&mut client, "Unsubscribe", &payload).await;
            assert_eq!(client.text().await, unsubscribed(exchange, key));
        }
    }
    let payload = json!({"exchange": "amq.topic", "routing_key": "k"});
    assert_eq!(client.error("Unsubscribe", payload).await["error"], "InvalidExchangeName");
    let payload = json!({"exchange": "widgets", "routing_key": 1.5});
    assert_eq!(client.error("Unsubscribe", payload).await["error"], "InvalidRoutingKey");
    assert!(app.seen().await.is_empty(), "the application is not asked");
}

#[tokio::test]
async fn a_subscription_hears_its_own_exchange_and_key_and_no_other() {
    let (_app, gateway, mut client) = start().await;
    client.subscribe("widgets", "a.b").await;
    for (exchange, key) in
        [("widgets", "a"), ("widgets", "a.b.c"), ("widgets", ""), ("gadgets", "a.b")]
    {
        gateway.push(exchange, key, "Other", json!({})).await;
    }
    gateway.push("widgets", "a.b", "Own", json!({})).await;
    assert_eq!(client.next().await["event"], "Own");
    // Wildcards are ordinary keys.
    for key in ["#", "*", "a.*"] {
        client.subscribe("widgets", key).await;
    }
    gateway.push("widgets", "a.c", "Other", json!({})).await;
    gateway.push("widgets", "a.*", "Star", json!({})).await;
    let star: Value = client.next().await;
    assert_eq!((&star["event"], &star["mq"]["rk"]), (&json!("Star"), &json!("a.*")));
    assert!(client.quiet().await);
}

#[tokio::test]
async fn an_exchange_the_bus_has_not_reached_is_unavailable_for_now() {
    let app = TestHandler::start().await;
    let nobody = crate::support::handler::free_address();
    let broker = format!("--rabbitmq-url=amqp://{nobody}");
    let gateway = Gateway::unready(&app, &["--exchange=widgets", &broker]).await;
    let mut client = gateway.client().await;
    let payload = json!({"exchange": "widgets", "routing_key": "k"});
    let error = client.error("Subscribe", payload).await;
    let expected =
        json!({"error": "ExchangeUnavailable", "retryable": true, "exchange": "widgets"});
    assert_eq!(error, expected);
    assert!(app.seen().await.is_empty());
    assert_eq!(client.request("Ping", json!({})).await["event"], "Pong");
}
