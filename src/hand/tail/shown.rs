//! One event on one line: for a person on a terminal, for a program everywhere else.

use std::{
    env,
    io::{IsTerminal, stdout},
};

use serde_json::value::RawValue;

use crate::{hand::print::one_line, text::plain};

const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const CYAN: &str = "\x1b[36m";
const PLAIN: &str = "\x1b[0m";

/// An event as it is shown; as JSON it is a line that `myxi push` takes.
#[derive(Debug)]
pub(super) struct Shown<'a> {
    /// When it came, or passed the gateway: Unix time in milliseconds.
    pub at_ms: u64,
    pub exchange: &'a str,
    pub routing_key: &'a str,
    pub event: &'a str,
    pub payload: Payload<'a>,
    pub position: Option<&'a str>,
}

#[derive(Debug)]
pub(super) enum Payload<'a> {
    Whole(&'a RawValue),
    /// The beginning of one that was too long to be kept whole, as text.
    Cut(&'a str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    People { colour: bool },
}

impl Form {
    /// By what stdout is.
    pub(super) fn of(json: bool) -> Self {
        if json || !stdout().is_terminal() {
            return Self::Json;
        }
        let unset = |name| env::var_os(name).is_none_or(|value| value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self::People { colour: unset("NO_COLOR") && !dumb }
    }

    pub(super) fn line(self, event: &Shown<'_>) -> String {
        match self {
            Self::Json => one_line(&json(event)),
            Self::People { colour } => people(event, colour),
        }
    }
}

fn json(event: &Shown<'_>) -> String {
    let text = |text: &str| serde_json::to_string(text).expect("text always serializes");
    let Shown { at_ms, exchange, routing_key, event, payload, position } = event;
    let (member, payload) = match payload {
        Payload::Whole(json) => ("payload", json.get().to_owned()),
        Payload::Cut(beginning) => ("payload_cut", text(beginning)),
    };
    let position = position.map_or_else(String::new, |at| format!(",\"position\":{}", text(at)));
    format!(
        "{{\"at_ms\":{at_ms},\"exchange\":{},\"routing_key\":{},\"event\":{},\
         \"{member}\":{payload}{position}}}",
        text(exchange),
        text(routing_key),
        text(event)
    )
}

fn people(event: &Shown<'_>, colour: bool) -> String {
    let paint = |with: &str, text: &str| match colour {
        true => format!("{with}{}{PLAIN}", plain(text)),
        false => plain(text),
    };
    let payload = match &event.payload {
        Payload::Whole(json) => one_line(json.get()),
        Payload::Cut(beginning) => plain(beginning),
    };
    let time = paint(DIM, &time_of_day(event.at_ms));
    let key = paint(CYAN, if event.routing_key.is_empty() { "\"\"" } else { event.routing_key });
    format!("{time}  {key}  {}  {payload}", paint(BOLD, event.event))
}

/// In UTC, which gateways log in, too.
fn time_of_day(at_ms: u64) -> String {
    let (seconds, millis) = (at_ms / 1000 % 86_400, at_ms % 1000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{millis:03}Z", seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown<'a>(event: &'a str, payload: &'a RawValue) -> Shown<'a> {
        let payload = Payload::Whole(payload);
        let (exchange, routing_key, position) = ("widgets", "1", Some("AAAA"));
        Shown { at_ms: 86_399_007, exchange, routing_key, event, payload, position }
    }

    fn raw(json: &str) -> Box<RawValue> {
        serde_json::from_str(json).expect("JSON")
    }

    #[test]
    fn a_program_gets_the_payload_as_it_was_on_one_line() {
        let payload = raw("{\"n\":\n 123456789012345678901234567890,\"s\":\"\u{9b}2J\"}");
        assert_eq!(
            Form::Json.line(&shown("Changed", &payload)),
            "{\"at_ms\":86399007,\"exchange\":\"widgets\",\"routing_key\":\"1\",\"event\":\"Changed\",\
             \"payload\":{\"n\":  123456789012345678901234567890,\"s\":\"\\u009b2J\"},\
             \"position\":\"AAAA\"}"
        );
    }

    #[test]
    fn a_person_gets_what_a_terminal_does_not_obey() {
        let payload = raw("{\"s\":\"\u{9b}2J\u{202e}\"}");
        let event = shown("\u{1b}]0;owned\u{7}", &payload);
        let line = Form::People { colour: false }.line(&event);
        assert_eq!(line, "23:59:59.007Z  1  \\u{1b}]0;owned\\u{7}  {\"s\":\"\\u009b2J\\u202e\"}");
        let coloured = Form::People { colour: true }.line(&event);
        let bare =
            [DIM, BOLD, CYAN, PLAIN].iter().fold(coloured, |text, code| text.replace(code, ""));
        assert_eq!(bare, line);
    }
}
