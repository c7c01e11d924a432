//! Hostile sequences and pacing: storms, silence, clients that do not read, that leave in
//! the middle, and every answer that an application can give them.

use super::{
    application::{NEVER, STATUSES},
    dice::Dice,
    plan::{ALIVE, Class, Expect, Plan, Request, Step, error, reply},
};
use crate::support::frames::{CLOSE, FIN, PING, close_payload};

/// How a client goes that does not say so.
const ENDS: [(&str, Step); 3] =
    [("leaves", Step::Leave), ("resets", Step::Reset), ("half closes", Step::HalfClose)];

fn gone(end: &Step) -> Expect {
    match end {
        Step::HalfClose => Expect::Ends,
        _ => Expect::Unheard,
    }
}

fn action(name: &str, payload: &str) -> String {
    format!(r#"{{"action":"{name}","tag":1,"payload":{payload}}}"#)
}

fn subscribe(keys: &str) -> String {
    action("Subscribe", &format!(r#"{{"exchange":"widgets","routing_keys":[{keys}]}}"#))
}

fn done() -> String {
    r#"{"event":"Done","tag":1}"#.into()
}

/// What the others are measured by.
pub fn ordinary_session() -> Class {
    Class::new("an ordinary session", |dice| {
        let echo = action("Echo", &format!("\"{}\"", "x".repeat(100)));
        let plan = Plan::open(dice).message(dice, &subscribe("1,2,3"));
        plan.messages(dice, [echo.as_str(); 20]).expect(Expect::Alive)
    })
}

pub fn classes() -> Vec<Class> {
    let mut classes = Vec::new();
    classes.extend(answers());
    classes.extend(leaving());
    classes.extend(storms());
    classes.extend(blind());
    classes.extend(slow());
    classes
}

/// Each answer of an application, and what it is to the client.
fn answers() -> Vec<Class> {
    let mut cases: Vec<(String, String, Vec<String>)> = STATUSES
        .iter()
        .map(|(name, _, code)| {
            (format!("status {name}"), action(name, r#""why""#), vec![error("1", code)])
        })
        .collect();
    let internal = || vec![error("1", "InternalError")];
    let long = format!("\"{}\"", "a".repeat(17 << 10));
    let own = r#"{"error":"Forged","retryable":true,"outcome":"unknown","x":1}"#;
    cases.extend([
        ("an answer".into(), action("Echo", "[1]"), vec![reply("Echoed", "1", "[1]")]),
        ("nothing to say".into(), action("Quiet", "{}"), vec![done()]),
        ("an error of its own".into(), action("Own", own), vec![error("1", "Own")]),
        ("an error that is no object".into(), action("Own", "[]"), internal()),
        ("nonsense".into(), action("Nonsense", "{}"), internal()),
        ("an event without a name".into(), action("Unnamed", "{}"), internal()),
        ("an event too large".into(), action("TooLarge", "{}"), internal()),
        ("more than may wait".into(), action("TooMuch", "{}"), internal()),
        ("auth".into(), action("Auth", r#"{"user":1}"#), vec![done()]),
        ("auth too large".into(), action("Auth", &long), internal()),
        ("data too large".into(), action("Data", &long), internal()),
        ("never".into(), action("Hang", "{}"), vec![error("1", "ActionTimeout")]),
        (
            "a check never".into(),
            subscribe(&format!("\"{NEVER}\"")),
            vec![error("1", "ActionTimeout")],
        ),
        (
            "a topic that cannot be".into(),
            action("Join", &format!("\"{}\"", "x".repeat(300))),
            vec![error("", "InvalidRoutingKey"), done()],
        ),
    ]);
    let mut classes: Vec<Class> = cases
        .into_iter()
        .map(|(name, text, replies)| Class::action(format!("pacing/answer/{name}"), text, replies))
        .collect();
    for (code, closes) in [(4000, 4000), (4999, 4999), (0, 4500), (1000, 1000), (99_999, 4500)] {
        classes.push(Class::new(format!("pacing/answer/disconnect {code}"), move |dice| {
            let text = action("Disconnect", &code.to_string());
            let plan = Plan::open(dice).messages(dice, [text.as_str(), ALIVE, ALIVE]);
            plan.expect(Expect::Closes(vec![closes]))
        }));
    }
    classes.push(Class::new("pacing/answer/subscriptions come and go", |dice| {
        let (join, part) = (action("Join", "7"), action("Part", "7"));
        let plan = Plan::open(dice).messages(dice, [join.as_str(), &part, &part, &join, &join]);
        let (came, went) = (reply("Subscribed", "", "{"), reply("Unsubscribed", "", "{"));
        let there = error("", "AlreadySubscribed");
        let replies = [came.clone(), done(), went, done(), done(), came, done(), there, done()];
        plan.expect(Expect::Replies(replies.into()))
    }));
    classes
}

/// Gone without a word, at each point of a session.
fn leaving() -> Vec<Class> {
    type Until = fn(&mut Dice) -> Plan;
    let points: [(&str, Until); 9] = [
        ("at once", |_| Plan::connected()),
        ("within the handshake", |dice| {
            let bytes = Request::good(dice).bytes();
            Plan::connected().send(&bytes[..dice.within(1, bytes.len() - 1)])
        }),
        ("behind the handshake", |dice| Plan::connected().send(Request::good(dice).bytes())),
        ("after the greeting", |dice| Plan::open(dice).hear("{")),
        ("subscribed", |dice| {
            Plan::open(dice).message(dice, &subscribe("1,2,3")).hear(&reply("Subscribed", "1", ""))
        }),
        ("while it is checked", |dice| {
            Plan::open(dice).hear("{").message(dice, &subscribe(&format!("\"{NEVER}\"")))
        }),
        ("while it is served", |dice| {
            Plan::open(dice).hear("{").message(dice, &action("Slow", "{}")).pause(5)
        }),
        ("with many unread", |dice| {
            let text = action("Slow", "{}");
            Plan::open(dice).hear("{").messages(dice, [text.as_str(); 20])
        }),
        ("within its close", |dice| {
            let close = dice.frame(FIN | CLOSE, &close_payload(1000, b""));
            Plan::open(dice).hear("{").send(&close[..dice.within(1, close.len())])
        }),
    ];
    let mut classes = Vec::new();
    for (point, until) in points {
        for (how, end) in ENDS {
            classes.push(Class::new(format!("pacing/{how} {point}"), move |dice| {
                let plan = until(dice).step(end.clone());
                plan.expect(gone(&end))
            }));
        }
    }
    classes
}

/// Much at once, all of it answered.
fn storms() -> Vec<Class> {
    let mut classes = Vec::new();
    let mut storm = |name: &str, texts: Vec<String>, replies: Vec<String>| {
        classes.push(Class::new(format!("pacing/storm/{name}"), move |dice| {
            let plan = Plan::open(dice).messages(dice, texts.iter().map(String::as_str));
            plan.expect(Expect::Replies(replies.clone()))
        }));
    };
    let each = |text: String, count: usize| vec![text; count];
    let (unsubscribe, list) = (action("Unsubscribe", "{}"), action("ListSubscriptions", "{}"));
    let came = || reply("Subscribed", "1", "{");
    let went = || reply("Unsubscribed", "1", "{");
    storm("pings", each(action("Ping", "{}"), 300), each(reply("Pong", "1", "{"), 300));
    storm("echoes", each(action("Echo", "[1]"), 60), each(reply("Echoed", "1", "[1]"), 60));
    storm("unknown actions", each(action("No", "{}"), 60), each(error("1", "InvalidAction"), 60));
    storm("nonsense", each("{".into(), 300), each(error("", "InvalidJSON"), 300));
    storm(
        "subscribe and unsubscribe",
        vec![[subscribe("7"), unsubscribe.clone()]; 40].concat(),
        vec![[came(), went()]; 40].concat(),
    );
    storm("unsubscribe from nothing", each(unsubscribe, 200), each(done(), 200));
    storm(
        "lists",
        [vec![subscribe("1,2,3")], each(list, 100)].concat(),
        [each(came(), 3), each(reply("YourSubscriptions", "1", "{"), 100)].concat(),
    );
    storm(
        "auth",
        [vec![subscribe("1")], each(action("Auth", "7"), 30)].concat(),
        [vec![came()], each(done(), 30)].concat(),
    );
    storm("denied", each(subscribe("\"denied\""), 40), each(error("1", "SubscriptionDenied"), 40));
    storm("slow actions", each(action("Slow", "{}"), 8), each(done(), 8));
    storm(
        "more than may be unread",
        [vec![action("Slow", "{}")], each(action("Ping", "{}"), 400)].concat(),
        [vec![done()], each(reply("Pong", "1", "{"), 400)].concat(),
    );
    storm("big answers", each(action("Big", "{}"), 20), each(reply("Big", "1", "\"x"), 20));
    storm(
        "big questions",
        each(action("Quiet", &format!("\"{}\"", "x".repeat(60_000))), 10),
        each(done(), 10),
    );
    classes.push(Class::new("pacing/storm/anything", |dice| {
        let texts = [
            action("Ping", "{}"),
            action("Echo", "{}"),
            action("Unsubscribe", "{}"),
            action("ListSubscriptions", "{}"),
            subscribe("1,2"),
            subscribe("2,\"denied\",[]"),
            action("Auth", "7"),
            action("Join", "2"),
            action("Part", "2"),
            "{".into(),
        ];
        let mut plan = Plan::open(dice);
        for _ in 0..dice.within(5, 60) {
            let text = &texts[dice.index(texts.len())];
            plan = plan.message(dice, text);
            if dice.chance(0.1) {
                plan = plan.frame(dice, FIN | PING, b"and");
            }
        }
        plan.expect(Expect::Alive)
    }));
    classes
}

/// Clients that ask and do not read: in time, or never.
fn blind() -> Vec<Class> {
    let mut classes = Vec::new();
    for (name, text, count) in [
        ("pings", action("Ping", "{}"), 500),
        ("big answers", action("Big", "{}"), 60),
        ("echoes", action("Echo", &format!("\"{}\"", "x".repeat(10_000))), 60),
    ] {
        let asked = text.clone();
        classes.push(Class::new(format!("pacing/reads late/{name}"), move |dice| {
            let plan = Plan::open_at_once(dice).messages(dice, vec![asked.as_str(); count / 2]);
            let close = dice.frame(FIN | CLOSE, &close_payload(1000, b""));
            plan.blind().pause(300).send(close).expect(Expect::Closes(vec![1000]))
        }));
        classes.push(Class::new(format!("pacing/never reads/{name}"), move |dice| {
            let plan = Plan::open_at_once(dice).messages(dice, vec![text.as_str(); count / 4]);
            let end = ENDS[dice.index(2)].1.clone();
            plan.blind().pause(500).step(end).expect(Expect::Unheard)
        }));
    }
    classes.push(Class::new("pacing/never reads/until it is given up", |dice| {
        // Neither does it answer pings: it is cut off, and may read why.
        let text = action("Big", "{}");
        let plan = Plan::open_at_once(dice).messages(dice, [text.as_str(); 50]);
        plan.blind().pause(7_000).expect(Expect::Ends)
    }));
    classes
        .push(Class::new("pacing/answers no ping", |dice| Plan::open(dice).expect(Expect::Ends)));
    classes.push(Class::new("pacing/answers no close", |dice| {
        let plan = Plan::open(dice).message(dice, &action("Disconnect", "4001"));
        plan.hear("never").pause(7_000).expect(Expect::Closes(vec![4001]))
    }));
    classes
}

/// Little at a time.
fn slow() -> Vec<Class> {
    vec![
        Class::new("pacing/slow/an action in pieces", |dice| {
            let frame = dice.frame(FIN | 1, action("Echo", "[1]").as_bytes());
            let plan = Plan::open(dice).dripped(&frame, 10, 30);
            plan.expect(Expect::Replies(vec![reply("Echoed", "1", "[1]")]))
        }),
        Class::new("pacing/slow/an action now and then", |dice| {
            let text = action("Ping", "{}");
            let plan =
                (0..5).fold(Plan::open(dice), |plan, _| plan.message(dice, &text).pause(150));
            plan.expect(Expect::Replies(vec![reply("Pong", "1", "{"); 5]))
        }),
        Class::new("pacing/slow/pings that keep nothing alive", |dice| {
            let plan = Plan::open(dice).hear("{");
            let plan = (0..10).fold(plan, |plan, _| plan.frame(dice, FIN | PING, b"").pause(50));
            plan.expect(Expect::Alive)
        }),
        Class::new("pacing/slow/closes after its last action", |dice| {
            let plan = Plan::open(dice).message(dice, &action("Slow", "{}"));
            let close = dice.frame(FIN | CLOSE, &close_payload(3001, b""));
            plan.send(close).expect(Expect::Closes(vec![3001]))
        }),
    ]
}
