//! Where a client stands in its exchange's log, by what it was told: what it asks for when it comes
//! back.

use crate::config::hand::From;

#[derive(Debug)]
pub(super) struct Place {
    from: From,
    replaying: Replaying,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replaying {
    Nothing,
    /// What was missed: each event is a step forward, up to where the log was.
    Missed,
    /// The last events, which are before the place.
    Last,
}

impl Place {
    pub(super) fn new(from: From) -> Self {
        Self { from, replaying: Replaying::Nothing }
    }

    /// What to ask for.
    pub(super) fn from(&self) -> &From {
        &self.from
    }

    /// To one of its keys; `id` is where the log is, if there is one.
    pub(super) fn subscribed(&mut self, id: Option<String>, recovered: Option<bool>) {
        // The other keys of the message are answered alike.
        if recovered == Some(true) && self.replaying == Replaying::Nothing {
            self.replaying = match self.from {
                From::After(_) => Replaying::Missed,
                From::Last(_) | From::Now => Replaying::Last,
            };
        }
        if self.replaying != Replaying::Missed {
            self.from = id.map_or(From::Now, From::After);
        }
    }

    pub(super) fn event(&mut self, id: Option<String>) {
        if self.replaying != Replaying::Last {
            self.moves(id);
        }
    }

    pub(super) fn replayed(&mut self, id: Option<String>) {
        self.replaying = Replaying::Nothing;
        self.moves(id);
    }

    pub(super) fn gap(&mut self, id: Option<String>) {
        self.pong(id.as_ref());
    }

    pub(super) fn pong(&mut self, id: Option<&String>) {
        if self.replaying == Replaying::Nothing {
            self.moves(id.cloned());
        }
    }

    /// The connection is lost. Whether some of the last events will not come any more.
    pub(super) fn lost(&mut self) -> bool {
        std::mem::replace(&mut self.replaying, Replaying::Nothing) == Replaying::Last
    }

    fn moves(&mut self, id: Option<String>) {
        if let Some(id) = id {
            self.from = From::After(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Option<String> {
        Some(text.into())
    }

    fn after(text: &str) -> From {
        From::After(text.into())
    }

    #[test]
    fn what_was_missed_is_behind_the_place_until_it_has_come() {
        let mut place = Place::new(after("a"));
        place.subscribed(id("z"), Some(true));
        place.subscribed(id("z"), Some(true));
        assert_eq!(place.from(), &after("a"));
        place.event(id("b"));
        place.pong(id("z").as_ref());
        place.gap(id("z"));
        assert_eq!(place.from(), &after("b"));
        assert!(!place.lost());
        place.subscribed(id("z"), Some(true));
        place.replayed(id("z"));
        place.event(id("zz"));
        assert_eq!(place.from(), &after("zz"));
    }

    #[test]
    fn the_last_events_are_before_it() {
        let mut place = Place::new(From::Last(3));
        place.subscribed(id("z"), Some(true));
        place.subscribed(id("z"), Some(true));
        place.event(id("x"));
        assert_eq!(place.from(), &after("z"));
        assert!(place.lost());
        assert!(!place.lost());
    }

    #[test]
    fn without_a_log_there_is_none() {
        let mut place = Place::new(From::Last(3));
        place.subscribed(None, Some(false));
        place.event(None);
        assert_eq!(place.from(), &From::Now);
    }
}
