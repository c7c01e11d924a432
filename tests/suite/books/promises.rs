//! What a client was promised, judged by nothing but what it hears.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The subscriptions of one client as it sees them.
#[derive(Debug, Default)]
pub struct Promises {
    /// With the number of the last event.
    subscribed: BTreeMap<(String, String), Option<u64>>,
}

impl Promises {
    pub fn hear(&mut self, message: &Value) -> Result<()> {
        let payload = &message["payload"];
        let topic = (text(&payload["exchange"]), text(&payload["routing_key"]));
        match message["event"].as_str().context("a name")? {
            "Subscribed" => {
                ensure!(self.subscribed.insert(topic, None).is_none(), "subscribed twice");
            }
            "Unsubscribed" => {
                let held = self.subscribed.remove(&topic).is_some();
                ensure!(held || payload["auto"] == false, "nothing there to end by itself");
            }
            "Gap" => {
                let last = self.subscribed.get_mut(&topic).context("a gap of nothing")?;
                *last = None;
            }
            "Error" if payload["error"] == "AlreadySubscribed" => {
                ensure!(self.subscribed.contains_key(&topic), "it is not subscribed");
            }
            _ if message["mq"].is_object() => {
                let topic = (text(&message["mq"]["e"]), text(&message["mq"]["rk"]));
                let last = self.subscribed.get_mut(&topic).context("an event, not subscribed")?;
                let number = payload.as_u64().context("a number")?;
                ensure!(last.is_none_or(|last| number == last + 1), "after {last:?}");
                *last = Some(number);
            }
            _ => {}
        }
        Ok(())
    }

    /// What the client believes to be subscribed to, with the last event of each.
    pub fn subscribed(&self) -> &BTreeMap<(String, String), Option<u64>> {
        &self.subscribed
    }
}

/// A routing key as text, however it is written.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
