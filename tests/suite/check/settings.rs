//! `myxi check --config`: what `serve` would say.

use super::{check, check_with};

#[tokio::test]
async fn a_configuration_is_told_in_short_and_without_a_secret() {
    let checked = check_with(
        &[
            "--config",
            "--exchange=widgets,old;kind=direct",
            "--grpc-token=s3cret",
            "--listen=[::]:1",
        ],
        &[
            ("MYXI_ACTION_HANDLER", "unix:/run/app.sock"),
            ("MYXI_ACTION_HANDLER_TOKEN", "s3cret"),
            ("RABBITMQ_URL", "amqp://me:s3cret@broker/shop"),
        ],
    )
    .await;
    assert_eq!(checked.code, Some(0), "{}{}", checked.text, checked.complaints);
    checked.is(
        "ok",
        "listeners",
        "clients [::]:1; the Gateway service 127.0.0.1:5006 with a token",
    );
    checked.is("ok", "application", "unix:/run/app.sock with a token");
    checked.is("ok", "bus", "amqp://broker:5672/shop; widgets (Stream");
    for said in [&checked.text, &checked.complaints, &checked.junit] {
        assert!(!said.contains("s3cret"), "{said}");
    }
    // Only the configuration: nobody is asked.
    assert!(!checked.text.contains("reachable"), "{}", checked.text);
}

#[tokio::test]
async fn all_that_is_wrong_with_it_is_told_at_once() {
    let checked = check(&["--config", "--listen=here", "--max-outbox=1B"]).await;
    assert_eq!(checked.code, Some(2), "{}", checked.text);
    checked.is("failed", "--listen", "\"here\" is not an IP address and a port");
    checked.is("failed", "--max-outbox", "");
    assert_eq!(checked.of("failed").len(), 4, "{}", checked.text);
    assert!(checked.text.contains("--action-handler (MYXI_ACTION_HANDLER) is missing"));
    assert!(checked.text.contains("--exchange (MYXI_EXCHANGES) is missing"));
}

#[tokio::test]
async fn without_a_broker_a_configuration_has_a_warning() {
    let checked = check(&["--config", "--action-handler=unix:/none", "--exchange=widgets"]).await;
    checked.warned("note", "without --rabbitmq-url");
    assert_eq!(checked.code, Some(0));
    let flags = ["--config", "--handler", "--action-handler=unix:/none", "--exchange=widgets"];
    let both = check(&flags).await;
    both.is("ok", "application", "unix:/none");
    both.failed("reachable", "cannot be reached");
}
