//! The table of this replica's sessions. Each look at it walks over all of them, a few at a
//! time, so that nobody's events wait for an operator.

use std::{cmp::Reverse, sync::Arc};

use serde::Serialize;
use tokio::{task::yield_now, time::Instant};

use super::{
    answer::{Refusal, holds},
    query::Query,
};
use crate::{
    ids::SessionId,
    session::{
        Session,
        directory::{AT_ONCE, Directory},
    },
    text::cut,
};

/// Characters of an identity that are shown.
const IDENTITY_SHOWN: usize = 160;

#[derive(Debug, Serialize)]
pub(super) struct Sessions {
    total: usize,
    matching: usize,
    sessions: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    id: String,
    /// What the application set as auth: JSON as text.
    identity: Option<String>,
    remote: String,
    age_ms: u64,
    subscriptions: usize,
    /// Of these.
    catching_up: usize,
    outbox_bytes: usize,
}

/// What comes first: always the most.
#[derive(Debug, Clone, Copy)]
enum Sort {
    Age,
    Subscriptions,
    Outbox,
}

pub(super) async fn list(directory: &Directory, query: &Query<'_>) -> Result<Sessions, Refusal> {
    let sort = Sort::read(query.text("sort"))?;
    let (search, page) = (query.needle("search")?, query.page()?);
    let (all, now) = (directory.all(), Instant::now());
    let mut matching: Vec<(u64, SessionId, Arc<Session>)> = Vec::new();
    for some in all.chunks(AT_ONCE) {
        let found = some.iter().filter(|session| search.is_empty() || matches(session, &search));
        matching.extend(found.map(|session| {
            (sort.measure(session, now), session.outbox().session(), session.clone())
        }));
        yield_now().await;
    }
    let (total, found) = (all.len(), matching.len());
    let rows = page.of(&mut matching, |(one, id, _), (other, other_id, _)| {
        (Reverse(one), id).cmp(&(Reverse(other), other_id))
    });
    let sessions = rows.iter().map(|(_, _, session)| Row::of(session, now)).collect();
    Ok(Sessions { total, matching: found, sessions })
}

fn matches(session: &Session, search: &str) -> bool {
    let snapshot = session.snapshot();
    holds(&snapshot.id.to_string(), search)
        || snapshot.auth.as_ref().is_some_and(|auth| holds(auth, search))
        || holds(&snapshot.client.remote_address, search)
}

impl Sort {
    fn read(name: &str) -> Result<Self, Refusal> {
        match name {
            "" | "age" => Ok(Self::Age),
            "subscriptions" => Ok(Self::Subscriptions),
            "outbox" => Ok(Self::Outbox),
            _ => Err(Refusal::bad_request("sort must be age, subscriptions or outbox")),
        }
    }

    fn measure(self, session: &Session, now: Instant) -> u64 {
        match self {
            Self::Age => u64::try_from((now - session.opened()).as_nanos()).unwrap_or(u64::MAX),
            Self::Subscriptions => session.subscriptions() as u64,
            Self::Outbox => session.outbox().bytes() as u64,
        }
    }
}

impl Row {
    fn of(session: &Session, now: Instant) -> Self {
        let snapshot = session.snapshot();
        Self {
            id: snapshot.id.to_string(),
            identity: snapshot.auth.as_ref().map(|auth| cut(auth, IDENTITY_SHOWN)),
            remote: snapshot.client.remote_address.to_string(),
            age_ms: u64::try_from((now - session.opened()).as_millis()).unwrap_or(u64::MAX),
            subscriptions: session.subscriptions(),
            catching_up: session.catching_up(),
            outbox_bytes: session.outbox().bytes(),
        }
    }
}
