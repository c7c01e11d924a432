//! Which message a confirm is about, and which were returned.

use std::collections::{HashMap, HashSet};

/// Finds out which messages were returned.
///
/// The broker returns an unroutable message and then confirms it. lapin keeps returned
/// messages in a queue and hands the first to whichever confirm completes next, which need
/// not be its own (one ack can confirm many messages). So a confirmed message was published
/// for certain only when nothing in that queue can be it: the broker returns in the order
/// of writing, so a returned message behind it shows that, and so does a confirm that
/// carries none, or the last one that was awaited.
///
/// Confirms are seen in the order in which their tasks were woken, which may differ from that
/// in which lapin completed them: one that carries none may be seen before the one that took
/// its message from the queue. Both are complete by then, so what is complete is to be told
/// together.
pub(super) struct Ledger<R> {
    next: u64,
    awaited: HashMap<u64, R>,
    confirmed: Vec<(u64, R)>,
    returned: HashSet<u64>,
}

impl<R> Default for Ledger<R> {
    fn default() -> Self {
        let (awaited, confirmed, returned) = Default::default();
        Self { next: 0, awaited, confirmed, returned }
    }
}

impl<R> Ledger<R> {
    /// Numbers a message that is about to be written.
    pub(super) fn expect(&mut self, receipt: R) -> u64 {
        self.next += 1;
        self.awaited.insert(self.next, receipt);
        self.next
    }

    /// All confirms that are complete, each with the returned message that it carries.
    /// Answers the messages that are settled by them: true for those the broker has.
    pub(super) fn confirm(&mut self, confirms: &[(u64, Option<u64>)]) -> Vec<(R, bool)> {
        for (sequence, carried) in confirms {
            self.returned.extend(carried);
            if let Some(receipt) = self.awaited.remove(sequence) {
                self.confirmed.push((*sequence, receipt));
            }
        }
        let last_returned = confirms.iter().filter_map(|(_, carried)| *carried).max();
        let certain = match last_returned {
            Some(returned) if !self.awaited.is_empty() => returned,
            None if confirms.is_empty() => 0,
            _ => u64::MAX,
        };
        let returned = &mut self.returned;
        self.confirmed
            .extract_if(.., |(sequence, _)| *sequence <= certain || returned.contains(sequence))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|(sequence, receipt)| (receipt, !returned.remove(&sequence)))
            .collect()
    }

    /// A message that will not be confirmed.
    pub(super) fn give_up(&mut self, sequence: u64, carried: Option<u64>) -> Option<R> {
        self.returned.extend(carried);
        self.awaited.remove(&sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::Ledger;

    #[test]
    fn a_confirm_that_carries_nothing_settles_at_once() {
        let mut ledger = Ledger::default();
        let (a, _b) = (ledger.expect("a"), ledger.expect("b"));
        assert_eq!(ledger.confirm(&[(a, None)]), [("a", true)]);
    }

    #[test]
    fn a_returned_message_is_found_whichever_confirm_carries_it() {
        let mut ledger = Ledger::default();
        let (a, b, c) = (ledger.expect("a"), ledger.expect("b"), ledger.expect("c"));
        assert_eq!(ledger.confirm(&[(c, Some(a))]), []);
        assert_eq!(ledger.confirm(&[(a, Some(b))]), [("a", false)]);
        assert_eq!(ledger.confirm(&[(b, None)]), [("c", true), ("b", false)]);
    }

    #[test]
    fn a_steady_flow_of_returned_messages_holds_up_nobody() {
        let mut ledger = Ledger::default();
        let (a, b, c, _d) =
            (ledger.expect("a"), ledger.expect("b"), ledger.expect("c"), ledger.expect("d"));
        assert_eq!(ledger.confirm(&[(b, Some(a))]), []);
        assert_eq!(ledger.confirm(&[(a, Some(c))]), [("b", true), ("a", false)]);
        assert_eq!(ledger.confirm(&[(c, None)]), [("c", false)]);
    }

    #[test]
    fn a_confirm_that_is_seen_before_the_one_that_carries_its_message_does_not_deceive() {
        let mut ledger = Ledger::default();
        let (a, b, _c) = (ledger.expect("a"), ledger.expect("b"), ledger.expect("c"));
        assert_eq!(ledger.confirm(&[(b, None), (a, Some(b))]), [("b", false), ("a", true)]);
    }

    #[test]
    fn what_is_behind_the_last_return_waits_for_what_comes_next() {
        let mut ledger = Ledger::default();
        let (a, b, c) = (ledger.expect("a"), ledger.expect("b"), ledger.expect("c"));
        let d = ledger.expect("d");
        assert_eq!(ledger.confirm(&[(a, None), (d, Some(b))]), [("a", true)]);
        assert_eq!(ledger.confirm(&[]), []);
        assert_eq!(ledger.confirm(&[(b, Some(d))]), [("d", false), ("b", false)]);
        assert_eq!(ledger.confirm(&[(c, None)]), [("c", true)]);
    }

    #[test]
    fn the_last_confirm_settles_all() {
        let mut ledger = Ledger::default();
        let (a, b) = (ledger.expect("a"), ledger.expect("b"));
        assert_eq!(ledger.confirm(&[(b, Some(a))]), []);
        assert_eq!(ledger.confirm(&[(a, Some(b))]), [("b", false), ("a", false)]);
    }
}
