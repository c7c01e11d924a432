//! How an action ended for its client.

use super::ErrorCode;
use crate::metrics::OutcomeLabel;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    /// With the first error that the client was told; `None`: one of the application's own.
    Error(Option<ErrorCode>),
}

impl Outcome {
    /// This one, or where all was well so far the other.
    pub fn or(self, other: Self) -> Self {
        match self {
            Self::Ok => other,
            Self::Error(_) => self,
        }
    }
}

impl From<Outcome> for OutcomeLabel {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok => Self::Ok,
            Outcome::Error(code) => Self::Error(code.into()),
        }
    }
}
