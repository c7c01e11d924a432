//! `myxi health`: the probe's word and its exit code, from inside the gateway's own environment.

use tokio::net::TcpListener;

use super::{bare, end, myxi};
use crate::support::{
    gateway::Gateway,
    handler::{TestHandler, free_address},
};

#[tokio::test]
async fn a_gateway_that_should_get_clients_is_well_and_another_is_not() {
    let app = TestHandler::start().await;
    let gateway = Gateway::with(&app, &["--exchange=widgets", "--health-on-listen"]).await;
    assert_eq!(end(myxi(&gateway, &["health"])).await.well(), "ready\n");
    assert_eq!(end(myxi(&gateway, &["health", "--live"])).await.well(), "live\n");
    assert_eq!(end(myxi(&gateway, &["health", "--strict"])).await.well(), "ready\n");
    let clients = format!("--admin=http://{}", gateway.clients);
    assert_eq!(end(bare(&["health", &clients])).await.well(), "ready\n");

    // In a container it listens on all addresses, and the probe asks one of them.
    let mut command = bare(&["health"]);
    command.env("MYXI_ADMIN_LISTEN", format!("0.0.0.0:{}", gateway.admin.port()));
    assert_eq!(end(command).await.well(), "ready\n");

    app.kill();
    gateway.health_becomes("degraded").await;
    let degraded = end(myxi(&gateway, &["health"])).await.well();
    assert!(degraded.starts_with("degraded: the application: "), "{degraded}");
    let ended = end(myxi(&gateway, &["health", "--strict"])).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), &*degraded), "{ended:#?}");

    // Without a broker it never begins.
    let nowhere = ["--exchange=widgets", "--rabbitmq-url=amqp://127.0.0.1:9"];
    let gateway = Gateway::unready(&app, &nowhere).await;
    let ended = end(myxi(&gateway, &["health"])).await;
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    assert!(ended.stdout.starts_with("starting: "), "{ended:#?}");
}

#[tokio::test]
async fn who_is_not_there_or_says_nothing_is_not_well() {
    let nobody = free_address();
    let at = format!("--admin=http://{nobody}");
    let said = end(bare(&["health", &at])).await.badly();
    assert!(said.contains(&format!("is not reachable at http://{nobody}/")), "{said}");

    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = format!("--admin=http://{}", silent.local_addr().expect("its address"));
    let said = end(bare(&["health", &at])).await.badly();
    assert!(said.contains("no answer within 3s"), "{said}");
}
