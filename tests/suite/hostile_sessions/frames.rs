//! Hostile frames, behind a good handshake: RFC 6455 and everything it forbids.

use super::{
    dice::Dice,
    plan::{ALIVE, Class, Expect, Plan, Step, error, reply},
};
use crate::support::frames::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, TEXT, close_payload, unmasked,
};

const PONG: u8 = 0xa;
const OPCODES: [(&str, u8); 6] = [
    ("continuation", CONTINUATION),
    ("text", TEXT),
    ("binary", BINARY),
    ("close", CLOSE),
    ("ping", PING),
    ("pong", PONG),
];
const CONTROLS: [(&str, u8); 3] = [("close", CLOSE), ("ping", PING), ("pong", PONG)];

/// As much as one message may have.
const MESSAGE_MAX: usize = 64 * 1024;

/// No UTF-8, though some of it begins so.
const NOT_UTF8: &[(&str, &[u8])] = &[
    ("a lone continuation", b"\x80"),
    ("an overlong slash", b"\xc0\xaf"),
    ("an overlong nul", b"\xe0\x80\x80"),
    ("a surrogate", b"\xed\xa0\x80"),
    ("beyond unicode", b"\xf4\x90\x80\x80"),
    ("never a byte", b"{\"action\":\"\xff\"}"),
    ("cut short", b"{\"action\":\"Ping\"}\xe2\x82"),
];

fn breach() -> Expect {
    Expect::Closes(vec![1002])
}

/// One frame, written by hand.
fn frame(
    name: impl Into<String>,
    expect: Expect,
    frame: impl Fn(&mut Dice) -> Vec<u8> + Send + Sync + 'static,
) -> Class {
    Class::new(format!("frames/{}", name.into()), move |dice| {
        let bytes = frame(dice);
        Plan::open(dice).send(bytes).expect(expect.clone())
    })
}

pub fn classes() -> Vec<Class> {
    let mut classes = Vec::new();
    for (name, opcode) in OPCODES {
        classes.push(frame(format!("unmasked/{name}"), breach(), move |_| {
            unmasked(FIN | opcode, close_payload(1000, b"").as_slice())
        }));
    }
    for (name, opcode) in [("text", TEXT), ("binary", BINARY), ("close", CLOSE), ("ping", PING)] {
        for rsv in [0x40, 0x20, 0x10, 0x70] {
            classes.push(frame(format!("reserved bits {rsv:#x}/{name}"), breach(), move |dice| {
                dice.frame(FIN | rsv | opcode, &close_payload(1000, b""))
            }));
        }
    }
    for opcode in (0x3..=0x7).chain(0xb..=0xf) {
        classes.push(frame(format!("opcode {opcode:#x}"), breach(), move |dice| {
            let fin = if dice.chance(0.5) { FIN } else { 0 };
            dice.frame(fin | opcode, b"x")
        }));
    }
    for (name, opcode) in CONTROLS {
        classes.push(frame(format!("fragmented/{name}"), breach(), move |dice| {
            dice.frame(opcode, &close_payload(1000, b""))
        }));
        for length in [126, 5_000, 60_000] {
            classes.push(frame(format!("{length} bytes/{name}"), breach(), move |dice| {
                dice.frame(FIN | opcode, &close_payload(1000, &vec![b'x'; length]))
            }));
        }
    }
    for (name, bytes) in NOT_UTF8 {
        for (form, opcode) in [("text", TEXT), ("binary", BINARY)] {
            let expect = Expect::Closes(vec![1007]);
            classes.push(frame(format!("not utf-8/{form}/{name}"), expect, move |dice| {
                dice.frame(FIN | opcode, bytes)
            }));
        }
    }
    classes.extend(lengths());
    classes.extend(closes());
    classes.extend(fragments());
    classes.extend(floods());
    classes
}

