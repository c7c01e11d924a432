//! `docs/wire.schema.json` and `docs/asyncapi.yaml` say what passes between clients and a gateway:
//! all of it, and nothing else. Every test's client holds what it is told to the schema
//! (`support/schema.rs`); here is whether the schema has all that there is, and only that.

mod agreement;
mod client;
mod mutations;
mod names;
mod traffic;

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::support::schema::Schema;

/// What the gateway closes with, and what the application may have it close with.
const CLOSES: [u16; 10] = [1000, 1002, 1007, 1009, 1012, 1013, 3008, 4000, 4499, 4500];

#[tokio::test]
async fn all_that_passes_is_in_the_schema_and_nothing_in_it_is_dead() {
    let traffic = traffic::all().await;
    let schema = Schema::wire();
    let mut met = HashSet::new();
    for message in traffic.said.iter().chain(&traffic.heard) {
        let kept =
            schema.check_whole(message).unwrap_or_else(|broken| panic!("{message}: {broken}"));
        met.extend(kept.into_iter().map(std::ptr::from_ref));
    }
    for code in CLOSES.map(|code| json!(code)) {
        let kept = schema.check("CloseCode", &code).unwrap_or_else(|broken| panic!("{broken}"));
        met.extend(kept.into_iter().map(std::ptr::from_ref));
    }
    let dead =
        schema.rules().into_iter().filter(|(_, rule)| !met.contains(&std::ptr::from_ref(*rule)));
    let dead: Vec<_> = dead.map(|(place, _)| place).collect();
    assert!(dead.is_empty(), "nothing was met of {dead:#?}");
}

/// The message's kind: its action or event, and the code of an error.
fn kind(message: &Value) -> String {
    let name = [&message["action"], &message["event"]].into_iter().find_map(Value::as_str);
    let name = name.unwrap_or("nothing");
    match message["payload"]["error"].as_str() {
        Some(code) if name == "Error" => code.into(),
        _ => name.into(),
    }
}
