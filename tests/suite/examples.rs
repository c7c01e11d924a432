//! The handlers of `examples`, one for each language: all are the same chat, are asked by a real
//! gateway over TCP and over a unix socket, and do the same when something goes wrong.

mod contract;
mod deploys;
mod failures;
mod scenario;

use std::{
    collections::HashSet,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    process::Command,
};

use serde_json::{Value, json};

use crate::support::{TempDir, client::Client, example::Example};

/// A module of tests for each language.
macro_rules! in_languages {
    ($($language:ident)+) => {
        $(
            #[expect(non_snake_case, reason = "a language's name")]
            mod $language {
                use super::{contract, deploys, failures, scenario};
                use crate::support::example::{
                    Language::$language,
                    Place::{Tcp, Unix},
                };

                #[tokio::test]
                async fn plays_the_chat() {
                    scenario::plays_the_chat($language, Tcp).await;
                }

                #[tokio::test]
                async fn plays_the_chat_over_a_unix_socket() {
                    scenario::plays_the_chat($language, Unix).await;
                }

                #[tokio::test]
                async fn keeps_the_contract() {
                    contract::keeps_the_contract($language, Tcp).await;
                    contract::keeps_the_contract($language, Unix).await;
                }

                #[tokio::test]
                async fn what_fails_is_told_and_ends_nothing_else() {
                    failures::what_fails_is_told_and_ends_nothing_else($language, Tcp).await;
                    failures::what_fails_is_told_and_ends_nothing_else($language, Unix).await;
                }

                #[tokio::test]
                async fn who_hangs_is_waited_for_until_the_timeout() {
                    tokio::join!(
                        failures::who_hangs_is_waited_for_until_the_timeout($language, Tcp),
                        failures::who_hangs_is_waited_for_until_the_timeout($language, Unix),
                    );
                }

                #[tokio::test]
                async fn who_hangs_in_one_call_answers_the_others() {
                    tokio::join!(
                        failures::who_hangs_in_one_call_answers_the_others($language, Tcp),
                        failures::who_hangs_in_one_call_answers_the_others($language, Unix),
                    );
                }

                #[tokio::test]
                async fn a_kill_may_have_happened_after_the_action() {
                    deploys::a_kill_may_have_happened_after_the_action($language, Tcp).await;
                }

                #[tokio::test]
                async fn a_kill_leaves_a_socket_that_the_next_takes_over() {
                    deploys::a_kill_may_have_happened_after_the_action($language, Unix).await;
                }

                #[tokio::test]
                async fn a_stop_finishes_what_is_under_way() {
                    deploys::a_stop_finishes_what_is_under_way($language, Tcp).await;
                }

                #[tokio::test]
                async fn a_stop_over_a_unix_socket_finishes_it_too() {
                    deploys::a_stop_finishes_what_is_under_way($language, Unix).await;
                }
            }
        )+
    };
}

in_languages!(Python Node Go Java Ruby Rust);

/// The tests start the crate as it is built with the gateway; by itself it is built with the same.
#[test]
fn the_crate_in_rust_is_locked_to_what_it_is_tested_with() {
    let packages = |lock: &'static str| {
        lock.split("[[package]]\n").skip(1).map(|package| package.lines().take(2).collect())
    };
    let (gateway, chat) =
        (include_str!("../../Cargo.lock"), include_str!("../../examples/rust/Cargo.lock"));
    let gateway: HashSet<Vec<_>> = packages(gateway).collect();
    let others: Vec<_> = packages(chat).filter(|package| !gateway.contains(package)).collect();
    assert_eq!(others, [[r#"name = "myxi-chat""#, r#"version = "0.1.0""#]]);
}

/// Of programs that say they are of this version, in place of those of this machine.
#[test]
fn what_this_machine_is_too_old_for_is_told() {
    let lacks = |language: &str, program: &str, says: &str| {
        let directory = TempDir::new("lacks");
        let path = directory.path().join(program);
        fs::write(&path, format!("#!/bin/sh\necho '{says}'\n")).expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("it may run");
        let own = std::env::var("PATH").expect("a path");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/runtimes/lacks");
        let path = format!("{}:{own}", directory.path().display());
        let output =
            Command::new(script).arg(language).env("PATH", path).output().expect("it runs");
        let said = String::from_utf8(output.stdout).expect("text");
        // What can be built is no reason, and nothing else fails as that.
        assert_eq!(output.status.code(), Some(said.is_empty().into()), "{language}: {said}");
        said
    };
    assert_eq!(lacks("go", "go", "go1.19.8"), "Go 1.24 or later, and there is 1.19.8\n");
    assert_eq!(lacks("helm", "go", "go1.23"), "Go 1.24 or later, and there is 1.23\n");
    assert_eq!(lacks("node", "node", "v18.19.0"), "Node 20 or later, and there is 18.19.0\n");
    assert_eq!(lacks("java", "javac", "javac 11.0.2"), "Java 17 or later, and there is 11.0.2\n");
    assert_eq!(lacks("ruby", "ruby", "ruby 2.7.4p191"), "Ruby 3.0 or later, and there is 2.7.4\n");
    assert_eq!(
        lacks("python", "python3", "Python 3.9.2"),
        "Python 3.10 or later, and there is 3.9.2\n"
    );
    for (language, program, says) in [
        ("go", "go", "go1.24"),
        ("node", "node", "v20.0.0"),
        ("java", "javac", "javac 17.0.15"),
        ("ruby", "ruby", "ruby 3.1.2p20"),
        ("python", "python3", "Python 3.11.7"),
    ] {
        assert_eq!(lacks(language, program, says), "");
    }
}

/// A client that has been greeted, and is this user.
async fn user(example: &Example, name: &str) -> Client {
    let mut client = example.gateway.client().await;
    client.event("Greeting").await;
    let token = json!({"token": format!("{name}-secret")});
    let answer = client.request("Authenticate", token).await;
    assert_eq!(answer["payload"], json!({"user": name}), "{answer}");
    client
}

/// What is said in the lobby.
fn hi() -> Value {
    json!({"room": "lobby", "text": "hi"})
}

/// What a client is told whose action may have happened.
fn unknown(code: &str) -> Value {
    json!({"error": code, "retryable": false, "outcome": "unknown"})
}
