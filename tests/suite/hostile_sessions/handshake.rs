//! Hostile handshakes: spoilt requests, other protocols, slowness, what is pipelined.

use super::{
    dice::Dice,
    plan::{Class, Expect, Plan, Request, Step, error},
};

type Spoil = fn(Request) -> Request;

const BAD_REQUEST: Expect = Expect::Status(&[400]);
const NOT_FOUND: Expect = Expect::Status(&[404]);
const NOT_ALLOWED: Expect = Expect::Status(&[405]);
const UPGRADE: Expect = Expect::Status(&[426]);
const FORBIDDEN: Expect = Expect::Status(&[403]);

/// Each is a good request, spoilt in one place.
const SPOILT: &[(&str, Spoil, Expect)] = &[
    ("connection/missing", |r| r.without("Connection"), UPGRADE),
    ("connection/close", |r| r.set("Connection", "close"), UPGRADE),
    ("connection/other", |r| r.set("Connection", "Upgrade2"), UPGRADE),
    ("connection/empty", |r| r.set("Connection", ""), UPGRADE),
    ("connection/not ascii", |r| r.set("Connection", b"Upgrade\xff"), UPGRADE),
    ("connection/thousand options", |r| r.set("Connection", "a, ".repeat(1_000)), UPGRADE),
    ("upgrade/missing", |r| r.without("Upgrade"), UPGRADE),
    ("upgrade/h2c", |r| r.set("Upgrade", "h2c").with("HTTP2-Settings", ""), UPGRADE),
    ("upgrade/other", |r| r.set("Upgrade", "websocket2"), UPGRADE),
    ("upgrade/empty", |r| r.set("Upgrade", ""), UPGRADE),
    ("version/missing", |r| r.without("Sec-WebSocket-Version"), UPGRADE),
    ("version/8", |r| r.set("Sec-WebSocket-Version", "8"), UPGRADE),
    ("version/14", |r| r.set("Sec-WebSocket-Version", "14"), UPGRADE),
    ("version/negative", |r| r.set("Sec-WebSocket-Version", "-13"), UPGRADE),
    ("version/padded", |r| r.set("Sec-WebSocket-Version", "013"), UPGRADE),
    ("version/huge", |r| r.set("Sec-WebSocket-Version", "1".repeat(9_000)), UPGRADE),
    ("key/missing", |r| r.without("Sec-WebSocket-Key"), UPGRADE),
    ("key/empty", |r| r.set("Sec-WebSocket-Key", ""), UPGRADE),
    ("key/short", |r| r.set("Sec-WebSocket-Key", "AAAA"), UPGRADE),
    ("key/no base64", |r| r.set("Sec-WebSocket-Key", "!!!!!!!!!!!!!!!!!!!!!!=="), UPGRADE),
    ("key/long", |r| r.set("Sec-WebSocket-Key", "A".repeat(9_000)), UPGRADE),
    ("key/not ascii", |r| r.set("Sec-WebSocket-Key", [0xff; 24]), UPGRADE),
    ("origin/foreign", |r| r.with("Origin", "https://evil.example"), FORBIDDEN),
    ("origin/null", |r| r.with("Origin", "null"), FORBIDDEN),
    ("origin/empty", |r| r.with("Origin", ""), FORBIDDEN),
    ("origin/garbage", |r| r.with("Origin", "\"><script>"), FORBIDDEN),
    ("origin/not ascii", |r| r.with("Origin", b"https://\xff\xfe"), FORBIDDEN),
    ("origin/long", |r| r.with("Origin", "https://".to_owned() + &"a".repeat(9_000)), FORBIDDEN),
    ("origin/prefix", |r| r.with("Origin", "http://gateway.evil.example"), FORBIDDEN),
    (
        "origin/twice",
        |r| r.with("Origin", "http://gateway").with("Origin", "http://evil.example"),
        FORBIDDEN,
    ),
    ("host/missing with origin", |r| r.without("Host").with("Origin", "http://gateway"), FORBIDDEN),
    (
        "host/garbage with origin",
        |r| r.set("Host", "a b").with("Origin", "http://gateway"),
        FORBIDDEN,
    ),
    ("method/post", |r| Request { method: "POST".into(), ..r }, NOT_ALLOWED),
    ("method/head", |r| Request { method: "HEAD".into(), ..r }, NOT_ALLOWED),
    ("method/options", |r| Request { method: "OPTIONS".into(), ..r }, NOT_ALLOWED),
    ("method/trace", |r| Request { method: "TRACE".into(), ..r }, NOT_ALLOWED),
    ("method/unknown", |r| Request { method: "BREW".into(), ..r }, NOT_ALLOWED),
    ("method/lower case", |r| Request { method: "get".into(), ..r }, NOT_ALLOWED),
    ("method/long", |r| Request { method: "G".repeat(2_000), ..r }, NOT_ALLOWED),
    ("method/not a token", |r| Request { method: "G(T".into(), ..r }, BAD_REQUEST),
    ("method/empty", |r| Request { method: String::new(), ..r }, BAD_REQUEST),
    ("method/connect", |r| Request { method: "CONNECT".into(), ..r }, Expect::NoUpgrade),
    ("http/1.0", |r| Request { version: "HTTP/1.0".into(), ..r }, UPGRADE),
    ("http/1.2", |r| Request { version: "HTTP/1.2".into(), ..r }, BAD_REQUEST),
    ("http/2.0", |r| Request { version: "HTTP/2.0".into(), ..r }, BAD_REQUEST),
    ("http/lower case", |r| Request { version: "http/1.1".into(), ..r }, BAD_REQUEST),
    ("http/other", |r| Request { version: "HTCPCP/1.0".into(), ..r }, BAD_REQUEST),
    ("http/missing", |r| Request { version: String::new(), ..r }, BAD_REQUEST),
    ("path/other", |r| target(r, b"/other"), NOT_FOUND),
    ("path/double slash", |r| target(r, b"//"), NOT_FOUND),
    ("path/two trailing slashes", |r| target(r, b"/pushwss//"), NOT_FOUND),
    ("path/parent", |r| target(r, b"/../pushwss"), NOT_FOUND),
    ("path/encoded", |r| target(r, b"/%70ushwss"), NOT_FOUND),
    ("path/long", |r| target(r, &[b"/".as_slice(), &[b'a'; 8_000]].concat()), NOT_FOUND),
    ("path/longer than a request", |r| target(r, &[b'/'; 40_000]), Expect::NoUpgrade),
    ("path/asterisk", |r| target(r, b"*"), Expect::NoUpgrade),
    ("path/nul", |r| target(r, b"/\0"), BAD_REQUEST),
    ("path/blank", |r| target(r, b"/a b"), BAD_REQUEST),
    ("path/relative", |r| target(r, b"pushwss"), Expect::NoUpgrade),
    ("headers/hundred more", |r| many(r, 100), Expect::NoUpgrade),
    ("headers/thousand more", |r| many(r, 1_000), Expect::NoUpgrade),
    ("headers/too large", |r| r.with("Cookie", "a".repeat(64 * 1024)), Expect::NoUpgrade),
    ("headers/blank in name", |r| r.with("A b", "x"), BAD_REQUEST),
    ("headers/empty name", |r| r.with("", "x"), BAD_REQUEST),
    ("headers/no colon", |r| r.with("A\r\nB", "x"), BAD_REQUEST),
    ("headers/folded", |r| r.with("A", "x\r\n y"), BAD_REQUEST),
    ("headers/nul", |r| r.with("A", b"x\0y"), BAD_REQUEST),
    ("headers/bare cr", |r| r.with("A", b"x\ry"), BAD_REQUEST),
    ("headers/control", |r| r.with("A", b"x\x1b[31my"), BAD_REQUEST),
    ("body/negative length", |r| r.with("Content-Length", "-1"), Expect::NoUpgrade),
    (
        "body/two lengths",
        |r| r.with("Content-Length", "1").with("Content-Length", "2"),
        Expect::NoUpgrade,
    ),
    ("body/no number", |r| r.with("Content-Length", "ten"), Expect::NoUpgrade),
    ("body/huge", |r| r.with("Content-Length", u64::MAX.to_string() + "0"), Expect::NoUpgrade),
    ("body/unknown coding", |r| r.with("Transfer-Encoding", "gzip"), Expect::NoUpgrade),
];

