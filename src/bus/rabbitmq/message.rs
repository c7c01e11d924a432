//! An AMQP message as it is handed to a publisher.

use lapin::{
    BasicProperties,
    types::{FieldTable, ShortString},
};

/// A message on its way to the broker.
pub(super) struct Message {
    pub exchange: ShortString,
    pub routing_key: ShortString,
    /// Their headers are those below.
    pub properties: BasicProperties,
    pub headers: FieldTable,
    pub body: Vec<u8>,
    /// It comes back where it leads to no queue.
    pub mandatory: bool,
}
