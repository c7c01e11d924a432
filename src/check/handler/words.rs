//! An answer in words, and as a client would see it.

use std::time::Duration;

use serde_json::value::RawValue;

use crate::{
    application::{Admission, ApplicationError, Decision, grpc::Answer},
    event::Topic,
    metrics::CallStatus,
    protocol::{self, ClientError, ErrorCode, KeyForm, Tag},
    session::errors::{action_error, check_error},
};

/// Every action of the check has it.
pub(super) const TAG: &str = "\"myxi-check\"";

pub(super) fn tag() -> Box<Tag> {
    RawValue::from_string(TAG.into()).expect("a string")
}

/// `UNKNOWN: division by zero, after 1.2 ms`.
pub(super) fn came<T>(answer: &Answer<T>) -> String {
    let status: &str = answer.status.into();
    let mut came = match (answer.status, &answer.read) {
        (CallStatus::Ok, Err(ApplicationError::Refused { code, .. })) => format!("error {code:?}"),
        (CallStatus::Ok, Err(error)) => format!("OK, but {}", error.problem()),
        (CallStatus::Ok, Ok(_)) => "OK".into(),
        _ if answer.said.is_empty() => status.into(),
        _ => format!("{status}: {}", answer.said),
    };
    for remark in &answer.remarks {
        came.push_str("; ");
        came.push_str(remark);
    }
    format!("{came}, after {}", millis(answer.took))
}

pub(super) fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// Of an action that failed.
pub(super) fn error(error: ApplicationError) -> String {
    protocol::error(Some(&tag()), &action_error(error)).to_string()
}

/// Of a subscribe that could not be decided, for each key.
pub(super) fn undecided(topic: &Topic, error: &ApplicationError) -> String {
    of_topic(check_error(error), topic)
}

pub(super) fn decided(topic: &Topic, decision: Decision) -> String {
    let code = match decision {
        Decision::Allow => {
            let tag = tag();
            return protocol::subscribed(Some(&tag), topic, KeyForm::String, None, None)
                .to_string();
        }
        Decision::Deny => ErrorCode::SubscriptionDenied,
        Decision::UnknownExchange => ErrorCode::InvalidExchangeName,
    };
    of_topic(ClientError::new(code), topic)
}

fn of_topic(error: ClientError, topic: &Topic) -> String {
    let error = error.detail("exchange", &topic.exchange);
    let error = error.detail("routing_key", topic.routing_key());
    protocol::error(Some(&tag()), &error).to_string()
}

pub(super) fn admitted(answer: &Answer<Admission>) -> String {
    match &answer.read {
        Ok(Admission::Accept { events, .. }) => {
            let names: Vec<_> = events.iter().map(|event| &*event.name).collect();
            match names[..] {
                [] => "Welcome".into(),
                _ => format!("Welcome, then {}", names.join(", ")),
            }
        }
        Ok(Admission::Refuse(close)) => format!("a close with {} {:?}", close.code, close.reason),
        Err(_) => "with --session-opened=required a close with 1013, each time it connects".into(),
    }
}
