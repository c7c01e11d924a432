//! Markers: entries of a log that are for readers, not for clients. One that comes back shows
//! that the log is read; its id, drawn at random, tells its log from every other.

use tokio::time::{Instant, timeout};

use super::{PUBLISH_DEADLINE, entry, not_published::NotPublished, publisher::Publisher};
use crate::event::Exchange;

/// Returns the marker's id when the broker has it.
pub(super) async fn publish(
    publisher: &Publisher,
    exchange: &Exchange,
) -> Result<String, NotPublished> {
    let (marker, id) = entry::marker(exchange);
    let _ = timeout(PUBLISH_DEADLINE, publisher.ready()).await;
    publisher.publish(marker, Instant::now() + PUBLISH_DEADLINE).await?;
    Ok(id)
}

/// Without waiting for it. One that fails is missed by nobody: there will be another.
pub(super) fn publish_meanwhile(publisher: &Publisher, exchange: &Exchange) {
    let (publisher, (marker, _)) = (publisher.clone(), entry::marker(exchange));
    tokio::spawn(async move {
        let _ = publisher.publish(marker, Instant::now() + PUBLISH_DEADLINE).await;
    });
}
