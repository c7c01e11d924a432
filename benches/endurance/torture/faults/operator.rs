//! What an operator does to the broker's parts, as another client of it.

use std::{future::Future, time::Duration};

use lapin::{Channel, Connection, ConnectionProperties};
use tokio::time::sleep;

use crate::load::within;

/// For what is done to a broker that runs.
const DEADLINE: Duration = Duration::from_secs(60);

/// On a connection of its own, which another fault may end meanwhile: until it is done.
pub async fn as_operator<T, F>(url: &str, act: impl Fn(Channel) -> F) -> anyhow::Result<T>
where
    F: Future<Output = lapin::Result<T>>,
{
    within(DEADLINE, "what is done to the broker", async {
        loop {
            let doing = async {
                let connection = Connection::connect(url, ConnectionProperties::default()).await?;
                let done = act(connection.create_channel().await?).await?;
                let _ = connection.close(200, "OK".into()).await;
                lapin::Result::Ok(done)
            };
            if let Ok(done) = doing.await {
                return Ok(done);
            }
            sleep(Duration::from_millis(100)).await;
        }
    })
    .await
}
