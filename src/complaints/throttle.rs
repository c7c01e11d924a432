//! What is remembered of complaints, and which of them are said when: bounded, whoever
//! complains of what.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::{complaint::Complaint, likeness::Heard};

/// Often enough for somebody who watches, too rarely to fill a disk.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);

/// In one interval; the number of the others is said in one more.
const LINES_MAX: usize = 20;
/// Of these, for what was said before and goes on: what is new finds room beside it.
const AGAIN_MAX: usize = LINES_MAX / 2;
/// And for actions, which clients invent: what else fails finds room, too.
const ACTIONS_MAX: usize = LINES_MAX - 4;

const REMEMBERED: usize = 64;

/// Of the same trouble, whoever had it: an application that is down fails every action, and
/// a client can invent any number of them.
const ALIKE_MAX: usize = 8;

#[derive(Debug)]
pub(super) enum Line {
    /// With how often it was left out since its last line.
    One(Complaint, u64),
    Others(u64),
}

/// Of one kind of complaint.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    entries: Vec<Entry>,
    /// When they were written, the last interval's.
    lines: VecDeque<Instant>,
    others: u64,
    others_since: Option<Instant>,
    /// Somebody waits to say what is counted.
    closing: bool,
}

#[derive(Debug)]
struct Entry {
    /// The last time.
    heard: Heard,
    said: Instant,
    left_out: u64,
}

impl Throttle {
    pub(super) fn hear(&mut self, heard: Heard, now: Instant) -> Option<Line> {
        self.forget_lines(now);
        let mut alike = 0;
        for entry in &mut self.entries {
            if entry.heard.is_like(&heard) {
                if entry.heard.is_of_the_same(&heard) {
                    entry.left_out += 1;
                    entry.heard = heard;
                    return None;
                }
                alike += 1;
            }
        }
        let lines_max = if heard.complaint.action.is_some() { ACTIONS_MAX } else { LINES_MAX };
        let room = self.entries.len() < REMEMBERED && self.lines.len() < lines_max;
        if !room || alike >= ALIKE_MAX {
            self.count(1, now);
            return None;
        }
        self.lines.push_back(now);
        let line = Line::One(heard.complaint.clone(), 0);
        self.entries.push(Entry { heard, said: now, left_out: 0 });
        Some(line)
    }

    /// What is due; what was not heard of for an interval is forgotten.
    pub(super) fn close(&mut self, now: Instant) -> Vec<Line> {
        self.forget_lines(now);
        let mut lines = Vec::new();
        for mut entry in std::mem::take(&mut self.entries) {
            if now < entry.said + INTERVAL {
                self.entries.push(entry);
            } else if entry.left_out > 0 && self.lines.len() < AGAIN_MAX {
                self.lines.push_back(now);
                lines.push(Line::One(entry.heard.complaint.clone(), entry.left_out));
                (entry.said, entry.left_out) = (now, 0);
                self.entries.push(entry);
            } else {
                self.count(entry.left_out, now);
            }
        }
        if self.others_since.is_some_and(|since| now >= since + INTERVAL) {
            self.others_since = None;
            lines.push(Line::Others(std::mem::take(&mut self.others)));
        }
        lines
    }

    fn count(&mut self, others: u64, now: Instant) {
        if others > 0 {
            self.others += others;
            self.others_since.get_or_insert(now);
        }
    }

    /// Whether somebody must wait to say what is counted, and nobody does yet. Then the caller
    /// does.
    pub(super) fn begin_closing(&mut self) -> bool {
        !std::mem::replace(&mut self.closing, true)
    }

    /// `None`: nobody need wait for it any more.
    pub(super) fn next_due(&mut self) -> Option<Instant> {
        let since = self.entries.iter().map(|entry| entry.said).chain(self.others_since).min();
        self.closing = since.is_some();
        since.map(|since| since + INTERVAL)
    }

    /// All that was counted.
    pub(super) fn rest(&mut self) -> Option<Line> {
        let left_out: u64 = self.entries.drain(..).map(|entry| entry.left_out).sum();
        let others = left_out + std::mem::take(&mut self.others);
        self.others_since = None;
        (others > 0).then_some(Line::Others(others))
    }

