//! What the gRPC runtimes of applications do by themselves, behind the back of their handlers:
//! seen with the stock servers of five languages, each case in each of them.

/// A test for each language: `case::language`.
macro_rules! in_languages {
    ($case:ident: $($language:ident)+) => {
        mod $case {
            $(
                #[tokio::test]
                #[expect(non_snake_case, reason = "a language's name")]
                async fn $language() {
                    super::$case(crate::support::runtime::Runtime::$language).await;
                }
            )+
        }
    };
}

mod ends;
mod replies;
mod token;

use serde_json::{Value, json};

use crate::support::{process::Myxi, runtime::Runtime, script::Script};

/// The application, and a gateway that asks it and has all the time in the world.
async fn start(runtime: Runtime, options: &[&str]) -> (Script, Myxi) {
    let (app, port) = runtime.start(options).await;
    let gateway = gateway(port, &["--action-timeout=1h"]).await;
    gateway.ready().await;
    (app, gateway)
}

/// It need not be ready.
pub async fn gateway(port: u16, flags: &[&str]) -> Myxi {
    let mut command = Myxi::bare_with(flags);
    command.args(["--exchange=widgets", "--log=debug"]);
    command.arg(format!("--action-handler=http://127.0.0.1:{port}"));
    Myxi::run(command).await
}

fn unknown(code: &str) -> Value {
    json!({"error": code, "retryable": false, "outcome": "unknown"})
}

pub fn began(number: usize) -> String {
    format!("began {number}")
}

pub fn finished(number: usize) -> String {
    format!("finished {number}")
}

async fn finish(mut app: Script, expected: &[String]) {
    app.tell("go on").await;
    assert_eq!(app.rest().await, expected);
}