fn lengths() -> Vec<Class> {
    let too_big = || Expect::Closes(vec![1009]);
    let mut classes = Vec::new();
    for (name, length) in
        [("one too many", MESSAGE_MAX as u64 + 1), ("4 GiB", 1 << 32), ("2^62", 1 << 62)]
    {
        classes.push(frame(format!("promised/{name}"), too_big(), move |dice| {
            dice.beginning(FIN | TEXT, length).0
        }));
    }
    for (name, length) in [("2^63", 1 << 63), ("2^64 - 1", u64::MAX)] {
        let expect = Expect::Closes(vec![1002, 1009]);
        classes.push(frame(format!("promised/{name}"), expect, move |dice| {
            dice.beginning(FIN | BINARY, length).0
        }));
    }
    for (name, long_form) in [("16 bits", 126), ("64 bits", 127)] {
        classes.push(frame(
            format!("longer length than needed/{name}"),
            Expect::AliveOrCloses(1002),
            move |_| {
                let payload = ALIVE.as_bytes();
                let length = (payload.len() as u64).to_be_bytes();
                let length = if long_form == 126 { &length[6..] } else { &length[..] };
                [&[FIN | TEXT, 0x80 | long_form], length, &[0; 4], payload].concat()
            },
        ));
    }
    classes.push(frame("the largest message", Expect::Alive, |dice| {
        let mut text = br#"{"action":"Ping","payload":""#.to_vec();
        text.resize(MESSAGE_MAX - 2, b'x');
        text.extend(b"\"}");
        dice.frame(FIN | TEXT, &text)
    }));
    classes.push(frame("one byte too many", too_big(), |dice| {
        let text = vec![b' '; MESSAGE_MAX + 1];
        dice.frame(FIN | TEXT, &text)
    }));
    for (name, sent) in [("head", 3), ("mask", 6), ("payload", 20)] {
        classes.push(Class::new(format!("frames/cut in the {name}"), move |dice| {
            let frame = dice.frame(FIN | TEXT, &[b'x'; 300]);
            let plan = Plan::open(dice).hear("{").send(&frame[..sent]);
            let end = [Step::HalfClose, Step::Leave, Step::Reset][dice.index(3)].clone();
            let expect =
                if matches!(end, Step::HalfClose) { Expect::Ends } else { Expect::Unheard };
            plan.step(end).expect(expect)
        }));
    }
    classes.push(Class::new("frames/never finished", |dice| {
        // Pings go unanswered until it is given up.
        let frame = dice.frame(FIN | TEXT, &[b'x'; 300]);
        Plan::open(dice).send(&frame[..dice.within(1, 299)]).expect(Expect::Ends)
    }));
    classes.push(Class::new("frames/a byte at a time", |dice| {
        let frame = dice.frame(FIN | TEXT, br#"{"action":"Ping","tag":1}"#);
        let plan = Plan::open(dice).dripped(&frame, frame.len(), 2);
        plan.expect(Expect::Replies(vec![reply("Pong", "1", "")]))
    }));
    classes
}

fn closes() -> Vec<Class> {
    let mut classes = Vec::new();
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        classes.push(frame(format!("close/code {code}"), breach(), move |dice| {
            dice.frame(FIN | CLOSE, &close_payload(code, b"x"))
        }));
    }
    for code in [1000, 1001, 1003, 1007, 1011, 3000, 3008, 4000, 4999] {
        let expect = Expect::Closes(vec![code]);
        classes.push(frame(format!("close/own {code}"), expect, move |dice| {
            dice.frame(FIN | CLOSE, &close_payload(code, b"reason"))
        }));
    }
    classes.push(frame("close/empty", Expect::Closes(vec![1000, 1005]), |dice| {
        dice.frame(FIN | CLOSE, b"")
    }));
    classes.push(frame("close/one byte", breach(), |dice| dice.frame(FIN | CLOSE, b"\x03")));
    classes.push(frame("close/longest reason", Expect::Closes(vec![1000]), |dice| {
        dice.frame(FIN | CLOSE, &close_payload(1000, &[b'r'; 123]))
    }));
    classes.push(frame("close/reason not utf-8", Expect::Closes(vec![1002, 1007]), |dice| {
        dice.frame(FIN | CLOSE, &close_payload(1000, b"\xff\xfe"))
    }));
    classes.push(frame("close/twice", Expect::Closes(vec![1000]), |dice| {
        let close = dice.frame(FIN | CLOSE, &close_payload(1000, b""));
        close.repeat(2)
    }));
    classes.push(frame("close/then actions", Expect::Closes(vec![1000]), |dice| {
        let close = dice.frame(FIN | CLOSE, &close_payload(1000, b""));
        [close, dice.message(ALIVE).repeat(50)].concat()
    }));
    classes.push(frame("close/then garbage", Expect::Closes(vec![1000]), |dice| {
        let close = dice.frame(FIN | CLOSE, &close_payload(1000, b""));
        [close, dice.bytes(5_000)].concat()
    }));
    classes.push(frame("close/within fragments", Expect::Closes(vec![1000]), |dice| {
        let begun = dice.frame(TEXT, b"{\"act");
        [begun, dice.frame(FIN | CLOSE, &close_payload(1000, b""))].concat()
    }));
    classes
}

