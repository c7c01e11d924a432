//! The words of the code and those of the schema are the same: codes of errors, reasons, codes of
//! closes, the names of actions and messages.

use std::collections::BTreeSet;

use myxi::internals::{
    event::{Exchange, Topic},
    protocol::{ErrorCode, KeyForm, NotRecovered, OWN_EVENTS, Recovered, subscribed},
};
use serde_json::{Value, json};

use super::CLOSES;
use crate::support::schema::Schema;

const CLOSE: &str = include_str!("../../../src/protocol/close.rs");

type Names = BTreeSet<String>;

/// What a member of these definitions may be, where that is a word.
fn words(definitions: &[&Value], member: &str) -> Names {
    let rules = definitions.iter().map(|definition| &definition["properties"][member]);
    rules.flat_map(|rule| names(&rule["enum"]).into_iter().chain(name(&rule["const"]))).collect()
}

fn names(list: &Value) -> Names {
    list.as_array().into_iter().flatten().filter_map(name).collect()
}

fn name(word: &Value) -> Option<String> {
    word.as_str().map(Into::into)
}

/// Those that a definition chooses between.
fn choices(definition: &str) -> Vec<&'static Value> {
    let schema = Schema::wire();
    let mut chosen = Vec::new();
    for choice in schema.definition(definition)["oneOf"].as_array().expect("choices") {
        let name = choice["$ref"].as_str().and_then(|to| to.rsplit('/').next()).expect("a name");
        match &schema.definition(name)["oneOf"] {
            Value::Null => chosen.push(schema.definition(name)),
            _ => chosen.extend(choices(name)),
        }
    }
    chosen
}

#[test]
fn the_codes_of_errors_are_those_of_the_gateway() {
    let codes: Names = ErrorCode::NAMES.iter().map(|&code| code.into()).collect();
    assert_eq!(words(&choices("ErrorPayload"), "error"), codes);
    let own = &Schema::wire().definition("ApplicationError")["properties"]["error"];
    assert_eq!(names(&own["not"]["enum"]), codes, "the application's own are others");
}

#[test]
fn what_the_application_may_say_has_none_of_the_gateways_names() {
    let schema = Schema::wire();
    let own = schema.definition("ApplicationEventName");
    assert_eq!(words(&choices("GatewayMessage"), "event"), names(&own["not"]["enum"]));
    assert_eq!(names(&own["not"]["enum"]), OWN_EVENTS.map(Into::into).into());
    let own = &schema.definition("ApplicationAction")["properties"]["action"];
    assert_eq!(words(&choices("ClientMessage"), "action"), names(&own["not"]["enum"]));
}

#[test]
fn the_reasons_are_those_of_the_gateway() {
    let topic = Topic::new(Exchange::new("widgets").expect("a name"), "1").expect("a key");
    let reason = |why: NotRecovered| {
        // One more belongs into the schema, and here.
        match why {
            NotRecovered::Expired | NotRecovered::Unknown => {}
            NotRecovered::TooMany | NotRecovered::NoLog => {}
        }
        let frame = subscribed(None, &topic, KeyForm::String, None, Some(Recovered::No(why)));
        let message: Value = serde_json::from_str(&frame).expect("JSON");
        name(&message["payload"]["reason"]).expect("a reason")
    };
    let all =
        [NotRecovered::Expired, NotRecovered::Unknown, NotRecovered::TooMany, NotRecovered::NoLog];
    let reasons = names(&Schema::wire().definition("NotRecoveredReason")["enum"]);
    assert_eq!(all.map(reason).into_iter().collect::<Names>(), reasons);
}

#[test]
fn the_codes_of_closes_are_those_of_the_gateway() {
    let constants = CLOSE.split("pub const ").skip(1).filter_map(|rest| {
        let (_, value) = rest.split(';').next()?.split_once(": u16 = ")?;
        value.parse::<u16>().ok()
    });
    // Neither is ever on the wire.
    let sent: BTreeSet<_> = constants.filter(|code| ![1005, 1006].contains(code)).collect();
    let known = |code: u16, definition| Schema::wire().check(definition, &json!(code)).is_ok();
    let mut named: BTreeSet<_> = (0..4000).filter(|&code| known(code, "CloseCode")).collect();
    named.insert(4500);
    assert_eq!(sent, named);
    assert!(CLOSES.iter().all(|&code| known(code, "CloseCode")));
    for code in 4000..5000 {
        assert_eq!(known(code, "CloseComeBack"), code < 4500, "{code}");
        assert_eq!(known(code, "CloseStayAway"), code >= 4500, "{code}");
    }
    assert!(!known(5000, "CloseCode"));
}
