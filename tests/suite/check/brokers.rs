//! `myxi check --broker` and a real RabbitMQ: what a user may, what is found, and that nothing is
//! left behind or touched.

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{Checked, check};
use crate::support::{
    handler::free_address,
    program::Program,
    rabbitmq::{RIGHTS, RabbitMq},
    unique,
};

/// Each right by itself.
const STEPS: [&str; 6] = ["configure", "streams", "bind", "write", "read", "direct"];

/// A virtual host of the test's own, and a user with these rights to it.
async fn user(broker: &RabbitMq, [configure, write, read]: [&str; 3]) -> (String, String) {
    let (vhost, user) = (unique("vhost"), unique("user"));
    broker.ctl(&["add_vhost", &vhost]).await;
    broker.ctl(&["add_user", &user, &user]).await;
    broker.ctl(&["set_permissions", "-p", &vhost, &user, configure, write, read]).await;
    (broker.url_of(&user, &vhost), vhost)
}

/// Everything in it by name.
async fn inventory(broker: &RabbitMq, vhost: &str) -> String {
    let queues = broker.ctl(&["list_queues", "-p", vhost, "name", "type", "arguments"]).await;
    let exchanges = broker.ctl(&["list_exchanges", "-p", vhost, "name", "type"]).await;
    let mut lines: Vec<_> = queues.lines().chain(exchanges.lines()).collect();
    lines.sort_unstable();
    lines.join("\n")
}

async fn check_broker(url: &str, more: &[&str]) -> Checked {
    let flags = [&["--broker", url], more].concat();
    check(&flags).await
}

#[tokio::test]
async fn the_documented_rights_pass_and_nothing_is_left() {
    let broker = RabbitMq::shared().await;
    let (url, vhost) = user(broker, [RIGHTS; 3]).await;
    let before = inventory(broker, &vhost).await;
    let checked = check_broker(&url, &[]).await;
    assert_eq!(checked.code, Some(0), "{}", checked.text);
    for step in STEPS {
        checked.is("ok", step, "done");
    }
    checked.is("ok", "version", "RabbitMQ 3.");
    checked.is("ok", "tidied", "nothing");
    assert_eq!(checked.of("not_checked"), ["exchanges", "policies", "bounds", "alarms"]);
    assert_eq!(inventory(broker, &vhost).await, before);
    assert!(!checked.text.contains(url.split(':').nth(2).expect("a password")), "{}", checked.text);
}

#[tokio::test]
async fn each_right_that_is_missing_is_found_and_what_to_give_is_said() {
    let broker = RabbitMq::shared().await;
    for (rights, refused, done) in [
        (["^$", RIGHTS, RIGHTS], &["configure", "streams", "direct"][..], &[][..]),
        ([RIGHTS, "^$", RIGHTS], &["bind", "direct"], &["configure", "streams"]),
        ([RIGHTS, RIGHTS, "^$"], &["bind", "direct"], &["configure", "streams"]),
        (["^other", "^other", "^other"], &["configure", "streams", "direct"], &[]),
    ] {
        let (url, vhost) = user(broker, rights).await;
        let before = inventory(broker, &vhost).await;
        let checked = check_broker(&url, &[]).await;
        assert_eq!(checked.of("failed"), refused, "{rights:?}\n{}", checked.text);
        for step in refused {
            checked.failed(step, "ACCESS_REFUSED");
            let advice = checked.found(step)["to_do"].as_str().expect("advice");
            assert!(advice.contains(r"'^myxi\.' '^myxi\.' '^myxi\.'"), "{advice}");
        }
        for step in done {
            checked.is("ok", step, "done");
        }
        assert_eq!(inventory(broker, &vhost).await, before, "{rights:?}");
    }
}

