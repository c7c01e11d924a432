//! Targets, what was reached, and whether that is enough.

use anyhow::ensure;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    Short,
    /// The measurement cannot tell. No failure, and no proof either.
    Inconclusive,
}

impl From<bool> for Outcome {
    fn from(reached: bool) -> Self {
        if reached { Self::Ok } else { Self::Short }
    }
}

#[derive(Default)]
pub struct Verdicts {
    short: usize,
    inconclusive: usize,
}

impl Verdicts {
    /// Prints one.
    pub fn judge(
        &mut self,
        what: &str,
        target: impl AsRef<str>,
        reached: impl AsRef<str>,
        outcome: impl Into<Outcome>,
    ) {
        let word = match outcome.into() {
            Outcome::Ok => "ok",
            Outcome::Short => {
                self.short += 1;
                "SHORT"
            }
            Outcome::Inconclusive => {
                self.inconclusive += 1;
                "inconclusive"
            }
        };
        println!("{word}: {what}: target {}, reached {}", target.as_ref(), reached.as_ref());
    }

    pub fn conclude(self) -> anyhow::Result<()> {
        if self.inconclusive > 0 {
            println!("{} targets could not be judged", self.inconclusive);
        }
        ensure!(self.short == 0, "{} targets were missed", self.short);
        Ok(())
    }
}
