//! What others wrote down about the protocols that the gateway speaks, and how it stands to
//! it. The scripts are in `tests/conformance`.

use std::{path::Path, process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::support::{DEADLINE, python::printed_by, within};

/// Autobahn's cases outside compression.
const CASES: usize = 301;

/// `examples/echo.rs`, which cargo builds beside the tests. Killed on drop.
async fn echo() -> (Child, String) {
    let program = Path::new(env!("CARGO_BIN_EXE_myxi")).with_file_name("examples").join("echo");
    let mut child = Command::new(&program)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|e| panic!("{}: {e}; cargo build --examples", program.display()));
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let address = within(DEADLINE, "the echo's address", lines.next_line()).await;
    (child, address.expect("a line").expect("an address"))
}

#[tokio::test]
async fn no_case_of_autobahn_fails() {
    let (_echo, address) = echo().await;
    let url = format!("ws://{address}");
    let report = printed_by("autobahn.py", &[&url], Duration::from_secs(90)).await;
    let results: Vec<Value> =
        report.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();

    // NON-STRICT would pass too, by Autobahn's book; there is none.
    let passed = |verdict: &Value| verdict == "OK" || verdict == "INFORMATIONAL";
    let failed: Vec<_> = results
        .iter()
        .filter(|result| !passed(&result["behavior"]) || !passed(&result["close"]))
        .collect();
    assert!(failed.is_empty(), "{} failed: {failed:#?}", failed.len());
    assert_eq!(results.len(), CASES);
}
