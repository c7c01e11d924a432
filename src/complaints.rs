//! Complaints that others can cause, as often as they like: each is in the log once in a
//! while, with how often it was left out, and none is hidden by another.
//!
//! What is complained of may quote strangers (names of actions, origins), so there is a bound
//! on what is remembered and on the lines; beyond it only the number is said.

use std::{
    borrow::Cow,
    collections::VecDeque,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{Instant, sleep_until},
};
use tracing::field;

use crate::{ids::SessionId, problem::gist, text::cut};

/// Often enough for somebody who watches, too rarely to fill a disk.
const INTERVAL: Duration = Duration::from_secs(10);

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

/// A shorter name is found in words that do not mean it.
const QUOTED_MIN: usize = 3;

/// In characters: of a name, and of what the other side says.
const NAME_MAX: usize = 64;
const PROBLEM_MAX: usize = 1_000;

/// One line, and what makes it another one: all but the session and the numbers in `problem`.
#[derive(Debug, Clone, Default)]
pub struct Complaint {
    /// The line's text.
    pub what: Cow<'static, str>,
    pub rpc: Option<String>,
    pub action: Option<Name>,
    pub session: Option<SessionId>,
    pub peer: Option<IpAddr>,
    pub status: Option<&'static str>,
    /// In the words of whoever failed, which may be anything.
    pub problem: Option<String>,
}

/// A stranger's name for something: cut, and in quotes and escaped where it is no plain word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl From<&str> for Name {
    fn from(name: &str) -> Self {
        Self(cut(name, NAME_MAX))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.:-/".contains(&b);
        if !self.0.is_empty() && self.0.bytes().all(plain) {
            return f.write_str(&self.0);
        }
        write!(f, "{:?}", self.0)
    }
}

/// One kind of complaint of one process; clones are the same one.
#[derive(Debug, Clone)]
pub struct Complaints(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// What the others are called.
    others: &'static str,
}

impl Complaints {
    /// `others`: what they are called where only their number is said, `failed calls`.
    pub fn of(others: &'static str) -> Self {
        Self(Arc::new(Shared { state: Mutex::default(), others }))
    }

    /// Says it now, or counts it and says so in time: that needs a runtime that goes on.
    pub fn hear(&self, complaint: Complaint) {
        let heard = Heard::new(complaint);
        let (line, to_be_closed) = {
            let mut state = self.0.lock();
            let line = state.hear(heard, Instant::now());
            (line, !std::mem::replace(&mut state.closing, true))
        };
        line.into_iter().for_each(|line| self.0.say(&line));
        if to_be_closed && let Ok(runtime) = Handle::try_current() {
            runtime.spawn(close(Arc::downgrade(&self.0)));
        }
    }

    /// For the end of the process, which waits for no interval.
    pub fn say_the_rest(&self) {
        self.0.say_the_rest();
    }
}

impl Default for Complaints {
    fn default() -> Self {
        Self::of("complaints")
    }
}

/// Says what was counted, until nothing is left to be said.
async fn close(complaints: Weak<Shared>) {
    loop {
        let Some(due) = complaints.upgrade().and_then(|shared| shared.lock().next_due()) else {
            return;
        };
        sleep_until(due).await;
        let Some(shared) = complaints.upgrade() else { return };
        let lines = shared.lock().close(Instant::now());
        lines.iter().for_each(|line| shared.say(line));
    }
}

impl Shared {
    fn say(&self, line: &Line) {
        match line {
            Line::One(complaint, left_out) => complaint.say(*left_out),
            Line::Others(1) => tracing::warn!("and 1 other: {}", self.others),
            Line::Others(count) => tracing::warn!("and {count} others: {}", self.others),
        }
    }

    fn say_the_rest(&self) {
        let rest = self.lock().rest();
        rest.iter().for_each(|line| self.say(line));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.say_the_rest();
    }
}

impl Complaint {
    /// Of what the application answered, be it read or carried out.
    pub const BROKEN_REPLY: &str = "a reply of the application breaks a rule";

    pub fn new(what: impl Into<Cow<'static, str>>) -> Self {
        Self { what: what.into(), ..Self::default() }
    }

    fn say(&self, left_out: u64) {
        tracing::warn!(
            rpc = self.rpc.as_deref(),
            action = self.action.as_ref().map(field::display),
            session = self.session.map(field::display),
            peer = self.peer.map(field::display),
            status = self.status,
            problem = self.problem.as_ref().map(field::debug),
            left_out = (left_out > 0).then_some(left_out),
            "{}",
            self.what
        );
    }
}

/// A complaint, and what the words of its problem come to.
#[derive(Debug, Clone)]
struct Heard {
    complaint: Complaint,
    shape: Option<String>,
}

impl Heard {
    fn new(mut complaint: Complaint) -> Self {
        complaint.rpc = complaint.rpc.map(|rpc| cut(&rpc, NAME_MAX));
        complaint.problem = complaint.problem.map(|problem| cut(&problem, PROBLEM_MAX));
        let said = complaint.problem.as_deref().map(|problem| match &complaint.action {
            // Quoted, it would make the same trouble another one for each name.
            Some(Name(name)) if name.len() >= QUOTED_MIN => shape(&problem.replace(&**name, "0")),
            _ => shape(problem),
        });
        Self { shape: said, complaint }
    }

