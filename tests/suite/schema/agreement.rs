//! The schema says to others what it says to these tests: to Python's `jsonschema`, by draft 2020-12
//! and by draft 07, which tools for AsyncAPI speak. And the AsyncAPI document is one, by the schema
//! that its makers publish.

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};

use super::{CLOSES, mutations, traffic};
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

const ASYNCAPI: &str = include_str!("../../../docs/asyncapi.yaml");

#[tokio::test]
async fn the_asyncapi_document_is_one_and_has_every_message() {
    let printed = printed_by("asyncapi.py", &[], DEADLINE).await;
    let has: BTreeSet<_> = printed.lines().map(String::from).collect();
    let messages = |definition| {
        let choices = Schema::wire().definition(definition)["oneOf"].as_array().expect("choices");
        let name =
            |choice: &Value| choice["$ref"].as_str()?.strip_prefix("#/$defs/").map(String::from);
        choices.iter().map(move |choice| name(choice).expect("a name"))
    };
    let lines = |path| {
        let heard = messages("ClientMessage").map(move |name| format!("{path} receive {name}"));
        heard.chain(messages("GatewayMessage").map(move |name| format!("{path} send {name}")))
    };
    assert_eq!(has, lines("/").chain(lines("/pushwss")).collect());
}

#[test]
fn the_asyncapi_document_tells_what_each_close_means() {
    let rows = ASYNCAPI.lines().filter_map(|line| line.trim().strip_prefix("| "));
    let codes = rows.filter(|row| row.starts_with(|first: char| first.is_ascii_digit()));
    let mut told = BTreeSet::new();
    for row in codes {
        let (code, meaning) = row.split_once(" | ").expect("cells");
        let codes = code.split('–').map(|code| code.parse::<u16>().expect("a code"));
        for code in codes {
            let back = meaning.contains("| yes");
            let definition = if back { "CloseComeBack" } else { "CloseStayAway" };
            assert!(Schema::wire().check(definition, &json!(code)).is_ok(), "{row}");
            told.insert(code);
        }
    }
    assert!(CLOSES.iter().all(|code| told.contains(code)), "{told:?}");
}
