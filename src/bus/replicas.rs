//! Questions from one replica to another.

use std::time::Duration;

use async_trait::async_trait;

use crate::ids::ReplicaId;

/// The other replicas of the fleet.
#[async_trait]
pub trait Replicas: Send + Sync {
    /// Puts a question to another replica and waits for its answer, `deadline` at most. Only
    /// an answer says anything of what that replica holds.
    async fn ask(
        &self,
        replica: ReplicaId,
        question: Vec<u8>,
        deadline: Duration,
    ) -> Result<Vec<u8>, AskError>;
}

/// What this replica answers to the others' questions.
#[async_trait]
pub trait Answers: Send + Sync {
    async fn answer(&self, question: Vec<u8>) -> Vec<u8>;
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Where a bus knows it: it has but one replica.
    #[error("there is no replica {0}")]
    NoSuchReplica(ReplicaId),
    /// Certainly not asked. It is gone, or only cut off from the bus and serves its clients.
    #[error("replica {0} cannot be reached")]
    Unreachable(ReplicaId),
    /// Certainly not asked.
    #[error("the replica could not be asked: {0}")]
    Unavailable(String),
    /// Asked, perhaps answered; no answer came.
    #[error("replica {0} did not answer in time")]
    NoAnswer(ReplicaId),
}
