//! Who is measured through RabbitMQ.

use std::path::{Path, PathBuf};

use crate::{
    load::EXCHANGE,
    report::{BARE, BEFORE, GATEWAY, WITHOUT_BATCHES},
};

pub enum Contender {
    /// The AMQP library alone.
    Bare,
    Gateway(Build),
}

/// Which gateway, and how.
pub struct Build {
    name: &'static str,
    pub program: PathBuf,
    /// Of the command line.
    pub exchange: String,
}

impl Build {
    fn now(name: &'static str, options: &str) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_myxi")).to_owned();
        Self { name, program, exchange: format!("{EXCHANGE}{options}") }
    }

    pub fn with_batches() -> Self {
        Self::now(GATEWAY, ";batch=on")
    }

    pub fn without_batches() -> Self {
        Self::now(WITHOUT_BATCHES, ";batch=off")
    }
}

impl Contender {
    /// The gateway with batches and without, and where it is given, the one of before, which
    /// does not know the word.
    pub fn all(before: Option<PathBuf>) -> Vec<Self> {
        let builds = [Build::with_batches(), Build::without_batches()];
        let mut all = vec![Self::Bare];
        all.extend(builds.map(Self::Gateway));
        all.extend(before.map(|program| {
            Self::Gateway(Build { name: BEFORE, program, exchange: EXCHANGE.into() })
        }));
        all
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Bare => BARE,
            Self::Gateway(build) => build.name,
        }
    }
}
