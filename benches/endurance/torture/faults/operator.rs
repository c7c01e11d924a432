//! What an operator does to the broker's parts, as another client of it.

use std::{future::Future, time::Duration};

use anyhow::bail;
use lapin::{Channel, Connection, ConnectionProperties};
use tokio::time::{Instant, sleep, timeout};

use crate::support::rabbitmq::RabbitMq;

/// For what is done to a broker that runs.
const DEADLINE: Duration = Duration::from_secs(120);

/// For one attempt: a connection may hang that was closed while it was made.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

const PAUSE: Duration = Duration::from_millis(100);

/// On a connection of its own, which another fault may end meanwhile: until it is done.
pub async fn as_operator<T, F>(node: &RabbitMq, act: impl Fn(Channel) -> F) -> anyhow::Result<T>
where
    F: Future<Output = lapin::Result<T>>,
{
    // Replicas have fewer rights.
    let url = node.url_of("guest", "%2f");
    let began = Instant::now();
    loop {
        let doing = async {
            let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
            let done = act(connection.create_channel().await?).await?;
            let _ = connection.close(200, "OK".into()).await;
            lapin::Result::Ok(done)
        };
        match timeout(ANSWER_DEADLINE, doing).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) if began.elapsed() > DEADLINE => return Err(error.into()),
            Err(_) if began.elapsed() > DEADLINE => bail!("the broker does not answer"),
            _ => sleep(PAUSE).await,
        }
    }
}
