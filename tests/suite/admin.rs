//! The admin listener: what an operator sees there, and who may.

mod access;
mod disconnect;
mod events;
mod overview;
mod push;
mod tables;

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::time::sleep;

use crate::support::{DEADLINE, gateway::Addresses, http, within};

/// How often it is asked for what must come.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);

/// Where a console asks.
#[derive(Debug, Clone, Copy)]
pub struct Console(SocketAddr);

impl Console {
    pub fn of(gateway: &Addresses) -> Self {
        Self(gateway.admin)
    }

    async fn get(self, path: &str) -> http::Response {
        http::request(self.0, &format!("GET {path}"), &[("Host", "localhost")], "").await
    }

    /// What is there, as JSON.
    pub async fn read(self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status, 200, "{path}: {response:?}");
        response.json()
    }

    /// What is there once it is as it should be.
    pub async fn awaits(self, path: &str, fits: impl Fn(&Value) -> bool) -> Value {
        within(DEADLINE, path, async {
            loop {
                let read = self.read(path).await;
                if fits(&read) {
                    return read;
                }
                sleep(PROBE_INTERVAL).await;
            }
        })
        .await
    }

    pub async fn push(self, body: &str) -> http::Response {
        self.post("/api/push", body).await
    }

    async fn disconnect(self, body: &str) -> http::Response {
        self.post("/api/disconnect", body).await
    }

    /// As the console's own page sends it.
    async fn post(self, path: &str, body: &str) -> http::Response {
        let headers = [
            ("Host", "localhost:5007"),
            ("Origin", "http://localhost:5007"),
            ("Content-Type", "application/json"),
        ];
        http::request(self.0, &format!("POST {path}"), &headers, body).await
    }
}
