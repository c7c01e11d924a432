//! What becomes of a replay that cannot bring all that was missed: each of its keys gets a `Gap`.

use tokio::time::sleep;

use super::{HUB_PAUSE, Key, Replay};
use crate::{
    metrics::Resumed,
    protocol::{self, RoutingKey},
    session::Session,
};

impl Session {
    /// Whether something is missing in the log that it cannot show: it is fed key by key, and a
    /// gap was told since the replay began. Others are led across a gap, by what the log has.
    pub(super) fn is_torn(&self, replay: &Replay) -> bool {
        let exchange = &replay.exchange;
        self.services.bindings.lead_to(exchange) && self.services.ring.gaps(exchange) != replay.gaps
    }

    /// Something that was missed is not there any more.
    pub(super) async fn tell_of_hole(&self, replay: &mut Replay) {
        replay.log = None;
        self.outbox.all_taken().await;
        // What was read before must not come behind it.
        let hub = &self.services.hub;
        replay.keys.values_mut().for_each(|key| key.expected = hub.expect(&key.topic));
        let gaps = |replay: &Replay, here| {
            let gaps = replay.keys.values().map(|Key { topic, form, .. }| {
                let key = RoutingKey { text: topic.routing_key(), form: *form };
                protocol::gap(&topic.exchange, key, None)
            });
            Ok(gaps.chain([replay.over(0, here)]).collect())
        };
        loop {
            // Behind a gap it may be a position of another log.
            let is_of_this = self.services.ring.gaps(&replay.exchange) == replay.gaps;
            let queued = replay.queued.filter(|_| is_of_this);
            if self.subscribe_with(replay, queued, gaps).is_ok() {
                return replay.ended(Resumed::Gap);
            }
            sleep(HUB_PAUSE).await;
        }
    }
}
