//! What events are pushed to: some keys each of two exchanges. One has the bounds that an
//! exchange has by itself; the other is cut so early that a replica that stops for some
//! seconds is behind its head.

use crate::load::EXCHANGE;

pub const SMALL: &str = "small";

/// Of [`SMALL`]'s log. What is pushed at once to cut it is less than half.
pub const SMALL_BOUNDS: &str = "max-bytes=2MB;segment-bytes=500kB";

pub const EXCHANGES: [&str; 2] = [EXCHANGE, SMALL];

const KEYS: usize = 8;

/// Both, as the gateway's flag has them.
pub fn exchanges(batch: &str) -> String {
    format!("{EXCHANGE};batch={batch},{SMALL};{SMALL_BOUNDS};batch={batch}")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(usize);

impl Topic {
    pub const COUNT: usize = EXCHANGES.len() * KEYS;

    pub fn new(number: usize) -> Self {
        Self(number % Self::COUNT)
    }

    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    pub fn number(self) -> usize {
        self.0
    }

    pub fn exchange(self) -> &'static str {
        EXCHANGES[self.0 / KEYS]
    }

    pub fn key(self) -> String {
        format!("key-{}", self.0 % KEYS)
    }

    /// As the gateway names it.
    pub fn find(exchange: &str, key: &str) -> Option<Self> {
        let exchange = EXCHANGES.iter().position(|name| *name == exchange)?;
        let key = key.strip_prefix("key-")?.parse::<usize>().ok().filter(|key| *key < KEYS)?;
        Some(Self(exchange * KEYS + key))
    }
}

impl std::fmt::Display for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.exchange(), self.key())
    }
}