    fn forget_lines(&mut self, now: Instant) {
        while self.lines.front().is_some_and(|written| now >= *written + INTERVAL) {
            self.lines.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::complaint::Complaint, *};

    fn failed(action: &str, problem: &str) -> Heard {
        Heard::new(Complaint {
            action: Some(action.into()),
            problem: Some(problem.into()),
            ..Complaint::new("failed")
        })
    }

    /// What was said in this time, of what is heard all along: the lines, how many complaints
    /// they stand for, and the others.
    fn heard(complaints: &[Heard], seconds: u64) -> (Vec<Instant>, u64, u64) {
        let mut throttle = Throttle::default();
        let (start, mut lines, mut stand_for, mut others) = (Instant::now(), vec![], 0, 0);
        let mut note = |line, at| match line {
            Line::One(_, left_out) => {
                lines.push(at);
                stand_for += left_out;
            }
            Line::Others(count) => others += count,
        };
        for millis in (0..=1000 * seconds).step_by(100) {
            let now = start + Duration::from_millis(millis);
            while throttle.next_due().is_some_and(|due| due <= now) {
                throttle.close(now).into_iter().for_each(|line| note(line, now));
            }
            for complaint in complaints {
                throttle.hear(complaint.clone(), now).into_iter().for_each(|line| note(line, now));
            }
        }
        throttle.rest().into_iter().for_each(|line| note(line, start));
        (lines, stand_for, others)
    }

    #[test]
    fn each_is_said_at_once_and_again_with_how_often_it_was_left_out() {
        let different = [failed("A", "down"), failed("B", "down"), failed("A", "wrong")];
        let (lines, left_out, others) = heard(&different, 30);
        assert_eq!(lines.len(), 3 * 4, "now, and at each interval's end");
        assert_eq!(lines.len() as u64 + left_out + others, 3 * 301 + 3 * 3, "{left_out} {others}");
    }

    #[test]
    fn numbers_and_ids_make_no_difference() {
        let mut throttle = Throttle::default();
        let now = Instant::now();
        assert!(throttle.hear(failed("A", "no user 17 (id=17, a1b2c3) in 5ms"), now).is_some());
        for same in ["no user 18 (id=4, 99ffee) in 5ms", "no user 19 (id=x7, f00) in 12ms"] {
            assert!(throttle.hear(failed("A", same), now).is_none(), "{same}");
        }
        assert!(throttle.hear(failed("A", "no widget 17 (id=17)"), now).is_some());
    }

    #[test]
    fn what_is_invented_is_bounded_and_counted() {
        let names: Vec<_> = ('a'..='z').flat_map(|a| ('a'..='z').map(move |b| (a, b))).collect();
        for own_words in [false, true] {
            let invented = names.iter().map(|(a, b)| {
                failed(&format!("{a}{b}"), &if own_words { format!("{a}{b}") } else { "x".into() })
            });
            let invented: Vec<_> = invented.collect();
            let (lines, left_out, others) = heard(&invented, 60);
            for window in lines.windows(LINES_MAX + 1) {
                assert!(*window.last().unwrap() - window[0] >= INTERVAL, "{own_words}");
            }
            assert!(lines.len() <= 7 * LINES_MAX, "{own_words}: {}", lines.len());
            assert!(left_out + others > 601 * 676 - 1_000, "{own_words}: {left_out} {others}");
        }
    }

    #[test]
    fn one_trouble_of_many_hides_no_other() {
        let mut throttle = Throttle::default();
        let now = Instant::now();
        let of_many =
            (0..1_000).filter_map(|n| throttle.hear(failed(&format!("A{n}"), "down"), now));
        assert_eq!(of_many.count(), ALIKE_MAX);
        assert!(throttle.hear(failed("A1", "division by zero"), now).is_some());

        let mut throttle = Throttle::default();
        let names = ('a'..='z').map(|letter| format!("Buy{letter}"));
        let quoted = names
            .filter_map(|name| throttle.hear(failed(&name, &format!("no action '{name}'")), now));
        assert_eq!(quoted.count(), ALIKE_MAX);
    }

    #[test]
    fn actions_hide_nothing_else() {
        let mut throttle = Throttle::default();
        let now = Instant::now();
        let invented = ('a'..='z')
            .filter_map(|letter| throttle.hear(failed("Buy", &format!("wrong: {letter}")), now));
        assert_eq!(invented.count(), ACTIONS_MAX);
        let check = Complaint { problem: Some("down".into()), ..Complaint::new("failed") };
        assert!(throttle.hear(Heard::new(check), now).is_some());
    }
}
