//! A replica's queue on the broker, and reading it.
//!
//! It is exclusive to its connection: it goes at once when that goes, so that nobody waits
//! for a replica that was killed; it is made wherever the next connection leads, so no node
//! of a cluster takes it down with it; and a message that lapin cannot read, which costs the
//! connection, goes with it too.

use std::sync::Arc;

use futures_util::StreamExt;
use lapin::{
    Channel, Consumer,
    message::Delivery,
    options::{
        BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions,
        QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};

use crate::{
    bus::rabbitmq::{
        connection::{BrokerConnection, BrokerError, within},
        topology,
    },
    ids::ReplicaId,
};

/// What waits in a queue of a replica that does not read.
const QUEUE_LENGTH: i32 = 1_000;

/// Questions that are answered at the same time; also what lapin holds of them.
const PREFETCH: u16 = 64;

/// Where the queue lives. One name for each connection: another try on the same one finds
/// what the last one left.
pub(super) struct Home {
    pub connection: Arc<BrokerConnection>,
    replica: ReplicaId,
    queue: ShortString,
}

impl Home {
    /// The last one, unless its connection is another one.
    pub(super) fn on(
        connection: Arc<BrokerConnection>,
        replica: ReplicaId,
        last: &mut Option<Self>,
    ) -> &Self {
        last.take_if(|last| !Arc::ptr_eq(&last.connection, &connection));
        last.get_or_insert_with(|| Self {
            connection,
            replica,
            queue: topology::new_replica_queue(replica),
        })
    }
}

pub(super) struct Inbox {
    consumer: Consumer,
    binding: Binding,
}

/// What leads questions and answers to the queue.
#[derive(Clone)]
pub(super) struct Binding {
    channel: Channel,
    queue: ShortString,
    key: ShortString,
}

impl Inbox {
    /// Reads first and is bound then: what comes is read.
    pub(super) async fn open(home: &Home) -> Result<Self, BrokerError> {
        topology::ensure_replicas(&home.connection).await?;
        let channel = home.connection.channel().await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(QUEUE_LENGTH));
        arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
        let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
        let queue = home.queue.clone();
        let declaring = channel.queue_declare(queue.clone(), options, arguments);
        within("declaring this replica's queue", declaring).await?;
        within("setting a prefetch", channel.basic_qos(PREFETCH, BasicQosOptions::default()))
            .await?;
        let options = BasicConsumeOptions::default();
        let consuming =
            channel.basic_consume(queue.clone(), "".into(), options, FieldTable::default());
        let consumer = within("reading this replica's queue", consuming).await?;
        let key = topology::replica_key(home.replica);
        let binding = Binding { channel, queue, key };
        binding.make().await?;
        Ok(Self { consumer, binding })
    }

    pub(super) async fn next(&mut self) -> Result<Delivery, BrokerError> {
        let cancelled = || BrokerError::Unexpected("the broker ended the reading".into());
        Ok(self.consumer.next().await.ok_or_else(cancelled)??)
    }

    pub(super) fn binding(&self) -> Binding {
        self.binding.clone()
    }

    pub(super) async fn delete(self) -> Result<(), BrokerError> {
        let Binding { channel, queue, .. } = self.binding;
        let deleting = channel.queue_delete(queue, QueueDeleteOptions::default());
        within("deleting this replica's queue", deleting).await.map(drop)
    }
}

impl Binding {
    /// Changes nothing where there is one.
    pub(super) async fn make(&self) -> Result<(), BrokerError> {
        let binding = self.channel.queue_bind(
            self.queue.clone(),
            topology::replicas_exchange(),
            self.key.clone(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        within("binding this replica's queue", binding).await
    }
}