    /// Whether it is the same trouble, whoever has it.
    fn is_like(&self, other: &Self) -> bool {
        let (one, other_one) = (&self.complaint, &other.complaint);
        one.what == other_one.what
            && one.rpc == other_one.rpc
            && one.status == other_one.status
            && self.shape == other.shape
    }

    fn is_of_the_same(&self, other: &Self) -> bool {
        let (one, other) = (&self.complaint, &other.complaint);
        one.action == other.action && one.peer == other.peer
    }
}

/// What a problem reads like whatever its numbers and ids: `user_17 in 5 ms` is as
/// `user_0 in ms`.
fn shape(problem: &str) -> String {
    let mut shape = String::new();
    for part in problem.split_inclusive(|c: char| !c.is_alphanumeric()) {
        let word = part.trim_end_matches(|c: char| !c.is_alphanumeric());
        shape.push_str(if word.contains(char::is_numeric) { "0" } else { word });
        shape.push_str(&part[word.len()..]);
    }
    gist(&shape)
}

#[derive(Debug)]
enum Line {
    /// With how often it was left out since its last line.
    One(Complaint, u64),
    Others(u64),
}

#[derive(Debug, Default)]
struct State {
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

impl State {
    fn hear(&mut self, heard: Heard, now: Instant) -> Option<Line> {
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
    fn close(&mut self, now: Instant) -> Vec<Line> {
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

    /// `None`: nobody need wait for it any more.
    fn next_due(&mut self) -> Option<Instant> {
        let since = self.entries.iter().map(|entry| entry.said).chain(self.others_since).min();
        self.closing = since.is_some();
        since.map(|since| since + INTERVAL)
    }

    /// All that was counted.
    fn rest(&mut self) -> Option<Line> {
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
    use super::*;

    fn complaint(action: &str, problem: &str) -> Complaint {
        Complaint {
            what: "failed".into(),
            action: Some(action.into()),
            problem: Some(problem.into()),
            ..Complaint::default()
        }
    }

    fn failed(action: &str, problem: &str) -> Heard {
        Heard::new(complaint(action, problem))
    }

    /// What was said in this time, of what is heard all along: the lines, how many complaints
    /// they stand for, and the others.
    fn heard(complaints: &[Heard], seconds: u64) -> (Vec<Instant>, u64, u64) {
        let mut state = State::default();
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
            while state.next_due().is_some_and(|due| due <= now) {
                state.close(now).into_iter().for_each(|line| note(line, now));
            }
            for complaint in complaints {
                state.hear(complaint.clone(), now).into_iter().for_each(|line| note(line, now));
            }
        }
        state.rest().into_iter().for_each(|line| note(line, start));
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
        let mut state = State::default();
        let now = Instant::now();
        assert!(state.hear(failed("A", "no user 17 (id=17, a1b2c3) in 5ms"), now).is_some());
        for same in ["no user 18 (id=4, 99ffee) in 5ms", "no user 19 (id=x7, f00) in 12ms"] {
            assert!(state.hear(failed("A", same), now).is_none(), "{same}");
        }
        assert!(state.hear(failed("A", "no widget 17 (id=17)"), now).is_some());
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
        let mut state = State::default();
        let now = Instant::now();
        let of_many = (0..1_000).filter_map(|n| state.hear(failed(&format!("A{n}"), "down"), now));
        assert_eq!(of_many.count(), ALIKE_MAX);
        assert!(state.hear(failed("A1", "division by zero"), now).is_some());

        let mut state = State::default();
        let names = ('a'..='z').map(|letter| format!("Buy{letter}"));
        let quoted =
            names.filter_map(|name| state.hear(failed(&name, &format!("no action '{name}'")), now));
        assert_eq!(quoted.count(), ALIKE_MAX);
    }

    #[test]
    fn actions_hide_nothing_else() {
        let mut state = State::default();
        let now = Instant::now();
        let invented = ('a'..='z')
            .filter_map(|letter| state.hear(failed("Buy", &format!("wrong: {letter}")), now));
        assert_eq!(invented.count(), ACTIONS_MAX);
        let check = Complaint { problem: Some("down".into()), ..Complaint::new("failed") };
        assert!(state.hear(Heard::new(check), now).is_some());
    }

    #[test]
    fn what_strangers_write_is_cut() {
        let long = "é".repeat(5_000);
        let complaint = failed(&long, &long).complaint;
        assert_eq!(complaint.action, Some(Name(format!("{}…", "é".repeat(NAME_MAX)))));
        assert_eq!(complaint.problem.map(|problem| problem.chars().count()), Some(PROBLEM_MAX + 1));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_when_there_is_nothing_to_say() {
        let complaints = Complaints::of("complaints");
        for _ in 0..2 {
            complaints.hear(complaint("A", "down"));
            complaints.hear(complaint("A", "down"));
            tokio::time::sleep(3 * INTERVAL).await;
            let mut state = complaints.0.lock();
            assert!(state.entries.is_empty() && !state.closing, "{state:?}");
            assert_eq!(state.next_due(), None);
        }
    }
}
