//! Pages of the Ruby original, which cannot change: with `--compatibility myxi` every path but `/`
//! speaks as it did, and without it nothing does. What they have is told beside what documented
//! clients have, on the same gateway.

mod errors;
mod undecided;
mod wire;

use crate::support::{
    client::Client,
    gateway::{Addresses, Gateway},
    handler::TestHandler,
};

const FLAGS: [&str; 2] = ["--exchange=widgets", "--compatibility=myxi"];

/// A gateway for both kinds of clients.
async fn gateway(app: &TestHandler) -> Gateway {
    Gateway::with(app, &FLAGS).await
}

/// What a page of the original connects as.
async fn page(gateway: &Addresses) -> Client {
    client_at(gateway, "/pushwss").await
}

async fn client_at(gateway: &Addresses, path: &str) -> Client {
    let url = format!("ws://{}{path}", gateway.clients());
    let mut client = Client::connect_to(&url, gateway.clients()).await.undocumented();
    let welcome = client.event("Welcome").await;
    client.id = welcome["payload"]["id"].as_str().expect("an id").to_owned();
    client
}

/// One of each kind: a documented client and a page.
async fn both(gateway: &Addresses) -> [Client; 2] {
    [gateway.client().await, page(gateway).await]
}
