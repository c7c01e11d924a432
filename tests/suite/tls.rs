//! A broker behind TLS (`amqps://`): trusted by its certificate, and by nothing less.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;

use crate::support::{
    DEADLINE, fleet::Fleet, handler::free_address, process::Myxi, rabbitmq::RabbitMq, unique,
    within,
};

/// A certificate authority, and a certificate of `localhost`. Removed on drop.
pub struct Authority(PathBuf);

impl Authority {
    pub fn new() -> Self {
        let dir = std::env::temp_dir().join(unique("myxi-test-tls"));
        fs::create_dir(&dir).expect("a directory for certificates");
        let authority = Self(dir);
        authority.make("ca", "/CN=test authority", &[]);
        let signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=CA:FALSE"];
        let named = ["-addext", "subjectAltName=DNS:localhost"];
        authority.make("broker", "/CN=broker", &[signed.as_slice(), &named].concat());
        authority
    }

    fn make(&self, name: &str, subject: &str, more: &[&str]) {
        let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        openssl.args(["-nodes", "-days", "2", "-subj", subject]);
        openssl.args(["-keyout", &key, "-out", &certificate]).args(more);
        let output = openssl.current_dir(&self.0).output().expect("openssl");
        assert!(output.status.success(), "{output:?}");
    }

    pub fn file(&self, name: &str) -> String {
        Path::new(&self.0).join(name).display().to_string()
    }

    /// Lets the broker listen with its certificate, and answers the port.
    async fn listen(&self, broker: &RabbitMq) -> u16 {
        let port = free_address().port();
        let [ca, certificate, key] = ["ca.pem", "broker.pem", "broker.key"].map(|f| self.file(f));
        let start = format!(
            r#"rabbit_networking:ensure_ssl(), rabbit_networking:start_ssl_listener(
                {{"127.0.0.1", {port}}},
                [{{cacertfile, "{ca}"}}, {{certfile, "{certificate}"}}, {{keyfile, "{key}"}}],
                1)."#
        );
        assert_eq!(broker.ctl(&["eval", &start]).await.trim(), "ok");
        port
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A replica of the fleet that reaches the broker at `url`, and trusts this file.
async fn replica(fleet: &Fleet, url: &str, trusted: &str) -> Myxi {
    let mut command = Myxi::bare();
    command.args(["--rabbitmq-url", url, "--exchange", &fleet.exchange]);
    command.args(["--action-handler", &fleet.app.endpoint()]);
    command.env("SSL_CERT_FILE", trusted).env_remove("SSL_CERT_DIR");
    Myxi::run(command).await
}

#[tokio::test]
async fn a_broker_whose_certificate_is_trusted_is_used_like_any_other() {
    let (broker, authority) = (RabbitMq::shared().await, Authority::new());
    let port = authority.listen(broker).await;
    let fleet = Fleet::start(broker, 1).await;
    let url = format!("amqps://guest:guest@localhost:{port}/%2f");
    let secured = replica(&fleet, &url, &authority.file("ca.pem")).await;
    secured.ready().await;

    let mut plain_client = fleet[0].subscribers(1, &fleet.exchange, "1").await.remove(0);
    let mut secured_client = secured.subscribers(1, &fleet.exchange, "1").await.remove(0);
    fleet[0].push(&fleet.exchange, "1", "Out", json!("x".repeat(100_000))).await;
    secured.push(&fleet.exchange, "1", "Back", json!("x".repeat(100_000))).await;
    for client in [&mut plain_client, &mut secured_client] {
        client.event("Out").await;
        client.event("Back").await;
    }
}

#[tokio::test]
async fn a_broker_that_cannot_prove_who_it_is_is_not_used() {
    let (broker, authority, stranger) =
        (RabbitMq::shared().await, Authority::new(), Authority::new());
    let port = authority.listen(broker).await;
    let fleet = Fleet::start(broker, 0).await;
    for (host, trusted, why) in [
        ("localhost", &stranger, "an authority that nobody named"),
        ("127.0.0.1", &authority, "a certificate of another name"),
    ] {
        let url = format!("amqps://guest:S3CR3T@{host}:{port}/%2f");
        let replica = replica(&fleet, &url, &trusted.file("ca.pem")).await;
        let told = within(DEADLINE, why, async {
            loop {
                let (status, body) = replica.health().await;
                assert_eq!((status, &body["status"]), (503, &json!("starting")), "{why}: {body}");
                if body["reasons"].to_string().contains("certificate") {
                    return body;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        });
        let told = told.await;
        assert!(!told.to_string().contains("S3CR3T"), "{told}");
        assert!(!replica.log().concat().contains("S3CR3T"), "{:#?}", replica.log());
    }
}
