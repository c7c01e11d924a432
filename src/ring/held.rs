//! What the ring holds, and what is read behind it: for the operator.

use std::time::Duration;

use super::Ring;
use crate::{event::Exchange, time::UnixTime};

/// Of one exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub exchange: Exchange,
    pub entries: usize,
    pub bytes: usize,
    /// How long ago the oldest event was pushed, by the clock of who took it: not known of what other
    /// programs publish.
    pub age: Option<Duration>,
    /// Of its log, that are under way.
    pub readings: usize,
}

impl Ring {
    /// Sorted by exchange.
    pub fn held(&self) -> Vec<Held> {
        let now = UnixTime::now().seconds();
        let ago = |seconds: u32| Duration::from_secs(now.saturating_sub(seconds.into()));
        let kept = self.lock();
        let held = kept.lanes.iter().map(|(exchange, lane)| Held {
            exchange: exchange.clone(),
            entries: lane.len(),
            bytes: lane.size(),
            age: lane.oldest_pushed().map(ago),
            readings: self.catching_up.get(exchange).map_or(0, |of| of.readings.under_way()),
        });
        let mut held: Vec<_> = held.collect();
        held.sort_by(|one, other| one.exchange.cmp(&other.exchange));
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Entry, Position, PushedAt, RawBody, RawEvent};

    #[test]
    fn the_oldest_event_whose_time_is_known_says_how_far_it_reaches_back() {
        let exchange = Exchange::new("widgets").expect("valid");
        let ring = Ring::new([exchange.clone()], 1 << 20);
        let append = |offset, pushed: Option<Duration>| {
            let id = Entry { offset, hash: 0 };
            let ago = |ago: Duration| PushedAt(PushedAt::now().0 - ago.as_micros() as u64);
            let (position, body) = (Position::behind(id, 0), RawBody::Json(&[b' '; 400 << 10]));
            let event = RawEvent::new(b"k", body, position, pushed.map(ago), 1 << 20);
            ring.append(&exchange, id, &[event.expect("valid")]);
        };
        let held = || {
            let Held { entries, age, .. } = ring.held().remove(0);
            (entries, age.map(|age| age.as_secs() / 100))
        };
        ring.append(&exchange, Entry { offset: 0, hash: 0 }, &[]);
        assert_eq!(held(), (1, None));
        append(1, None);
        assert_eq!(held(), (2, None));
        append(2, Some(Duration::from_secs(9_050)));
        assert_eq!(held(), (3, Some(90)));
        append(3, Some(Duration::from_secs(2_050)));
        assert_eq!(held(), (2, Some(90)));
        append(4, Some(Duration::from_secs(1_050)));
        assert_eq!(held(), (2, Some(20)));
    }
}
