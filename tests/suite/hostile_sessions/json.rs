//! Hostile JSON: what is none, what is no action, tags and payloads of every form.

use super::plan::{Class, Expect, Plan, error, reply};

/// Each gets `InvalidJSON`, without a tag.
const INVALID: &[(&str, &str)] = &[
    ("blank", " "),
    ("null", "null"),
    ("true", "true"),
    ("a number", "7"),
    ("a string", "\"Ping\""),
    ("an array", "[]"),
    ("an action in an array", r#"[{"action":"Ping"}]"#),
    ("open", "{"),
    ("only closed", "}"),
    ("two objects", "{}{}"),
    ("two actions", r#"{"action":"Ping"}{"action":"Ping"}"#),
    ("not closed", r#"{"action":"Ping""#),
    ("a trailing comma", r#"{"action":"Ping",}"#),
    ("a missing comma", r#"{"action":"Ping" "tag":1}"#),
    ("single quotes", "{'action':'Ping'}"),
    ("a bare name", r#"{action:"Ping"}"#),
    ("a comment", r#"{"action":"Ping"} // comment"#),
    ("a comment within", r#"{/**/"action":"Ping"}"#),
    ("a line feed in a string", "{\"action\":\"Pi\nng\"}"),
    ("a nul in a string", "{\"action\":\"Pi\0ng\"}"),
    ("a nul", "\0"),
    ("a nul behind", "{\"action\":\"Ping\"}\0"),
    ("a byte order mark", "\u{feff}{\"action\":\"Ping\"}"),
    ("another space", "\u{a0}{\"action\":\"Ping\"}"),
    ("a leading zero", r#"{"action":"Ping","tag":01}"#),
    ("a plus", r#"{"action":"Ping","tag":+1}"#),
    ("a point first", r#"{"action":"Ping","tag":.5}"#),
    ("a point last", r#"{"action":"Ping","tag":5.}"#),
    ("an open exponent", r#"{"action":"Ping","tag":1e}"#),
    ("hexadecimal", r#"{"action":"Ping","tag":0x10}"#),
    ("nan", r#"{"action":"Ping","tag":NaN}"#),
    ("infinity", r#"{"action":"Ping","tag":-Infinity}"#),
    ("undefined", r#"{"action":"Ping","tag":undefined}"#),
    ("a bad escape", r#"{"action":"Ping","tag":"\x41"}"#),
    ("a bad unicode escape", r#"{"action":"Ping","tag":"\u12g4"}"#),
    ("a cut escape", r#"{"action":"Ping","tag":"\"#),
    ("a key that is no text", r#"{"\ud800":1,"action":"Ping"}"#),
    ("a key that is a number", r#"{1:2,"action":"Ping"}"#),
    ("an upper case null", r#"{"action":"Ping","tag":NULL}"#),
    ("brackets that do not match", r#"{"action":"Ping","tag":[1}]"#),
];

/// Echoed as they stand, whatever they are.
const TAGS: &[(&str, &str)] = &[
    ("null", "null"),
    ("true", "true"),
    ("zero", "0"),
    ("minus zero", "-0"),
    ("thirty digits", "123456789012345678901234567890"),
    ("beyond a double", "1e400"),
    ("a tiny number", "-0.00000000000000000000000000000001e-400"),
    ("an empty string", r#""""#),
    ("escapes", r#""\u0000\u001f\"\\\/\b""#),
    ("half a surrogate", r#""\ud800""#),
    ("surrogates in the wrong order", r#""\udc00\ud800""#),
    ("right to left", "\"\u{202e}\u{2028}\u{feff}\""),
    ("beyond the basic plane", "\"\u{1f4a5}\u{10ffff}\""),
    ("an empty array", "[]"),
    ("blanks within", "[ 1 ,\t2 , { } ]"),
    ("keys twice", r#"{"a":1,"a":2,"\u0061":3}"#),
    ("a prototype", r#"{"__proto__":{"admin":true}}"#),
    ("markup", r#""</script><img src=x onerror=alert(1)>""#),
    ("a whole error", r#"{"event":"Error","payload":{"error":"Busy"}}"#),
];

/// Values that stand where another type belongs.
const VALUES: [(&str, &str); 8] = [
    ("null", "null"),
    ("a switch", "true"),
    ("an integer", "7"),
    ("a fraction", "1.5"),
    ("a string", r#""x""#),
    ("half a surrogate", r#""\ud800""#),
    ("an array", "[1]"),
    ("an object", r#"{"a":1}"#),
];

/// A member of a `Subscribe` or `Unsubscribe`, and what comes of each of [`VALUES`].
const FIELDS: &[(&str, &str, [&str; 8])] = {
    const P: &str = "InvalidPayload";
    const E: &str = "InvalidExchangeName";
    const K: &str = "InvalidRoutingKey";
    &[
        ("Subscribe", r#"V"#, [P, P, P, P, P, P, P, P]),
        ("Unsubscribe", r#"V"#, [P, P, P, P, P, P, P, "Unsubscribes"]),
        ("Subscribe", r#"{"exchange":V}"#, [P, P, P, P, E, P, P, P]),
        ("Unsubscribe", r#"{"exchange":V}"#, ["Unsubscribes", P, P, P, "Unsubscribes", P, P, P]),
        (
            "Subscribe",
            r#"{"exchange":"widgets","routing_key":V}"#,
            ["Subscribed", K, "Subscribed", K, "Subscribed", K, K, K],
        ),
        (
            "Unsubscribe",
            r#"{"exchange":"widgets","routing_key":V}"#,
            ["Unsubscribed", K, "Unsubscribed", K, "Unsubscribed", K, K, K],
        ),
        (
            "Subscribe",
            r#"{"exchange":"widgets","routing_keys":V}"#,
            ["Subscribed", P, P, P, P, P, "Subscribed", P],
        ),
        (
            "Unsubscribe",
            r#"{"exchange":"widgets","routing_keys":V}"#,
            ["Unsubscribes", P, P, P, P, P, "Unsubscribed", P],
        ),
        (
            "Subscribe",
            r#"{"exchange":"widgets","routing_keys":[V]}"#,
            ["Subscribed", K, "Subscribed", K, "Subscribed", K, K, K],
        ),
    ]
};

/// The reply to one action with tag 1 that went so.
fn outcome(of: &str) -> String {
    match of {
        "Subscribed" | "Unsubscribed" => reply(of, "1", r#"{"exchange":"widgets""#),
        // There was nothing to end.
        "Unsubscribes" => r#"{"event":"Done","tag":1}"#.into(),
        code => error("1", code),
    }
}

pub fn classes() -> Vec<Class> {
    let mut classes = Vec::new();
    for (name, text) in INVALID {
        let replies = vec![error("", "InvalidJSON")];
        classes.push(Class::action(format!("json/invalid/{name}"), *text, replies));
    }
    for (name, tag) in TAGS {
        let text = format!(r#"{{"tag":{tag},"action":"Ping"}}"#);
        let replies = vec![reply("Pong", tag, "{\"time\":")];
        classes.push(Class::action(format!("json/tag/{name}"), text, replies));
    }
    for (action, payload, outcomes) in FIELDS {
        for ((name, value), of) in VALUES.iter().zip(outcomes) {
            let payload = payload.replace('V', value);
            let text = format!(r#"{{"action":"{action}","payload":{payload},"tag":1}}"#);
            let name = format!("json/{action} {} {name}", payload.replace(value, "…"));
            classes.push(Class::action(name, text, vec![outcome(of)]));
        }
    }
    for (name, value) in VALUES {
        let text = format!(r#"{{"action":{value},"tag":1}}"#);
        let replies = vec![error("1", "InvalidAction")];
        classes.push(Class::action(format!("json/action is {name}"), text, replies));
    }
    classes.extend(shapes());
    classes.extend(sizes());
    classes
}

/// Objects that are actions, or nearly.
fn shapes() -> Vec<Class> {
    let invalid = |tag: &str, code: &str| vec![error(tag, code)];
    let cases = [
        ("an empty object", r#"{}"#, invalid("", "InvalidAction")),
        ("no action", r#"{"tag":[1]}"#, invalid("[1]", "InvalidAction")),
        ("an empty action", r#"{"action":"","tag":1}"#, invalid("1", "InvalidAction")),
        ("another case", r#"{"Action":"Ping","tag":1}"#, invalid("1", "InvalidAction")),
        ("ping in upper case", r#"{"action":"PING","tag":1}"#, invalid("1", "InvalidAction")),
        ("a blank behind", r#"{"action":"Ping ","tag":1}"#, invalid("1", "InvalidAction")),
        ("a nul in the name", r#"{"action":"Ping\u0000","tag":1}"#, invalid("1", "InvalidAction")),
        ("terminal colours", r#"{"action":"\u001b[31m","tag":1}"#, invalid("1", "InvalidAction")),
        ("a path", r#"{"action":"../../etc/passwd","tag":1}"#, invalid("1", "InvalidAction")),
        ("action twice", r#"{"action":"Ping","action":"Ping"}"#, invalid("", "InvalidJSON")),
        (
            "action twice, escaped",
            r#"{"action":"Ping","\u0061ction":"Ping"}"#,
            invalid("", "InvalidJSON"),
        ),
        (
            "payload twice",
            r#"{"action":"Ping","payload":1,"payload":2}"#,
            invalid("", "InvalidJSON"),
        ),
        ("tag twice", r#"{"action":"Ping","tag":1,"tag":2}"#, invalid("1", "InvalidJSON")),
        ("an escaped name", r#"{"\u0061ction":"\u0050ing","tag":1}"#, vec![reply("Pong", "1", "")]),
        (
            "members of nobody",
            r#"{"event":"Pong","mq":{},"x":[],"action":"Ping"}"#,
            vec![reply("Pong", "", "")],
        ),
        (
            "blanks everywhere",
            " \t\r\n{ \"action\" :\n\"Ping\" , \"tag\" : 1 }\r\n ",
            vec![reply("Pong", "1", "")],
        ),
        (
            "a payload that ping ignores",
            r#"{"action":"Ping","payload":[[[]]]}"#,
            vec![reply("Pong", "", "")],
        ),
        (
            "keys and key",
            r#"{"action":"Subscribe","tag":1,"payload":{"exchange":"widgets","routing_key":1,"routing_keys":[2]}}"#,
            invalid("1", "InvalidPayload"),
        ),
        (
            "no keys",
            r#"{"action":"Subscribe","tag":1,"payload":{"exchange":"widgets","routing_keys":[]}}"#,
            invalid("1", "InvalidPayload"),
        ),
        (
            "keys and no exchange",
            r#"{"action":"Unsubscribe","tag":1,"payload":{"routing_key":1}}"#,
            invalid("1", "InvalidPayload"),
        ),
        (
            "exchange twice",
            r#"{"action":"Subscribe","tag":1,"payload":{"exchange":"widgets","exchange":"widgets"}}"#,
            invalid("1", "InvalidPayload"),
        ),
        (
            "no payload to subscribe",
            r#"{"action":"Subscribe","tag":1}"#,
            invalid("1", "InvalidPayload"),
        ),
    ];
    let class = |(name, text, replies): (&str, &str, _)| {
        Class::action(format!("json/{name}"), text, replies)
    };
    cases.into_iter().map(class).collect()
}

/// As deep, as long and as many as fit one message.
fn sizes() -> Vec<Class> {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let invalid = || vec![error("", "InvalidJSON")];
    let pong = |tag: &str| vec![reply("Pong", tag, "")];
    let payload = |payload: &str| format!(r#"{{"action":"Ping","tag":1,"payload":{payload}}}"#);
    let (deepest, long) = (nested(126), format!("\"{}\"", "x".repeat(30_000)));
    let names: Vec<String> = (0..6_000).map(|n| format!("\"{n}\":0")).collect();
    let members = format!("{{{}}}", names.join(","));
    let cases = [
        ("as deep as may be", payload(&nested(127)), pong("1")),
        ("a level too deep", payload(&nested(128)), vec![error("1", "InvalidJSON")]),
        ("thirty thousand levels", payload(&nested(30_000)), vec![error("1", "InvalidJSON")]),
        (
            "a tag as deep as may be",
            format!(r#"{{"action":"Ping","tag":{deepest}}}"#),
            pong(&deepest),
        ),
        ("a tag too deep", format!(r#"{{"action":"Ping","tag":{}}}"#, nested(128)), invalid()),
        ("only opened", "[".repeat(60_000), invalid()),
        ("objects only opened", "{\"a\":".repeat(12_000), invalid()),
        ("a string that never ends", format!("\"{}", "\\".repeat(60_001)), invalid()),
        ("a great tag", format!(r#"{{"action":"Ping","tag":{long}}}"#), pong(&long)),
        ("a number of 30,000 digits", payload(&"9".repeat(30_000)), pong("1")),
        ("a payload of thousands of members", payload(&members), pong("1")),
        (
            "members of nobody by thousands",
            members.replacen('{', r#"{"action":"Ping","#, 1),
            pong(""),
        ),
        ("a long name", format!(r#"{{"action":{long}}}"#), vec![error("", "InvalidAction")]),
        ("brackets in a string", payload(&format!("\"{}\"", "[{".repeat(5_000))), pong("1")),
    ];
    let mut classes: Vec<Class> = cases
        .into_iter()
        .map(|(name, text, replies)| Class::action(format!("json/{name}"), text, replies))
        .collect();
    classes.push(Class::new("json/one byte changed", |dice| {
        let mut text =
            br#"{"action":"Subscribe","tag":[1,"x"],"payload":{"exchange":"widgets"}}"#.to_vec();
        let at = dice.index(text.len());
        text[at] = 0x20 + dice.below(0x5f) as u8;
        let text = String::from_utf8(text).expect("ASCII");
        Plan::open(dice).message(dice, &text).expect(Expect::Alive)
    }));
    classes.push(Class::new("json/cut anywhere", |dice| {
        let text = r#"{"action":"Ping","tag":{"a":[1,2,"x"]},"payload":"\u00e9"}"#;
        let cut = &text[..dice.within(1, text.len() - 1)];
        let plan = Plan::open(dice).message(dice, cut);
        plan.expect(Expect::Replies(vec![error("", "InvalidJSON")]))
    }));
    classes
}
