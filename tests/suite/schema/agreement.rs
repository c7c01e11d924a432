//! The schema says to others what it says to these tests: to Python's `jsonschema`, by draft 2020-12
//! and by draft 07, which tools for AsyncAPI speak. And the AsyncAPI document is one, by the schema
//! that its makers publish.

use std::fs;

use serde_json::{Value, json};

use super::{mutations, traffic};
use crate::support::{DEADLINE, TempDir, python::printed_by, schema::Schema};

#[tokio::test]
async fn the_schema_says_the_same_to_others() {
    let traffic = traffic::all().await;
    let with_mutants = |message: &Value| {
        let mutants = mutations::mutants(message).into_iter().map(|(_, mutant)| mutant);
        [message.clone()].into_iter().chain(mutants).collect::<Vec<_>>()
    };
    let judged = |definition: &'static str, message: Value| {
        let right = Schema::wire().check(definition, &message).is_ok();
        json!([definition, message, right])
    };
    let said = mutations::distinct(&traffic.said).into_iter().flat_map(with_mutants);
    let said = said.chain(mutations::written().map(|(_, mutant)| mutant));
    let heard = mutations::distinct(&traffic.heard).into_iter().flat_map(with_mutants);
    let lines: Vec<_> = said
        .map(|message| judged("ClientMessage", message))
        .chain(heard.map(|message| judged("GatewayMessage", message)))
        .map(|line| line.to_string())
        .collect();
    let directory = TempDir::new("schema");
    let path = directory.path().join("judged.jsonl");
    fs::write(&path, lines.join("\n")).expect("a file");
    let printed = printed_by("schema.py", &[path.to_str().expect("UTF-8")], DEADLINE).await;
    assert_eq!(printed, format!("{} as one\n", 2 * lines.len()));
}
