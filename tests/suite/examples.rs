//! The handlers of `examples`, one for each language: all are the same chat, are asked by a real
//! gateway over TCP and over a unix socket, and do the same when something goes wrong.

mod contract;
mod deploys;
mod failures;
mod scenario;

use serde_json::{Value, json};

use crate::support::{client::Client, example::Example};

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

/// The crate is built here with what the gateway is built with: its own file asks for the same.
#[test]
fn the_crate_in_rust_asks_for_what_it_was_built_with() {
    let wants = |toml: &str, name: &str| {
        let line = toml.lines().find_map(|line| line.strip_prefix(&format!("{name} = ")))?;
        line.split('"')
            .find(|part| part.starts_with(|c: char| c.is_ascii_digit()))
            .map(str::to_owned)
    };
    let (gateway, chat) =
        (include_str!("../../Cargo.toml"), include_str!("../../examples/rust/Cargo.toml"));
    let (_, dependencies) = chat.split_once("dependencies]").expect("a section");
    let names: Vec<_> = dependencies.lines().filter_map(|line| line.split_once(" = ")).collect();
    assert!(!names.is_empty());
    for (name, _) in names {
        assert_eq!(wants(chat, name), wants(gateway, name), "{name}");
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

/// What a client is told whose action may have happened.
fn unknown(code: &str) -> Value {
    json!({"error": code, "retryable": false, "outcome": "unknown"})
}