fn fragments() -> Vec<Class> {
    let mut classes = Vec::new();
    for (name, first_byte) in [("last", FIN | CONTINUATION), ("further", CONTINUATION)] {
        classes.push(frame(format!("continuation of nothing/{name}"), breach(), move |dice| {
            dice.frame(first_byte, b"x")
        }));
    }
    for (name, opcode) in [("text", TEXT), ("binary", BINARY)] {
        classes.push(frame(format!("{name} within fragments"), breach(), move |dice| {
            let begun = dice.frame(TEXT, b"{");
            [begun, dice.frame(FIN | opcode, b"}")].concat()
        }));
    }
    classes.push(frame("fragments too large together", Expect::Closes(vec![1009]), |dice| {
        let part = vec![b' '; MESSAGE_MAX / 4];
        let first = dice.frame(TEXT, &part);
        (0..4).fold(first, |bytes, _| [bytes, dice.frame(CONTINUATION, &part)].concat())
    }));
    classes.push(frame("endless small fragments", Expect::Closes(vec![1009]), |dice| {
        let first = dice.frame(BINARY, b" ");
        let more = dice.frame(CONTINUATION, &[b' '; 100]);
        [first, more.repeat(MESSAGE_MAX / 100 + 1)].concat()
    }));
    classes.push(frame("thousands of empty fragments", Expect::Alive, |dice| {
        let first = dice.frame(TEXT, b"");
        let empty = dice.frame(CONTINUATION, b"");
        let last = dice.frame(FIN | CONTINUATION, ALIVE.as_bytes());
        [first, empty.repeat(3_000), last].concat()
    }));
    classes.push(frame("a fragment for each byte", Expect::Alive, |dice| {
        let text = ALIVE.as_bytes();
        let first = dice.frame(TEXT, &text[..1]);
        let more = text[1..].iter().flat_map(|byte| dice.frame(CONTINUATION, &[*byte]));
        let bytes: Vec<u8> = first.into_iter().chain(more.collect::<Vec<_>>()).collect();
        [bytes, dice.frame(FIN | CONTINUATION, b"")].concat()
    }));
    classes.push(frame("a character cut by fragments", Expect::Alive, |dice| {
        let text = "{\"action\":\"Ping\",\"tag\":\"\u{1f4a5}\"}".as_bytes();
        let cut = text.len() - 4;
        let first = dice.frame(TEXT, &text[..cut]);
        [first, dice.frame(FIN | CONTINUATION, &text[cut..])].concat()
    }));
    classes.push(frame("not utf-8 in the second fragment", Expect::Closes(vec![1007]), |dice| {
        let first = dice.frame(TEXT, b"{\"action\":\"\xf0\x9f");
        [first, dice.frame(FIN | CONTINUATION, b"\x28\"}")].concat()
    }));
    classes.push(frame("pings between fragments", Expect::Alive, |dice| {
        let (begin, end) = ALIVE.as_bytes().split_at(9);
        let first = dice.frame(TEXT, begin);
        let pings = dice.frame(FIN | PING, b"between").repeat(20);
        [first, pings, dice.frame(FIN | CONTINUATION, end)].concat()
    }));
    classes.push(frame("never continued", Expect::Ends, |dice| dice.frame(TEXT, b"{\"action\":")));
    classes
}

fn floods() -> Vec<Class> {
    let mut classes = Vec::new();
    for (name, opcode, length) in [
        ("empty pings", PING, 0),
        ("largest pings", PING, 125),
        ("empty pongs", PONG, 0),
        ("largest pongs", PONG, 125),
    ] {
        classes.push(frame(format!("a thousand {name}"), Expect::Alive, move |dice| {
            dice.frame(FIN | opcode, &vec![b'p'; length]).repeat(1_000)
        }));
    }
    for (name, opcode) in [("texts", TEXT), ("binaries", BINARY)] {
        let replies = vec![error("", "InvalidJSON"); 100];
        classes.push(frame(format!("a hundred empty {name}"), Expect::Replies(replies), {
            move |dice| dice.frame(FIN | opcode, b"").repeat(100)
        }));
    }
    classes.push(Class::new("frames/pings and never a read", |dice| {
        let ping = dice.frame(FIN | PING, &[b'p'; 125]);
        let plan = Plan::open_at_once(dice).send(ping.repeat(3_000)).blind();
        plan.pause(200).step(Step::Leave).expect(Expect::Unheard)
    }));
    classes.push(frame("random bytes", Expect::Ends, |dice| {
        let length = dice.within(1, 5_000);
        dice.bytes(length)
    }));
    classes.push(frame("one bit flipped", Expect::Ends, |dice| {
        let mut bytes = dice.message(ALIVE).repeat(3);
        let at = dice.index(bytes.len());
        bytes[at] ^= 1 << dice.index(8);
        bytes
    }));
    classes.push(Class::new("frames/http in frames", |dice| {
        let plan = Plan::open(dice).hear("{").message(dice, "GET / HTTP/1.1\r\n\r\n");
        plan.expect(Expect::Replies(vec![error("", "InvalidJSON")]))
    }));
    classes
}
