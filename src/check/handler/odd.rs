//! Payloads that a client may send and that few think of: none, as much as the gateway takes, and
//! every kind of text.

use serde_json::{Map, Value, json};

use super::{
    Outcome, Run, SessionSnapshot,
    actions::{Judged, UNKNOWN},
};
use crate::{
    application::{ActionReply, ApplicationError, AuthUpdate, grpc::Answer},
    metrics::CallStatus,
};

const LARGE: usize = 60 * 1024;

const BEGIN: &str = "myxi-check<";

/// Right to left, beyond the first plane, joined, combining, a separator of lines, a mark of byte
/// order, and the character that ends strings in C.
const TEXT: &str =
    "myxi-check<שלום مرحبا 𝄞 👩\u{200d}👩\u{200d}👧 e\u{301} \u{2028}\u{feff}\u{0}ß½>";

const MEND: &str = "read and write payloads as UTF-8, and JSON with a parser: clients send every \
                    character, also \\u0000";

impl Run<'_> {
    pub(super) async fn odd_payloads(&mut self) {
        let given = self.wanted.actions.clone();
        if given.is_empty() {
            let came = "no --action tells one whose payload could be missing";
            self.add("missing-payload", Outcome::NotChecked, "an action with {}", came);
        }
        let unknown = [(UNKNOWN.to_owned(), "{}".to_owned())];
        for (name, payload) in if given.is_empty() { &unknown[..] } else { &given[..] } {
            let session = self.session.clone();
            if !given.is_empty() {
                self.missing(&session, name).await;
            }
            self.large(&session, name, payload).await;
            self.unicode(&session, name, payload).await;
            self.session = session;
        }
    }

    async fn missing(&mut self, session: &SessionSnapshot, name: &str) {
        let asked = format!("the action {name} without a payload, which arrives as {{}}");
        let mut answer = self.act(session, name, "{}", &asked).await;
        let judged = self.judged(session, &mut answer);
        self.tell(&format!("missing-payload {name}"), asked, judged);
    }

    async fn large(&mut self, session: &SessionSnapshot, name: &str, payload: &str) {
        let asked = format!("the action {name} with 60 KiB of payload");
        let mut object = object(payload);
        object.insert("myxiCheck".into(), "x".repeat(LARGE).into());
        let payload = Value::Object(object).to_string();
        let mut answer = self.act(session, name, &payload, &asked).await;
        let mut judged = self.judged(session, &mut answer);
        if answer.status == CallStatus::ResourceExhausted {
            judged.outcome = Outcome::Failed;
            judged.advice = Some(
                "let the server take messages of 64 KiB and the session's 16 KiB, as clients may \
                 send them (--max-message-size)"
                    .into(),
            );
        }
        self.tell(&format!("large-payload {name}"), asked, judged);
    }

    async fn unicode(&mut self, session: &SessionSnapshot, name: &str, payload: &str) {
        let asked = format!("the action {name} with text of every kind, and \\u0000");
        let mut payload = Value::Object(object(payload));
        if !replace(&mut payload) {
            payload = json!({"text": TEXT});
        }
        let mut answer = self.act(session, name, &payload.to_string(), &asked).await;
        let came_back = came_back(&answer);
        let before = answer.read.is_ok();
        let mut judged = self.judged(session, &mut answer);
        // A room that a client names oddly is its own affair.
        if before && answer.broken().is_none() && judged.outcome == Outcome::Failed {
            judged.outcome = Outcome::Warning;
            judged.advice = Some("look at what clients send before it becomes a topic".into());
        }
        match came_back.iter().find(|text| !text.contains(TEXT)) {
            Some(text) => {
                let Judged { outcome, came, advice, .. } = &mut judged;
                *outcome = Outcome::Failed;
                *came = format!("the text came back as {text:?}; {came}");
                *advice = Some(MEND.into());
            }
            None if came_back.is_empty() => {
                judged.came.push_str("; the text did not come back");
                if judged.outcome == Outcome::Ok {
                    judged.outcome = Outcome::NotChecked;
                    judged.advice =
                        Some("an --action whose answer has what was sent shows it".into());
                }
            }
            None => judged.came.push_str("; the text came back as it was sent"),
        }
        self.tell(&format!("unicode {name}"), asked, judged);
    }
}

fn object(payload: &str) -> Map<String, Value> {
    match serde_json::from_str(payload) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

/// Puts the text in the place of every string; answers whether there was one.
fn replace(value: &mut Value) -> bool {
    match value {
        Value::String(text) => {
            *text = TEXT.into();
            true
        }
        Value::Array(values) => values.iter_mut().fold(false, |any, value| replace(value) | any),
        Value::Object(object) => object.values_mut().fold(false, |any, value| replace(value) | any),
        _ => false,
    }
}

/// Every string of an answer that the text was put into.
fn came_back(answer: &Answer<ActionReply>) -> Vec<String> {
    let mut found = Vec::new();
    let mut json = |text: &str| {
        if let Ok(value) = serde_json::from_str(text) {
            collect(&value, &mut found);
        }
    };
    match &answer.read {
        Ok(reply) => {
            reply.events.iter().for_each(|event| json(event.payload.get()));
            reply.update.set_data.iter().for_each(|(_, value)| json(value));
            if let AuthUpdate::Set(auth) = &reply.update.auth {
                json(auth);
            }
        }
        Err(ApplicationError::Refused { details, .. }) => {
            details.values().for_each(|value| json(value.get()));
        }
        Err(_) => {}
    }
    found
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text.contains(BEGIN) => found.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
        Value::Object(object) => object.values().for_each(|value| collect(value, found)),
        _ => {}
    }
}
