//! The addresses of replicas and sessions, and ids that are none.

use std::{
    fmt,
    sync::atomic::{AtomicU32, Ordering},
};

/// Never the same twice, for what needs a name and no address: 32 hex digits.
pub(crate) fn random_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// For what is never the same twice beside others whose name begins alike: 16 hex digits.
pub(crate) fn random_suffix() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// One running gateway process: 8 hex digits, drawn at random when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReplicaId(u32);

impl ReplicaId {
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// One WebSocket connection: 16 hex digits, of which the first 8 name its replica.
/// An address, not a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u64);

impl SessionId {
    pub fn replica(self) -> ReplicaId {
        ReplicaId((self.0 >> 32) as u32)
    }

    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        hex.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(Self)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Gives each session of one replica an id of its own (until 2^32 have come and gone).
#[derive(Debug)]
pub struct SessionIds {
    replica: ReplicaId,
    next: AtomicU32,
}

impl SessionIds {
    pub fn new(replica: ReplicaId) -> Self {
        Self { replica, next: AtomicU32::new(rand::random()) }
    }

    pub fn next(&self) -> SessionId {
        let low = self.next.fetch_add(1, Ordering::Relaxed);
        SessionId(u64::from(self.replica.0) << 32 | u64::from(low))
    }
}
