//! The report as programs read it, and what the exit code says.

use serde_json::json;

use super::{check, check_with, well};
use crate::support::{DEADLINE, handler::free_address, python::python, within};

/// As CI servers do: the sums hold, and each test case says how it ended.
const READ_JUNIT: &str = r#"
import sys, xml.etree.ElementTree as tree
root = tree.fromstring(sys.stdin.read())
assert root.tag == "testsuites", root.tag
for suite in root:
    cases = suite.findall("testcase")
    for attribute, found in [("tests", "."), ("failures", "failure"), ("skipped", "skipped")]:
        assert int(suite.get(attribute)) == sum(len(c.findall(found)) for c in cases), attribute
    for case in cases:
        ended = [child.tag for child in case]
        print(case.get("classname"), case.get("name"), *ended)
"#;

async fn test_cases(junit: &str) -> Vec<String> {
    let mut command = tokio::process::Command::new(python());
    command.args(["-c", READ_JUNIT]).stdin(std::process::Stdio::piped());
    command.stdout(std::process::Stdio::piped());
    let mut child = command.spawn().expect("Python");
    let mut stdin = child.stdin.take().expect("its stdin");
    tokio::io::AsyncWriteExt::write_all(&mut stdin, junit.as_bytes()).await.expect("written");
    drop(stdin);
    let output = within(DEADLINE, "JUnit", child.wait_with_output()).await.expect("it ends");
    assert!(output.status.success(), "{junit}");
    String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn the_three_forms_say_the_same() {
    let app = well::good().await;
    app.on("Echo", |_| Err(tonic::Status::unknown("<\u{1b}>&\"")));
    let flags = well::valid(&app);
    let checked = check(&flags.each_ref().map(String::as_str)).await;
    assert_eq!(checked.code, Some(1), "{}", checked.text);
    let cases = test_cases(&checked.junit).await;
    assert_eq!(cases.len(), checked.checks().count());
    let ended = |name: &str, how: &str| cases.contains(&format!("myxi.check.handler {name} {how}"));
    assert!(ended("reachable", "system-out"), "{cases:#?}");
    assert!(ended("action Echo", "failure"), "{cases:#?}");
    assert!(ended("tokens", "skipped"), "{cases:#?}");
    let report = &checked.report;
    assert_eq!(report["outcome"], "failed");
    for (sum, outcome) in [
        ("ok", "ok"),
        ("warnings", "warning"),
        ("failed", "failed"),
        ("not_checked", "not_checked"),
    ] {
        assert_eq!(report[sum], checked.of(outcome).len(), "{sum}");
    }
    assert!(checked.text.contains("  failed           action Echo\n"), "{}", checked.text);
    assert!(!checked.text.contains('\u{1b}'));
    let client = json!({"event": "Error", "tag": "myxi-check", "payload":
        {"error": "InternalError", "retryable": false, "outcome": "unknown"}});
    let seen = checked.found("action Echo")["client_sees"].as_str().expect("a frame");
    assert_eq!(serde_json::from_str::<serde_json::Value>(seen).expect("JSON"), client);
}

#[tokio::test]
async fn json_takes_the_place_of_the_text_where_it_is_wanted() {
    let handler = format!("--action-handler=http://{}", free_address());
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_myxi"));
    command.args(["check", &handler, "--json=-", "--wait=0s"]).env_clear();
    let output = within(DEADLINE, "myxi check", command.output()).await.expect("it runs");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON alone");
    assert_eq!(report["checks"][0]["outcome"], "failed");
    assert!(output.stderr.is_empty());
}

#[tokio::test]
async fn what_was_found_is_told_where_a_file_cannot_be_written() {
    let handler = format!("--action-handler=http://{}", free_address());
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_myxi"));
    let files = ["--json=/nowhere/report.json", "--junit=/nowhere/report.xml"];
    command.args(["check", "--config", "--exchange=no name", &handler, "--wait=0s"]);
    command.args(files).env_clear();
    let output = within(DEADLINE, "myxi check", command.output()).await.expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(text(&output.stdout).contains("1 failed"), "{output:?}");
    for file in files {
        let (_, path) = file.split_once('=').expect("a path");
        assert!(text(&output.stderr).contains(&format!("cannot write {path}")), "{output:?}");
    }
    // Of the configuration, which is none.
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test]
async fn what_makes_no_sense_is_told_at_once_and_nothing_is_asked() {
    let nothing = check(&[]).await;
    assert_eq!(nothing.code, Some(2));
    assert!(nothing.complaints.contains("there is nothing to check"), "{}", nothing.complaints);
    let wrong = check(&[
        "--action-handler=here",
        "--action=Ping",
        "--action=Say={text}",
        "--auth=adam",
        "--allow=rooms",
        "--deny=no room:1",
        "--wait=soon",
    ])
    .await;
    assert_eq!(wrong.code, Some(2));
    let said = |what: &str| assert!(wrong.complaints.contains(what), "{}", wrong.complaints);
    said("--action-handler: \"here\"");
    said("--action: Ping is the gateway's own");
    said("--action: what is given is not JSON");
    said("--auth: what is given is not JSON");
    assert!(!wrong.complaints.contains("adam"), "{}", wrong.complaints);
    said("--allow: \"rooms\" has no colon");
    said("--deny: \"no room:1\": exchange must be");
    said("--wait: ");
    let bare = check(&["--broker"]).await;
    assert_eq!(bare.code, Some(2));
    assert!(bare.complaints.contains("--broker: neither a URL nor RABBITMQ_URL"));
}

#[tokio::test]
async fn without_a_face_the_variables_say_what_is_checked() {
    let (app, nobody) = (well::good().await, free_address());
    let handler = app.endpoint();
    let broker = format!("amqp://{nobody}");
    let variables = [("MYXI_ACTION_HANDLER", handler.as_str()), ("RABBITMQ_URL", &broker)];
    let both = check_with(&[], &variables).await;
    let faces: Vec<_> = both.checks().filter(|check| check["name"] == "reachable").collect();
    assert_eq!(faces.iter().map(|check| &check["of"]).collect::<Vec<_>>(), ["handler", "broker"]);
    assert_eq!(both.code, Some(1), "{}", both.text);
    let one = check_with(&["--broker"], &variables).await;
    one.failed("reachable", "refused");
}
