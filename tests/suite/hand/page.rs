//! The examples of `docs/commands.md`, as they stand there.

use std::process::Stdio;

use tokio::process::Command;

use super::end;
use crate::support::{
    TempDir,
    gateway::Gateway,
    handler::{TestHandler, reply},
};

const PAGE: &str = include_str!("../../../docs/commands.md");

/// Of the page's session.
const SESSION: &str = "5edab4db47677f46";

#[tokio::test]
async fn the_examples_do_what_is_said_of_them() {
    let app = TestHandler::start().await;
    app.on("Authenticate", |_| Ok(reply::set_auth(r#"{"user":"adam"}"#)));
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    client.request("Authenticate", serde_json::json!({})).await;
    client.subscribe("widgets", "1").await;
    let directory = TempDir::new("commands");
    let mut printed = Vec::new();
    for block in PAGE.split("```sh\n").skip(1) {
        let script = block.split("```").next().expect("an end").replace(SESSION, &client.id);
        printed.push(end(bash(&gateway, &directory, &script)).await.well());
        if script.contains("myxi push") {
            // Each has its line.
            for _ in printed.last().expect("one").lines() {
                client.event("WidgetChanged").await;
            }
        }
    }
    let [one, payloads, line, tail, sessions, to_one, health, paper] = &printed[..] else {
        panic!("{printed:#?}")
    };
    let counts = [one, payloads, line, tail].map(|printed| printed.lines().count());
    assert_eq!(counts, [1, 2, 1, 2]);
    assert!(tail.ends_with('\n') && tail.contains(r#""payload":{"quantity":10},"#), "{tail}");
    assert!(sessions.contains(r#"{"user":"adam"}"#) && sessions.contains(&client.id), "{sessions}");
    assert_eq!((&**to_one, &**health, &**paper), ("", "ready\n", ""));
    client.event("Notice").await;
    assert_eq!(client.closed().await.code, 4000);
}

fn bash(gateway: &Gateway, directory: &TempDir, script: &str) -> Command {
    let folder = std::path::Path::new(env!("CARGO_BIN_EXE_myxi")).parent().expect("a folder");
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("bash");
    command
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(directory.path())
        .env_clear()
        .env("PATH", path)
        .env("MYXI_LISTEN", gateway.clients.to_string())
        .env("MYXI_GRPC_LISTEN", gateway.grpc.to_string())
        .env("MYXI_ADMIN_LISTEN", gateway.admin.to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}
