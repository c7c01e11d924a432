//! `myxi sessions`, and what is done to one of them: `myxi send`, `myxi disconnect`.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Failure, Outcome, admin,
    gateway::Gateway,
    print::{Output, not_written, one_line, say},
};
use crate::{
    config::hand::{DisconnectConfig, SendConfig, SessionsConfig},
    proto::{DisconnectSessionRequest, SendEventRequest},
    text::plain,
};

#[derive(Deserialize)]
struct Sessions<'a> {
    matching: usize,
    #[serde(borrow)]
    sessions: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Row {
    id: String,
    identity: Option<String>,
    remote: String,
    age_ms: u64,
    subscriptions: usize,
    outbox_bytes: usize,
}

pub(super) async fn list(config: SessionsConfig) -> Result<Outcome, Failure> {
    let SessionsConfig { admin, search, sort, limit, offset, json } = config;
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("search", &search)
        .append_pair("sort", &sort)
        .append_pair("limit", &limit.to_string())
        .append_pair("offset", &offset.to_string())
        .finish();
    let body = admin::get(&admin, &format!("/api/sessions?{query}")).await?;
    let nonsense = |error| Failure(format!("{} answers nonsense: {error}", admin.remote));
    let found: Sessions = serde_json::from_slice(&body).map_err(nonsense)?;
    let lines: Vec<String> = match json {
        true => found.sessions.iter().map(|session| one_line(session.get())).collect(),
        false => {
            let rows = found.sessions.iter().map(|session| serde_json::from_str(session.get()));
            table(&rows.collect::<Result<Vec<Row>, _>>().map_err(nonsense)?)
        }
    };
    let mut output = Output::new();
    for line in lines {
        if let Err(error) = output.line(&line).await {
            return not_written(error);
        }
    }
    let shown = found.sessions.len();
    if shown < found.matching {
        let text = format!("{shown} of {} shown; see --limit and --offset", found.matching);
        say("sessions", &text);
    }
    Ok(Outcome::Done)
}

fn table(rows: &[Row]) -> Vec<String> {
    let remote = rows.iter().map(|row| row.remote.chars().count()).max().unwrap_or(0).max(6);
    let head = format!(
        "{:16}  {:>7}  {:>13}  {:>6}  {:remote$}  IDENTITY",
        "ID", "AGE", "SUBSCRIPTIONS", "OUTBOX", "REMOTE"
    );
    let row = |row: &Row| {
        let Row { id, subscriptions, outbox_bytes, .. } = row;
        let (age, identity) = (age(row.age_ms / 1000), row.identity.as_deref().unwrap_or("-"));
        plain(&format!(
            "{id:16}  {age:>7}  {subscriptions:>13}  {outbox_bytes:>6}  {:remote$}  {identity}",
            row.remote
        ))
    };
    std::iter::once(head).chain(rows.iter().map(row)).collect()
}

/// In its two largest units.
fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if days > 0 => format!("{days}d{}h", hours % 24),
        () if hours > 0 => format!("{hours}h{}m", minutes % 60),
        () if minutes > 0 => format!("{minutes}m{}s", seconds % 60),
        () => format!("{seconds}s"),
    }
}

pub(super) async fn send(config: SendConfig) -> Result<Outcome, Failure> {
    let SendConfig { gateway, session: session_id, event, payload } = config;
    let gateway = Gateway::connect(gateway).await?;
    let request = gateway.request(SendEventRequest { session_id, event, payload });
    let mut client = gateway.client.clone();
    gateway.answer(client.send_event(request)).await?;
    Ok(Outcome::Done)
}

pub(super) async fn disconnect(config: DisconnectConfig) -> Result<Outcome, Failure> {
    let DisconnectConfig { gateway, session: session_id, code, reason } = config;
    let gateway = Gateway::connect(gateway).await?;
    let request = gateway.request(DisconnectSessionRequest { session_id, code, reason });
    let mut client = gateway.client.clone();
    gateway.answer(client.disconnect_session(request)).await?;
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_short() {
        assert_eq!([0, 59, 61, 3_599].map(age), ["0s", "59s", "1m1s", "59m59s"]);
        assert_eq!([3_600, 86_399, 90_000].map(age), ["1h0m", "23h59m", "1d1h"]);
    }
}
