//! What a hostile session is: a class, by name, makes a plan from a seeded dice; the plan
//! is the bytes, their pacing, and what the gateway must do at the least.

use std::time::Duration;

use super::dice::Dice;

/// The action that proves a session alive, after whatever was done to it.
pub const ALIVE: &str = r#"{"action":"Ping","tag":"alive"}"#;

/// How its answer begins.
pub const IS_ALIVE: &str = r#"{"event":"Pong","tag":"alive","#;

/// One way to be hostile.
pub struct Class {
    pub name: String,
    plan: Box<dyn Fn(&mut Dice) -> Plan + Send + Sync>,
}

impl Class {
    pub fn new(
        name: impl Into<String>,
        plan: impl Fn(&mut Dice) -> Plan + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), plan: Box::new(plan) }
    }

    /// A class of one action, sent in any form, and the replies that it must get.
    pub fn action(name: impl Into<String>, text: impl Into<String>, replies: Vec<String>) -> Self {
        let text = text.into();
        Self::new(name, move |dice| {
            Plan::open(dice).message(dice, &text).expect(Expect::Replies(replies.clone()))
        })
    }

    /// The same class, dice and plan for the same seed and number.
    pub fn plan(&self, seed: u64, number: u64) -> Plan {
        let mut dice = Dice::new(seed, number);
        let mut plan = (self.plan)(&mut dice);
        plan.pieces = [None, None, Some(dice.below(u64::MAX))][dice.index(3)];
        plan.answers_close = dice.chance(0.8);
        plan
    }
}

pub struct Plan {
    pub steps: Vec<Step>,
    /// Whether anything that the gateway says is read before the steps are done.
    pub reads: bool,
    pub expect: Expect,
    /// Sent in random pieces, by this seed, instead of each run of bytes at once.
    pub pieces: Option<u64>,
    pub answers_close: bool,
}

#[derive(Debug, Clone)]
pub enum Step {
    Send(Vec<u8>),
    Pause(Duration),
    /// Until a text that begins so has come, or the end.
    Hear(String),
    /// Sends nothing any more.
    HalfClose,
    /// Closes the socket without a word.
    Leave,
    /// The same with a reset.
    Reset,
}

/// What the gateway must do at the least. Whatever is expected, each session ends by a
/// deadline, and what comes is well-formed.
#[derive(Debug, Clone)]
pub enum Expect {
    /// No upgrade, but one of these statuses.
    Status(&'static [u16]),
    /// No upgrade: a 4xx or nothing, then the end.
    NoUpgrade,
    /// After the greeting texts that begin so, in this order and no others; then it is
    /// alive, and its close is answered.
    Replies(Vec<String>),
    /// It is alive after whatever was said, and its close is answered.
    Alive,
    /// Closed by the gateway, or in answer, with one of these.
    Closes(Vec<u16>),
    /// Alive, or closed with this: where the protocol leaves a choice.
    AliveOrCloses(u16),
    /// The connection ends.
    Ends,
    /// The client was gone before.
    Unheard,
}

impl Expect {
    pub fn is_alive(&self) -> bool {
        matches!(self, Self::Replies(_) | Self::Alive | Self::AliveOrCloses(_))
    }

    pub fn is_http(&self) -> bool {
        matches!(self, Self::Status(_) | Self::NoUpgrade)
    }
}

impl Plan {
    /// Nothing but a connection.
    pub fn connected() -> Self {
        Self {
            steps: Vec::new(),
            reads: true,
            expect: Expect::Ends,
            pieces: None,
            answers_close: true,
        }
    }

    /// A session: what follows is sent behind the handshake or after the greeting.
    pub fn open(dice: &mut Dice) -> Self {
        let request = Request::good(dice);
        Self::open_with(dice, request)
    }

