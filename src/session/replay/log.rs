//! How a replay comes to read the log, and goes on where a reading of it broke off.

use std::pin::pin;

use futures_util::future::select;
use tokio::time::{Duration, Instant, sleep};

use super::{NotYet, Replay};
use crate::{event::Position, protocol::NotRecovered, ring::NoReading, session::Session};

/// How long a log that cannot be read is asked for again, so often: a broker that restarts takes
/// less, and what stands there is there still.
const AGAIN_FOR: Duration = Duration::from_secs(120);
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Where a reading of the log broke off, and nothing was read since.
#[derive(Clone, Copy)]
pub(super) struct BrokenOff {
    at: Position,
    since: Instant,
    /// There was a hole.
    at_hole: bool,
}

impl Session {
    /// To the log: where the ring does not have any more what comes next, and where a reading
    /// broke off. One that ended tells nothing of the next, however often the broker falls. Who
    /// found a hole may have been left behind; whoever finds one there again has found one.
    pub(super) async fn go_back(&self, replay: &mut Replay, why: NotYet) -> Result<(), NotYet> {
        if !replay.pending.is_empty() {
            self.queue_part(replay).await;
        }
        let (position, now) = (replay.cursor.position, Instant::now());
        let mut until = now + AGAIN_FOR;
        if replay.log.take().is_some() {
            let at_hole = matches!(why, NotYet::Lost);
            let before = replay.broken_off.filter(|before| before.at == position);
            let since = before.map_or(now, |before| before.since);
            until = since + AGAIN_FOR;
            if now >= until || at_hole && before.is_some_and(|before| before.at_hole) {
                return Err(NotYet::Lost);
            }
            replay.broken_off = Some(BrokenOff { at: position, since, at_hole });
            if before.is_some() {
                sleep(AGAIN_AFTER).await;
            }
        }
        loop {
            match self.read_log(&replay.exchange, position).await {
                Ok((log, cursor)) => {
                    (replay.log, replay.cursor) = (Some(log), cursor);
                    return Ok(());
                }
                Err(NoReading::Unavailable | NoReading::NotRecovered(NotRecovered::TooMany))
                    if Instant::now() < until =>
                {
                    sleep(AGAIN_AFTER).await
                }
                Err(_) => return Err(NotYet::Lost),
            }
        }
    }

    /// Until there is more, in the log or in the ring.
    pub(super) async fn read_on(&self, replay: &Replay) {
        let (Some(log), position) = (&replay.log, replay.cursor.position) else { return };
        let here = self.services.ring.reached(&replay.exchange, position);
        select(pin!(log.more(position)), pin!(here)).await;
    }
}
