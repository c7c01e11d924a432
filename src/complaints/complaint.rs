//! One line of the log, as it was complained of.

use std::{borrow::Cow, fmt, net::IpAddr};

use tracing::field;

use crate::{ids::SessionId, text::cut};

/// In characters.
pub(super) const NAME_MAX: usize = 64;

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
pub struct Name(pub(super) String);

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

impl Complaint {
    /// Of what the application answered, be it read or carried out.
    pub const BROKEN_REPLY: &str = "a reply of the application breaks a rule";

    pub fn new(what: impl Into<Cow<'static, str>>) -> Self {
        Self { what: what.into(), ..Self::default() }
    }

    pub(super) fn say(&self, left_out: u64) {
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
