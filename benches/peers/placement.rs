//! Which processors who runs on (see [`crate`]).

use crate::load::{Pace, available};

/// Lists as `taskset` reads them.
pub struct Placement {
    pub server: String,
    pub load: String,
}

impl Placement {
    /// A server that runs alone against the load side.
    pub fn apart(server: Option<&str>) -> Self {
        let processors = available();
        let (first, last) = (processors[0], processors[processors.len() - 1]);
        let server = server.map_or_else(|| first.to_string(), str::to_owned);
        Self { server, load: last.to_string() }
    }

    /// Everybody on all processors, where more than two take part.
    pub fn shared() -> Self {
        let all: Vec<_> = available().iter().map(usize::to_string).collect();
        Self { server: all.join(","), load: all.join(",") }
    }

    pub fn pace(&self) -> Pace {
        if self.server.contains(&self.load) { Pace::Sparing } else { Pace::Eager }
    }
}