/// As the README has it, where somebody else has made everything.
#[tokio::test]
async fn fewer_rights_are_a_warning_where_the_exchanges_are_there() {
    let broker = RabbitMq::shared().await;
    let few = [r"^myxi\.replica\.", r"^myxi\.(in\.|replica)", r"^myxi\.(log\.|replica)"];
    let (url, vhost) = user(broker, few).await;
    let exchange = unique("there");
    let missing = check_broker(&url, &["--exchange", &exchange]).await;
    missing.is("ok", "exchanges", &format!("myxi.log.{exchange} is not there yet"));
    missing.failed("configure", "ACCESS_REFUSED");

    let all = [".*", ".*", ".*"];
    broker.ctl(&[&["set_permissions", "-p", &vhost, "guest"], &all[..]].concat()).await;
    let program = Program::connect_to(&broker.url_of("guest", &vhost)).await;
    program.declare_durable(&format!("myxi.in.{exchange}"), lapin::ExchangeKind::Fanout).await;
    program.declare_log(&exchange, "1h").await;
    program.bind(&exchange).await;
    let before = inventory(broker, &vhost).await;
    let checked = check_broker(&url, &["--exchange", &exchange]).await;
    assert_eq!(checked.code, Some(0), "{}", checked.text);
    checked.is("ok", "exchanges", "everything is there");
    checked.warned("configure", "ACCESS_REFUSED");
    assert_eq!(inventory(broker, &vhost).await, before);
}

#[tokio::test]
async fn who_cannot_be_reached_or_lets_nobody_in_is_told_apart() {
    let broker = RabbitMq::shared().await;
    let port = broker.port();
    for (url, came, advice) in [
        (format!("amqp://{}", free_address()), "refused", "start it"),
        (format!("amqp://myxi:wr0ng@127.0.0.1:{port}/%2f"), "ACCESS", "the user or the password"),
        (format!("amqp://myxi:myxi@127.0.0.1:{port}/none"), "vhost", "the virtual host"),
    ] {
        let checked = check_broker(&url, &[]).await;
        checked.failed("reachable", came);
        let found = checked.found("reachable");
        assert!(found["to_do"].as_str().is_some_and(|said| said.contains(advice)), "{found}");
        checked.is("not_checked", "everything-else", "");
        assert!(!checked.text.contains("wr0ng"));
    }
}

#[tokio::test]
async fn a_memory_alarm_is_what_holds_the_publishing_up() {
    let mut broker = RabbitMq::exclusive().await;
    broker.block_publishers().await;
    let checked = check_broker(&broker.url_of("myxi", "%2f"), &[]).await;
    checked.failed("write", "memory or disk alarm");
    checked.is("ok", "tidied", "nothing");
    broker.unblock_publishers().await;
}

/// What RabbitMQ's management plugin answers, as much of it as is read.
#[tokio::test]
async fn policies_and_alarms_are_seen_with_the_management_api_only() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let policies = json!([{"vhost": "/", "name": "ttl", "pattern": ".*", "apply-to": "queues",
        "definition": {"message-ttl": 1000}, "priority": 0}]);
    let nodes = json!([{"name": "rabbit@one", "mem_alarm": false, "disk_free_alarm": true},
        {"name": "rabbit@two", "mem_alarm": false, "disk_free_alarm": false}]);
    let rooms = json!({"arguments": {"x-queue-type": "stream", "x-max-age": "1h"},
        "effective_policy_definition": {}});
    let server = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") && socket.read_buf(&mut request).await.is_ok() {}
            let request = String::from_utf8_lossy(&request);
            let (status, body) = match request.split(' ').nth(1) {
                // me:s3cret
                _ if !request.contains("Basic bWU6czNjcmV0\r\n") => ("401 Unauthorized", json!({})),
                Some("/api/policies/%2F") => ("200 OK", policies.clone()),
                Some("/api/nodes") => ("200 OK", nodes.clone()),
                Some("/api/queues/%2F/myxi.log.rooms") => ("200 OK", rooms.clone()),
                _ => ("404 Not Found", json!({})),
            };
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n\r\n{body}");
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    let broker = format!("amqp://{}", free_address());
    let management = format!("--management-url=http://me:s3cret@{address}");
    let checked = check_broker(&broker, &[&management, "--exchange=rooms,lobby"]).await;
    checked.warned("bounds", r#"rooms: max-age "1h""#);
    checked.warned("policies", r#"ttl on ".*": {"message-ttl":1000}"#);
    checked.failed("alarms", "rabbit@one");
    let stranger = format!("--management-url=http://me:wr0ng@{address}");
    let checked = check_broker(&broker, &[&stranger]).await;
    checked.warned("policies", "not seen: it answered \"HTTP/1.1 401 Unauthorized\"");
    assert!(!checked.text.contains("wr0ng"));
    server.abort();
}