/// Strange, and yet a handshake.
const TAKEN: &[(&str, Spoil)] = &[
    ("plain", |r| r),
    ("extra options", |r| r.set("Connection", "close, x,Upgrade, y")),
    ("own origin", |r| r.with("Origin", "https://GATEWAY:1")),
    ("long query", |r| target(r, &[b"/?".as_slice(), &[b'q'; 8_000]].concat())),
    ("query of anything", |r| target(r, b"/?%00%ff{}|\\^`?/@:")),
    ("a good many headers", |r| many(r, 60)),
    ("long cookie", |r| r.with("Cookie", "c".repeat(10_000))),
    ("not ascii elsewhere", |r| r.with("X-Name", b"\xc3\xa9\xff")),
    ("forged address", |r| r.with("X-Forwarded-For", "1.2.3.4, evil, ::1")),
    ("subprotocols", |r| r.with("Sec-WebSocket-Protocol", "a, b, ".repeat(300))),
    ("extensions", |r| r.with("Sec-WebSocket-Extensions", "x; y=\"z\", ".repeat(300))),
    ("absolute target", |r| target(r, b"http://elsewhere.example/pushwss")),
];

/// Not HTTP at all.
const STRANGERS: &[(&str, &[u8])] = &[
    ("tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ("http 2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
    ("http 0.9", b"GET /\r\n"),
    ("ssh", b"SSH-2.0-OpenSSH_9.6\r\n"),
    ("socks", b"\x05\x01\x00"),
    ("redis", b"*1\r\n$4\r\nPING\r\n"),
    ("amqp", b"AMQP\0\0\x09\x01"),
    ("smtp", b"EHLO evil.example\r\n"),
    ("proxy protocol", b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n"),
    ("nuls", &[0; 64]),
    ("frame", b"\x81\x82\0\0\0\0{}"),
    ("empty lines", b"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n"),
];

fn target(request: Request, target: &[u8]) -> Request {
    Request { target: target.into(), ..request }
}

fn many(request: Request, count: usize) -> Request {
    (0..count).fold(request, |request, n| request.with(&format!("X-{n}"), "v"))
}

pub fn classes() -> Vec<Class> {
    let mut classes = Vec::new();
    let mut add = |name: String, plan: PlanOf| {
        classes.push(Class::new(format!("handshake/{name}"), plan));
    };
    for (name, spoil, expect) in SPOILT {
        add(
            (*name).into(),
            Box::new(move |dice| {
                let request = spoil(Request::good(dice));
                Plan::connected().send(request.bytes()).expect(expect.clone())
            }),
        );
    }
    for (name, change) in TAKEN {
        add(
            format!("taken/{name}"),
            Box::new(move |dice| {
                let request = change(Request::good(dice));
                Plan::open_with(dice, request).expect(Expect::Replies(Vec::new()))
            }),
        );
    }
    for (name, bytes) in STRANGERS {
        add(
            format!("stranger/{name}"),
            Box::new(move |dice| {
                let plan = Plan::connected().send(*bytes);
                // Some say no more, some go on and on.
                let plan = match dice.index(3) {
                    0 => plan.step(Step::HalfClose),
                    1 => plan.send(bytes.repeat(dice.within(1, 300))),
                    _ => plan,
                };
                plan.expect(Expect::NoUpgrade)
            }),
        );
    }
    classes.extend(odd());
    classes
}

type PlanOf = Box<dyn Fn(&mut Dice) -> Plan + Send + Sync>;

/// Of another shape than one spoilt request.
fn odd() -> Vec<Class> {
    vec![
        Class::new("handshake/random bytes", |dice| {
            let length = dice.within(1, 20_000);
            let bytes = dice.bytes(length);
            Plan::connected().send(bytes).step(Step::HalfClose).expect(Expect::NoUpgrade)
        }),
        Class::new("handshake/one bit flipped", |dice| {
            let mut bytes = Request::good(dice).bytes();
            let at = dice.index(bytes.len());
            bytes[at] ^= 1 << dice.index(8);
            Plan::connected().send(bytes).pause(20).step(Step::HalfClose).expect(Expect::Ends)
        }),
        Class::new("handshake/cut short", |dice| {
            let mut bytes = Request::good(dice).bytes();
            bytes.truncate(dice.within(1, bytes.len() - 1));
            Plan::connected().send(bytes).step(Step::HalfClose).expect(Expect::NoUpgrade)
        }),
        Class::new("handshake/bare line feeds", |dice| {
            let text = Request::good(dice).bytes();
            let bytes: Vec<u8> = text.into_iter().filter(|byte| *byte != b'\r').collect();
            Plan::connected().send(bytes).expect(Expect::Replies(Vec::new()))
        }),
        Class::new("handshake/never finished", |dice| {
            let mut bytes = Request::good(dice).bytes();
            bytes.truncate(dice.within(1, bytes.len() - 1));
            Plan::connected().send(bytes).expect(Expect::NoUpgrade)
        }),
        Class::new("handshake/a silent connection", |_| {
            Plan::connected().expect(Expect::NoUpgrade)
        }),
        Class::new("handshake/slow but in time", |dice| {
            let bytes = Request::good(dice).bytes();
            Plan::connected().dripped(&bytes, 10, 10).expect(Expect::Replies(Vec::new()))
        }),
        Class::new("handshake/too slow", |dice| {
            let bytes = Request::good(dice).with("Cookie", "c".repeat(100)).bytes();
            Plan::connected().dripped(&bytes, 20, 300).expect(Expect::NoUpgrade)
        }),
        Class::new("handshake/headers without end", |dice| {
            let bytes = Request::good(dice).bytes();
            let plan = Plan::connected().send(&bytes[..bytes.len() - 2]);
            let plan = (0..20).fold(plan, |plan, n| {
                plan.send(format!("X-{n}: {}\r\n", "v".repeat(n * 100))).pause(300)
            });
            plan.expect(Expect::NoUpgrade)
        }),
        Class::new("handshake/behind one that is not found", |dice| {
            let first = target(Request::good(dice), b"/other").bytes();
            let second = Request::good(dice).bytes();
            Plan::connected().send([first, second].concat()).expect(NOT_FOUND)
        }),
        Class::new("handshake/fifty that are not found", |dice| {
            let bytes = target(Request::good(dice).without("Connection"), b"/other").bytes();
            let plan = Plan::connected().send(bytes.repeat(50)).step(Step::HalfClose);
            plan.expect(NOT_FOUND)
        }),
        Class::new("handshake/twice", |dice| {
            // The second is read as frames: 'G' is none.
            let twice = Request::good(dice).bytes().repeat(2);
            Plan::connected().send(twice).expect(Expect::Closes(vec![1002]))
        }),
        Class::new("handshake/with a body", |dice| {
            let request = Request::good(dice).with("Content-Length", "10");
            let request = Request { tail: b"0123456789".into(), ..request };
            Plan::connected().send(request.bytes()).step(Step::HalfClose).expect(Expect::Ends)
        }),
        Class::new("handshake/with a chunked body", |dice| {
            let request = Request::good(dice).with("Transfer-Encoding", "chunked");
            let request = Request { tail: b"5\r\nhello\r\n0\r\n\r\n".into(), ..request };
            Plan::connected().send(request.bytes()).step(Step::HalfClose).expect(Expect::Ends)
        }),
        Class::new("handshake/smuggled", |dice| {
            let request = Request::good(dice)
                .with("Content-Length", "4")
                .with("Transfer-Encoding", "chunked");
            let request = Request { tail: b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n".into(), ..request };
            Plan::connected().send(request.bytes()).step(Step::HalfClose).expect(Expect::Ends)
        }),
        Class::new("handshake/a post that never sends its body", |dice| {
            let request = Request::good(dice).with("Content-Length", "1000000");
            let request = Request { method: "POST".into(), ..request };
            let request = request.with("Expect", "100-continue");
            Plan::connected().send(request.bytes()).expect(NOT_ALLOWED)
        }),
        Class::new("handshake/frames behind it", |dice| {
            let plan = Plan::connected().send(Request::good(dice).bytes());
            let plan = (0..dice.within(1, 40))
                .fold(plan, |plan, _| plan.message(dice, r#"{"action":"Nobody","tag":1}"#));
            plan.expect(Expect::Alive)
        }),
        Class::new("handshake/more behind it than it may hold", |dice| {
            // What comes with the request fits no buffer of a request.
            let text = format!(r#"{{"action":"{}","tag":2}}"#, "x".repeat(60_000));
            let plan = Plan::connected().send(Request::good(dice).bytes()).message(dice, &text);
            plan.expect(Expect::Replies(vec![error("2", "InvalidAction")]))
        }),
        Class::new("handshake/half closed behind it", |dice| {
            let bytes = Request::good(dice).bytes();
            Plan::connected().send(bytes).step(Step::HalfClose).expect(Expect::Ends)
        }),
        Class::new("handshake/refused by the application", |dice| {
            let request = target(Request::good(dice), b"/?refuse");
            Plan::open_with(dice, request).expect(Expect::Closes(vec![4403]))
        }),
        Class::new("handshake/the application talks nonsense", |dice| {
            let request = target(Request::good(dice), b"/?nonsense");
            Plan::open_with(dice, request).expect(Expect::Closes(vec![1013]))
        }),
        Class::new("handshake/the application fails", |dice| {
            let request = target(Request::good(dice), b"/?fail");
            Plan::open_with(dice, request).expect(Expect::Closes(vec![1013]))
        }),
        Class::new("handshake/the application never answers", |dice| {
            let request = target(Request::good(dice), b"/?hang");
            Plan::open_with(dice, request).expect(Expect::Closes(vec![1013]))
        }),
        Class::new("handshake/gone before the application answers", |dice| {
            let request = target(Request::good(dice), b"/?slow");
            let end = if dice.chance(0.5) { Step::Leave } else { Step::Reset };
            Plan::connected().send(request.bytes()).pause(5).step(end).expect(Expect::Unheard)
        }),
        Class::new("handshake/impatient for the application", |dice| {
            let request = target(Request::good(dice), b"/?slow");
            let plan = Plan::connected().send(request.bytes());
            plan.messages(dice, [r#"{"action":"Nobody"}"#; 30]).expect(Expect::Alive)
        }),
    ]
}
