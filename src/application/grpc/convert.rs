//! Between the gateway's own types and the messages of the gRPC contract. What an
//! application sends is checked whole before any of it counts: an error here fails the
//! call, and names the field.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use serde_json::value::RawValue;

use crate::{
    application::{
        Action, ActionReply, Admission, ApplicationError, AuthUpdate, CheckReason, Decision,
        SessionSnapshot, SessionUpdate,
    },
    event::{EventBody, Exchange, Topic},
    proto,
    protocol::Close,
};

pub(super) fn session(session: &SessionSnapshot) -> proto::Session {
    let client = &session.client;
    proto::Session {
        id: session.id.to_string(),
        auth: session.auth.as_deref().map(Into::into),
        data: owned(&session.data),
        remote_address: client.remote_address.as_ref().into(),
        path: client.path.as_ref().into(),
        query: client.query.as_ref().into(),
        headers: owned(client.headers.iter().map(|(name, value)| (name, value))),
    }
}

fn owned<'a>(
    entries: impl IntoIterator<Item = (&'a Box<str>, &'a Box<str>)>,
) -> HashMap<String, String> {
    entries.into_iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

pub(super) fn action(session: &SessionSnapshot, action: Action<'_>) -> proto::HandleActionRequest {
    proto::HandleActionRequest {
        session: Some(self::session(session)),
        action: action.name.into(),
        payload: action.payload.into(),
        tag: action.tag.map(Into::into),
    }
}

pub(super) fn check(
    session: &SessionSnapshot,
    topics: &[Topic],
    reason: CheckReason,
) -> proto::CheckSubscriptionsRequest {
    let topics = topics
        .iter()
        .map(|topic| proto::Topic {
            exchange: topic.exchange.as_str().into(),
            routing_key: topic.routing_key().into(),
        })
        .collect();
    let reason = match reason {
        CheckReason::Subscribe => proto::CheckReason::Subscribe,
        CheckReason::Recheck => proto::CheckReason::Recheck,
        CheckReason::Resume => proto::CheckReason::Resume,
    };
    proto::CheckSubscriptionsRequest {
        session: Some(self::session(session)),
        topics,
        reason: reason.into(),
    }
}

pub(super) fn closed(
    session: &SessionSnapshot,
    reason: &Close,
    lived: Duration,
) -> proto::SessionClosedRequest {
    proto::SessionClosedRequest {
        session: Some(self::session(session)),
        code: reason.code.into(),
        reason: reason.reason.as_ref().into(),
        duration_ms: i64::try_from(lived.as_millis()).unwrap_or(i64::MAX),
    }
}

pub(super) fn reply(reply: proto::HandleActionResponse) -> Result<ActionReply, ApplicationError> {
    if let Some(error) = reply.error {
        return Err(refusal(error)?);
    }
    Ok(ActionReply {
        update: reply.session_update.map(update).transpose()?.unwrap_or_default(),
        unsubscribe: each("unsubscribe", reply.unsubscribe, |topic| {
            let exchange = Exchange::new(&topic.exchange)?;
            Topic::new(exchange, &topic.routing_key)
        })?,
        subscribe: reply
            .subscribe
            .into_iter()
            .map(|topic| (topic.exchange, topic.routing_key))
            .collect(),
        events: events(reply.events)?,
        disconnect: reply.disconnect.as_ref().map(disconnect),
    })
}

pub(super) fn decisions(
    decisions: &[i32],
    expected: usize,
) -> Result<Vec<Decision>, ApplicationError> {
    if decisions.len() != expected {
        let problem = format!("{} decisions for {expected} topics", decisions.len());
        return Err(ApplicationError::Failed(problem));
    }
    let known = |&number| match proto::Decision::try_from(number) {
        Ok(proto::Decision::Allow) => Decision::Allow,
        Ok(proto::Decision::UnknownExchange) => Decision::UnknownExchange,
        Ok(proto::Decision::Deny | proto::Decision::Unspecified) | Err(_) => Decision::Deny,
    };
    Ok(decisions.iter().map(known).collect())
}

pub(super) fn admission(
    reply: proto::SessionOpenedResponse,
) -> Result<Admission, ApplicationError> {
    if reply.decision == i32::from(proto::SessionDecision::Accept) {
        return Ok(Admission::Accept {
            update: reply.session_update.map(update).transpose()?.unwrap_or_default(),
            events: events(reply.events)?,
        });
    }
    let refusal = reply.refusal.unwrap_or_default();
    Ok(Admission::Refuse(disconnect(&refusal)))
}

/// The application's own error, which is one way for an action to end.
fn refusal(error: proto::ActionError) -> Result<ApplicationError, ApplicationError> {
    if error.code.is_empty() {
        return Err(ApplicationError::Failed("error.code is empty".into()));
    }
    let details: BTreeMap<String, Box<RawValue>> = match error.details.as_str() {
        "" => BTreeMap::new(),
        details => serde_json::from_str(details).map_err(|e| {
            ApplicationError::Failed(format!("error.details is not a JSON object: {e}"))
        })?,
    };
    Ok(ApplicationError::Refused { code: error.code.into(), details, retryable: error.retryable })
}

fn events(events: Vec<proto::Event>) -> Result<Vec<EventBody>, ApplicationError> {
    each("events", events, |event| EventBody::new(&event.event, &event.payload))
}

fn update(update: proto::SessionUpdate) -> Result<SessionUpdate, ApplicationError> {
    let auth = match (update.set_auth, update.clear_auth) {
        (Some(_), true) => {
            let problem = "session_update both sets and clears auth";
            return Err(ApplicationError::Failed(problem.into()));
        }
        (Some(auth), false) => AuthUpdate::Set(json("session_update.set_auth", auth)?),
        (None, true) => AuthUpdate::Clear,
        (None, false) => AuthUpdate::Keep,
    };
    let set_data = update
        .set_data
        .into_iter()
        .map(|(name, value)| Ok((name.into(), json("a value of session_update.set_data", value)?)))
        .collect::<Result<_, ApplicationError>>()?;
    let remove_data = update.remove_data.into_iter().map(Into::into).collect();
    Ok(SessionUpdate { auth, set_data, remove_data })
}

/// JSON text as it was written.
fn json(field: &str, text: String) -> Result<Box<str>, ApplicationError> {
    match serde_json::from_str::<&RawValue>(&text) {
        Ok(_) => Ok(text.into()),
        Err(error) => Err(ApplicationError::Failed(format!("{field} is not JSON: {error}"))),
    }
}

fn disconnect(disconnect: &proto::Disconnect) -> Close {
    Close::by_application(disconnect.code, &disconnect.reason)
}

fn each<T, U, E: std::fmt::Display>(
    field: &str,
    items: Vec<T>,
    convert: impl Fn(T) -> Result<U, E>,
) -> Result<Vec<U>, ApplicationError> {
    items
        .into_iter()
        .enumerate()
        .map(|(i, item)| {
            convert(item).map_err(|e| ApplicationError::Failed(format!("{field}[{i}]: {e}")))
        })
        .collect()
}