    pub fn open_with(dice: &mut Dice, request: Request) -> Self {
        let plan = Self::connected().send(request.bytes());
        if dice.chance(0.5) { plan.hear(r#"{"event":"Welcome","#) } else { plan }
    }

    /// For those that read nothing, and so wait for nothing.
    pub fn open_at_once(dice: &mut Dice) -> Self {
        Self::connected().send(Request::good(dice).bytes())
    }

    pub fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    pub fn send(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.step(Step::Send(bytes.into()))
    }

    /// One frame as it should be.
    pub fn frame(self, dice: &mut Dice, first_byte: u8, payload: &[u8]) -> Self {
        let frame = dice.frame(first_byte, payload);
        self.send(frame)
    }

    /// A message in one frame or several, text or binary.
    pub fn message(self, dice: &mut Dice, text: &str) -> Self {
        let message = dice.message(text);
        self.send(message)
    }

    pub fn messages<'a>(self, dice: &mut Dice, texts: impl IntoIterator<Item = &'a str>) -> Self {
        texts.into_iter().fold(self, |plan, text| plan.message(dice, text))
    }

    pub fn hear(self, beginning: &str) -> Self {
        self.step(Step::Hear(beginning.into()))
    }

    pub fn pause(self, millis: u64) -> Self {
        self.step(Step::Pause(Duration::from_millis(millis)))
    }

    /// These bytes in `parts` with a pause after each.
    pub fn dripped(self, bytes: &[u8], parts: usize, millis: u64) -> Self {
        let size = bytes.len().div_ceil(parts).max(1);
        bytes.chunks(size).fold(self, |plan, part| plan.send(part).pause(millis))
    }

    /// Reads nothing until its steps are done: it must not wait for anything either.
    pub fn blind(mut self) -> Self {
        assert!(!self.steps.iter().any(|step| matches!(step, Step::Hear(_))));
        self.reads = false;
        self
    }

    pub fn expect(mut self, expect: Expect) -> Self {
        self.expect = expect;
        self
    }
}

/// A handshake to be spoilt.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub target: Vec<u8>,
    pub version: String,
    pub headers: Vec<(String, Vec<u8>)>,
    /// Behind the head.
    pub tail: Vec<u8>,
}

impl Request {
    /// As no gateway may refuse it.
    pub fn good(dice: &mut Dice) -> Self {
        const TARGETS: [&str; 4] = ["/", "/pushwss", "/?a=1&b=%20", "/pushwss?token=x"];
        let key: [u8; 16] = std::array::from_fn(|_| dice.byte());
        let mut headers = vec![
            ("Host", b"gateway:5005".to_vec()),
            (
                "Connection",
                [&b"Upgrade"[..], b"keep-alive, Upgrade", b"upgrade"][dice.index(3)].into(),
            ),
            ("Upgrade", [&b"websocket"[..], b"WebSocket"][dice.index(2)].into()),
            ("Sec-WebSocket-Version", b"13".to_vec()),
            ("Sec-WebSocket-Key", base64(&key).into_bytes()),
        ];
        if dice.chance(0.3) {
            headers.push(("Sec-WebSocket-Extensions", b"permessage-deflate".to_vec()));
            headers.push(("User-Agent", vec![b'u'; dice.within(1, 300)]));
        }
        let cut = dice.index(headers.len());
        headers.rotate_left(cut);
        Self {
            method: "GET".into(),
            target: TARGETS[dice.index(TARGETS.len())].into(),
            version: "HTTP/1.1".into(),
            headers: headers.into_iter().map(|(name, value)| (name.into(), value)).collect(),
            tail: Vec::new(),
        }
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    /// Besides what is there.
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.into(), value.as_ref().into()));
        self
    }

    /// In the place of what is there.
    pub fn set(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.without(name).with(name, value)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = [self.method.as_bytes(), b" ", &self.target, b" "].concat();
        bytes.extend(format!("{}\r\n", self.version).bytes());
        for (name, value) in &self.headers {
            bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        bytes.extend(b"\r\n");
        bytes.extend(&self.tail);
        bytes
    }
}

fn base64(key: &[u8; 16]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = key.iter().fold(0u128, |bits, byte| bits << 8 | u128::from(*byte));
    // 128 bits are 21 digits of six and two bits more.
    let digits = (0..21).map(|n| DIGITS[(bits >> (122 - 6 * n)) as usize & 63]);
    let last = DIGITS[(bits << 4) as usize & 63];
    digits.chain([last, b'=', b'=']).map(char::from).collect()
}

/// How an error begins, under a tag or without one.
pub fn error(tag: &str, code: &str) -> String {
    reply("Error", tag, &format!(r#"{{"error":"{code}""#))
}

/// How a reply begins; an empty tag is none.
pub fn reply(event: &str, tag: &str, payload: &str) -> String {
    let tag = if tag.is_empty() { String::new() } else { format!(r#""tag":{tag},"#) };
    format!(r#"{{"event":"{event}",{tag}"payload":{payload}"#)
}
