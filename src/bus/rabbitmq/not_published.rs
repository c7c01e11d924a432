//! How publishing to the broker fails, and what that means to the bus's callers.

use crate::bus::PublishError;

/// Why a message is not known to be where it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotPublished {
    /// Certainly not published.
    #[error("{0}")]
    Unavailable(String),
    /// Certainly not published: the broker holds publishers back, or too much waits.
    #[error("{0}")]
    Overloaded(&'static str),
    /// Certainly not published: it leads to no queue.
    #[error("the broker found no queue for it")]
    Unroutable,
    #[error("the broker did not confirm it in time")]
    Unconfirmed,
}

impl From<NotPublished> for PublishError {
    fn from(why: NotPublished) -> Self {
        match why {
            NotPublished::Unavailable(reason) => Self::Unavailable(reason),
            NotPublished::Overloaded(reason) => Self::Overloaded(reason.into()),
            NotPublished::Unroutable => {
                Self::Unavailable("the broker's log of this exchange is not there".into())
            }
            NotPublished::Unconfirmed => Self::Unconfirmed,
        }
    }
}
