//! Hostile exchanges and routing keys: what is a topic, what is none, and how many.

use super::{
    application::{DENIED, FAILS, MISCOUNTED, UNKNOWN},
    plan::{Class, Expect, Plan, error, reply},
};

/// As JSON; each can be subscribed to, and comes back as it was sent.
const KEYS: &[(&str, &str)] = &[
    ("empty", r#""""#),
    ("null", "null"),
    ("a hash", r##""#""##),
    ("a star", r#""*.*""#),
    ("a pattern", r##""a.#""##),
    ("a queue of the broker", r#""amq.gen-x""#),
    ("blanks", r#""   ""#),
    ("a quote", r#""\"""#),
    ("a backslash", r#""\\""#),
    ("percent", r#""%00%0a""#),
    ("minus zero", "-0"),
    ("minus zero as text", r#""-0""#),
    ("leading zeros as text", r#""007""#),
    (
        "two hundred digits",
        "77777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777",
    ),
    ("a byte order mark", "\"\u{feff}\""),
    ("right to left", "\"\u{202e}x\""),
    ("beyond the basic plane", "\"\u{1f4a5}\""),
    ("sql", r#""'; DROP TABLE widgets; --""#),
    ("a path", r#""../../../etc/passwd""#),
    ("a template", r#""${jndi:ldap://evil}{{7*7}}""#),
];

/// As JSON; no routing key.
const NO_KEYS: &[(&str, &str)] = &[
    ("a nul", r#""\u0000""#),
    ("a line feed", r#""a\nb""#),
    ("an escape", r#""\u001b[2J""#),
    ("delete", r#""\u007f""#),
    ("a c1 control", "\"\u{85}\""),
    ("half a surrogate", r#""\ud800""#),
    ("one point zero", "1.0"),
    ("an exponent", "1e3"),
    ("beyond a double", "1e400"),
    ("minus one and a half", "-1.5"),
    ("an array of keys", "[[1]]"),
    ("an object", r#"{"$ne":null}"#),
];

/// As JSON strings; no exchange that is there.
const EXCHANGES: &[(&str, &str)] = &[
    ("empty", ""),
    ("unknown", "gadgets"),
    ("another case", "Widgets"),
    ("a blank behind", "widgets "),
    ("a nul behind", r#"widgets\u0000"#),
    ("the broker's", "amq.direct"),
    ("the gateway's log", "myxi.log.widgets"),
    ("a replica's queue", "myxi.replica.00000000"),
    ("a hash", "#"),
    ("a path", "../widgets"),
    ("accents", "wídgets"),
    ("cyrillic", "wіdgets"),
    ("a line feed", r#"wid\ngets"#),
    ("half a surrogate behind", "widgets\u{fffd}"),
];

fn subscribe(payload: &str) -> String {
    format!(r#"{{"action":"Subscribe","tag":1,"payload":{payload}}}"#)
}

fn key_of(action: &str, exchange: &str, key: &str) -> String {
    let payload = format!(r#"{{"exchange":"{exchange}","routing_key":{key}}}"#);
    format!(r#"{{"action":"{action}","tag":1,"payload":{payload}}}"#)
}

fn of_key(event: &str, key: &str) -> String {
    reply(event, "1", &format!(r#"{{"exchange":"widgets","routing_key":{key}}}}}"#))
}

fn unsubscribed(key: &str) -> String {
    let payload = r#"{"exchange":"widgets","exchange_name":"widgets","routing_key":"#;
    reply("Unsubscribed", "1", &format!(r#"{payload}{key},"auto":false}}}}"#))
}

fn refused(code: &str, key: &str) -> String {
    let payload = format!(r#"{{"error":"{code}","retryable":false,"exchange":"widgets""#);
    match code {
        "InvalidRoutingKey" => reply("Error", "1", &payload),
        _ => reply("Error", "1", &format!(r#"{payload},"routing_key":{key}}}}}"#)),
    }
}

pub fn classes() -> Vec<Class> {
    let mut classes = Vec::new();
    for (name, key) in KEYS {
        let replies =
            vec![of_key("Subscribed", key), refused("AlreadySubscribed", key), unsubscribed(key)];
        let sent = ["Subscribe", "Subscribe", "Unsubscribe"];
        let sent: Vec<_> = sent.iter().map(|action| key_of(action, "widgets", key)).collect();
        classes.push(Class::new(format!("keys/taken/{name}"), move |dice| {
            let plan = Plan::open(dice).messages(dice, sent.iter().map(String::as_str));
            plan.expect(Expect::Replies(replies.clone()))
        }));
    }
    let too_long = [
        ("256 bytes", format!("\"{}\"", "x".repeat(256))),
        ("256 bytes of accents", format!("\"{}\"", "é".repeat(128))),
        ("256 digits", "7".repeat(256)),
        ("60,000 bytes", format!("\"{}\"", "x".repeat(60_000))),
    ];
    let no_keys = NO_KEYS.iter().map(|(name, key)| (*name, (*key).to_owned())).chain(too_long);
    for (name, key) in no_keys {
        for action in ["Subscribe", "Unsubscribe"] {
            let replies = vec![refused("InvalidRoutingKey", &key)];
            let text = key_of(action, "widgets", &key);
            classes.push(Class::action(format!("keys/{action}/{name}"), text, replies));
        }
    }
    let long = "x".repeat(128);
    for (name, exchange) in EXCHANGES.iter().chain(&[("128 bytes", long.as_str())]) {
        let replies = vec![error("1", "InvalidExchangeName")];
        let text = key_of("Subscribe", exchange, "1");
        classes.push(Class::action(format!("keys/exchange/{name}"), text, replies));
    }
    classes.extend(answers());
    classes.extend(many());
    classes
}

/// What the application says to them.
fn answers() -> Vec<Class> {
    let denied = refused("SubscriptionDenied", &format!("\"{DENIED}\""));
    let cases = [
        ("denied", key_of("Subscribe", "widgets", &format!("\"{DENIED}\"")), vec![denied.clone()]),
        (
            "denied twice",
            subscribe(&format!(
                r#"{{"exchange":"widgets","routing_keys":["{DENIED}","{DENIED}"]}}"#
            )),
            vec![denied.clone(), denied.clone()],
        ),
        (
            "denied between two",
            subscribe(&format!(
                r#"{{"exchange":"widgets","routing_keys":["a","{DENIED}",1.5,"a",2]}}"#
            )),
            vec![
                of_key("Subscribed", "\"a\""),
                denied,
                refused("InvalidRoutingKey", "1.5"),
                refused("AlreadySubscribed", "\"a\""),
                of_key("Subscribed", "2"),
            ],
        ),
        (
            "unknown to the application",
            key_of("Subscribe", "widgets", &format!("\"{UNKNOWN}\"")),
            vec![error("1", "InvalidExchangeName")],
        ),
        (
            "too many decisions",
            key_of("Subscribe", "widgets", &format!("\"{MISCOUNTED}\"")),
            vec![error("1", "InternalError")],
        ),
        (
            "the check fails",
            key_of("Subscribe", "widgets", &format!("\"{FAILS}\"")),
            vec![error("1", "InternalError")],
        ),
    ];
    cases
        .into_iter()
        .map(|(name, text, replies)| Class::action(format!("keys/check/{name}"), text, replies))
        .collect()
}

/// A message of keys is answered key by key, or once.
fn many() -> Vec<Class> {
    let array = |action: &str, tag: &str, keys: &str| {
        let payload = format!(r#"{{"exchange":"widgets","routing_keys":[{keys}]}}"#);
        format!(r#"{{"action":"{action}","tag":{tag},"payload":{payload}}}"#)
    };
    let numbers =
        |from: usize, to: usize| (from..to).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let same = |key: &str, count: usize| vec![key; count].join(",");
    let subscribed: Vec<_> = (0..1_000).map(|n| of_key("Subscribed", &n.to_string())).collect();
    let too_many = || vec![error("1", "TooManySubscriptions")];
    let mut repeated = vec![of_key("Subscribed", "7")];
    repeated.resize(1_000, refused("AlreadySubscribed", "7"));
    let tag = format!("\"{}\"", "t".repeat(900));
    let cases = vec![
        ("a thousand", array("Subscribe", "1", &numbers(0, 1_000)), subscribed),
        ("a thousand and one", array("Subscribe", "1", &numbers(0, 1_001)), too_many()),
        ("a message full of ones", array("Subscribe", "1", &same("1", 32_000)), too_many()),
        ("a message full of objects", array("Unsubscribe", "1", &same("{}", 20_000)), too_many()),
        ("one key a thousand times", array("Subscribe", "1", &same("7", 1_000)), repeated),
        (
            "a thousand not held",
            array("Unsubscribe", "1", &same("8", 1_000)),
            vec![unsubscribed("8"); 1_000],
        ),
        (
            "a thousand that are none",
            array("Unsubscribe", "1", &same("[]", 1_000)),
            vec![refused("InvalidRoutingKey", "[]"); 1_000],
        ),
        (
            "a thousand replies with a long tag",
            array("Unsubscribe", &tag, &same("8", 900)),
            vec![reply("Unsubscribed", &tag, ""); 900],
        ),
    ];
    let mut classes: Vec<Class> = cases
        .into_iter()
        .map(|(name, text, replies)| Class::action(format!("keys/many/{name}"), text, replies))
        .collect();
    let (full, one_more) = (array("Subscribe", "2", &numbers(0, 1_000)), numbers(1_000, 1_001));
    let one_more = array("Subscribe", "1", &one_more);
    classes.push(Class::new("keys/many/one past the most", move |dice| {
        let plan = Plan::open(dice).messages(dice, [full.as_str(), one_more.as_str()]);
        plan.hear(&error("1", "TooManySubscriptions")).expect(Expect::Alive)
    }));
    let long_keys: Vec<String> = (0..240).map(|n| format!("\"{n:0>255}\"")).collect();
    let held = array("Subscribe", "1", &long_keys.join(","));
    classes.push(Class::new("keys/many/long ones, listed again and again", move |dice| {
        let list = r#"{"action":"ListSubscriptions","tag":2}"#;
        let texts = std::iter::once(held.as_str()).chain([list; 30]);
        let mut replies = vec![reply("Subscribed", "1", ""); 240];
        replies.resize(270, reply("YourSubscriptions", "2", r#"{"subscriptions":{"widgets":["#));
        Plan::open(dice).messages(dice, texts).expect(Expect::Replies(replies))
    }));
    let greedy = array("Subscribe", &format!("\"{}\"", "t".repeat(50_000)), &numbers(0, 1_000));
    classes.push(Class::new("keys/many/more replies than may wait", move |dice| {
        Plan::open(dice).message(dice, &greedy).expect(Expect::Closes(vec![3008]))
    }));
    classes
}
