//! Handlers that take their time, in all languages at once, as it takes real time: stock
//! servers end a connection on which they are pinged every few seconds, after 10 s (Java) to
//! 25 s (Python), with everybody's calls. Tests run in the order of the alphabet: this one, which
//! waits for two minutes, begins with the first.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    runtimes::{began, finished, gateway},
    support::{DEADLINE, client::Client, runtime::Runtime, within},
};

/// Each lasts as long as an action may: two minutes together.
const HANGING: usize = 40;
/// In silence, before somebody else's action.
const IN_A_ROW: usize = 8;

#[tokio::test]
async fn no_runtime_sends_a_gateway_away_for_its_patience() {
    let ended = join_all(Runtime::ALL.map(|runtime| tokio::spawn(hanging(runtime))));
    let well = join_all(Runtime::ALL.map(|runtime| tokio::spawn(slow(runtime))));
    let (ended, well) = tokio::join!(ended, well);
    let failed: Vec<_> = (Runtime::ALL.iter().zip(ended.iter().zip(&well)))
        .filter(|(_, (hanging, slow))| hanging.is_err() || slow.is_err())
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// A handler that hangs, over and over, is nobody else's affair.
async fn hanging(runtime: Runtime) {
    // Those that hang must leave room for others.
    let pool: &[&str] = if runtime.at_once() <= HANGING { &["workers=64"] } else { &[] };
    let (app, port) = runtime.start(pool).await;
    let gateway = gateway(port, &["--action-timeout=3s"]).await;
    gateway.ready().await;
    let (mut impatient, mut other) = (gateway.client().await, gateway.client().await);
    for number in 0..HANGING {
        let hanging = asked(&mut impatient, "Hold", number).await;
        assert_eq!(hanging["payload"]["error"], "ActionTimeout", "{runtime:?}: {hanging}");
        if (number + 1) % IN_A_ROW == 0 {
            let mut under_way = gateway.client().await;
            tokio::join!(
                is_answered(&mut under_way, "Wait", 1),
                is_answered(&mut other, "Act", 100 + number),
            );
        }
    }
    let log = gateway.log();
    assert!(!log.iter().any(|line| line.contains("sent this gateway away")), "{log:#?}");
    drop(app);
}

/// What comes of it, once it is asked: between two connections it is asked of nobody.
async fn asked(client: &mut Client, action: &str, number: usize) -> Value {
    within(DEADLINE, "a connection to the application", async {
        loop {
            let came = client.request(action, json!(number)).await;
            let nobody = json!({"error": "ApplicationUnavailable", "retryable": true});
            if came["payload"] != nobody {
                return came;
            }
        }
    })
    .await
}

/// At last: a machine that has other things to do may take longer than the timeout.
async fn is_answered(client: &mut Client, action: &str, number: usize) {
    for _ in 0..5 {
        let came = asked(client, action, number).await;
        if came["event"] == "Answer" {
            return;
        }
        assert_eq!(came["payload"]["error"], "ActionTimeout", "{came}");
    }
    panic!("{action} is not answered in time");
}

/// Within the timeout, but longer than pings at an interval would have been borne.
async fn slow(runtime: Runtime) {
    let (mut app, port) = runtime.start(&[]).await;
    let gateway = gateway(port, &["--action-timeout=120s"]).await;
    gateway.ready().await;
    let answer = gateway.client().await.request("Wait", json!(45)).await;
    assert_eq!(answer["event"], "Answer", "{runtime:?}: {answer}");
    app.tell("go on").await;
    assert_eq!(app.rest().await, [began(45), finished(45)]);
}
