//! The rights that a gateway's user needs on the broker, as docs/deploy.md has them: on a virtual
//! host where nothing is yet, and on one where everything is.

use serde_json::json;
use tonic::Code;

use crate::support::{
    gateway::Gateway,
    handler::TestHandler,
    rabbitmq::{RIGHTS, RabbitMq},
    unique,
};

const PAGE: &str = include_str!("../../docs/deploy.md");

/// To configure, to write and to read, where somebody else has made everything.
const FEWER: [&str; 3] = [r"^myxi\.replica\.", r"^myxi\.(in\.|replica)", r"^myxi\.(log\.|replica)"];

#[tokio::test]
async fn the_documented_rights_are_enough_from_nothing_on_and_fewer_afterwards() {
    let broker = RabbitMq::shared().await;
    let (vhost, few) = (unique("vhost"), unique("few"));
    broker.ctl(&["add_vhost", &vhost]).await;
    let allow = async |user: &str, [configure, write, read]: [&str; 3]| {
        broker.ctl(&["set_permissions", "-p", &vhost, user, configure, write, read]).await;
    };
    allow("myxi", [RIGHTS; 3]).await;
    let exchange = unique("widgets");
    everything_works(&broker.url_of("myxi", &vhost), &exchange).await;

    broker.ctl(&["add_user", &few, &few]).await;
    allow(&few, FEWER).await;
    everything_works(&broker.url_of(&few, &vhost), &exchange).await;
    for right in [RIGHTS].iter().chain(&FEWER) {
        assert!(PAGE.contains(&format!("`{right}`")), "the page does not name {right}");
    }
}

/// The page's example has a name of its own, and needs a right to it.
#[tokio::test]
async fn the_documented_rights_are_enough_for_a_direct_exchange() {
    const RIGHT: &str = r"^(myxi\.|widgets$)";
    assert!(PAGE.contains(&format!("`{RIGHT}`")), "the page does not name {RIGHT}");
    let (broker, user) = (RabbitMq::shared().await, unique("direct"));
    broker.ctl(&["add_user", &user, &user]).await;
    for kind in ["kind=direct", "also-direct=true"] {
        let vhost = unique("vhost");
        broker.ctl(&["add_vhost", &vhost]).await;
        broker.ctl(&["set_permissions", "-p", &vhost, &user, RIGHT, RIGHT, RIGHT]).await;
        everything_works_as(&broker.url_of(&user, &vhost), "widgets", kind).await;
    }
}

async fn everything_works(url: &str, exchange: &str) {
    everything_works_as(url, exchange, "kind=stream").await;
}

async fn everything_works_as(url: &str, exchange: &str, kind: &str) {
    let app = TestHandler::start().await;
    let flags = [format!("--rabbitmq-url={url}"), format!("--exchange={exchange};{kind}")];
    let flags = flags.each_ref().map(String::as_str);
    let replicas = [Gateway::with(&app, &flags).await, Gateway::with(&app, &flags).await];
    for (here, there) in [(0, 1), (1, 0)] {
        let mut client = replicas[here].client().await;
        client.subscribe(exchange, "1").await;
        replicas[there].push(exchange, "1", "Pushed", json!({})).await;
        client.event("Pushed").await;
        assert_eq!(
            replicas[there].try_send_event(&client.id, "Sent").await.map_err(|e| e.to_string()),
            Ok(())
        );
        client.event("Sent").await;
        assert_eq!(replicas[there].disconnect(&client.id, 4001, "").await, Code::Ok);
        assert_eq!(client.closed().await.code, 4001);
    }
}
