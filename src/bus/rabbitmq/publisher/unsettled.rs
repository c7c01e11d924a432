//! What was published on one channel and is not settled: how it is written, and what is known
//! of it when the channel breaks.

use futures_util::{
    FutureExt,
    future::{BoxFuture, poll_immediate, ready},
};
use lapin::{BasicProperties, Channel, options::BasicPublishOptions, types::AMQPValue};

use super::{
    ledger::Ledger,
    publication::{Publication, Waiting},
};
use crate::bus::rabbitmq::{
    connection::BrokerError, message::Message, not_published::NotPublished,
};

/// Tells one message from another when the broker returns it; see [`Ledger`].
const SEQUENCE_HEADER: &str = "x-myxi-seq";

/// See the top of this file.
#[derive(Default)]
pub(super) struct Unsettled {
    ledger: Ledger<Waiting>,
    /// The broker has taken or returned one of them, or failed over it.
    answered: bool,
    /// Written, and then the channel was closed.
    lost: Vec<u64>,
    /// Why the broker closed the channel, where it was over one of them.
    refusal: Option<String>,
}

impl Unsettled {
    /// The one place where something is published. The first poll hands it to lapin: here, so
    /// that order is kept.
    pub(super) async fn hand_over(
        &mut self,
        channel: &Channel,
        Publication { message, waiting }: Publication,
    ) -> Writing {
        let sequence = self.ledger.expect(waiting);
        let mut writing = write(channel.clone(), sequence, message).boxed();
        match poll_immediate(&mut writing).await {
            Some(done) => ready(done).boxed(),
            None => writing,
        }
    }

    /// Whether the broker has answered one of them, other than by closing the channel.
    pub(super) fn any_answered(&self) -> bool {
        self.answered
    }

    /// See [`Ledger::confirm`].
    pub(super) fn confirm(&mut self, confirms: &[(u64, Option<u64>)]) -> Vec<(Waiting, bool)> {
        self.answered |= !confirms.is_empty();
        self.ledger.confirm(confirms)
    }

    /// What the broker could not take care of it may still have in part.
    pub(super) fn nack(&mut self, sequence: u64, carried: Option<u64>) {
        self.answered = true;
        self.give_up(sequence, carried, NotPublished::Unconfirmed);
    }

    pub(super) fn not_written(&mut self, sequence: u64, error: &BrokerError) {
        let reason = self.refusal.clone().unwrap_or_else(|| error.to_string());
        self.give_up(sequence, None, NotPublished::Unavailable(reason));
    }

    pub(super) fn lose(&mut self, sequence: u64, error: &BrokerError) {
        self.lost.push(sequence);
        if error.is_refusal() {
            self.refusal.get_or_insert_with(|| error.to_string());
        }
    }

    /// Tells what became of those that were lost, once there are no more of them; answers
    /// why the broker refused, if so.
    ///
    /// A broker that refuses a message closes the channel before it routes it, and takes
    /// nothing from the channel that comes behind. It does not say which message it was, and
    /// what came before that one it may have taken without a chance to confirm it. So the
    /// last one is certain: it was refused, or was behind.
    pub(super) fn give_up_lost(&mut self) -> Option<String> {
        let last = self.lost.iter().max().copied();
        for sequence in std::mem::take(&mut self.lost) {
            let why = match &self.refusal {
                Some(reason) if Some(sequence) == last => NotPublished::Unavailable(reason.clone()),
                _ => NotPublished::Unconfirmed,
            };
            self.give_up(sequence, None, why);
        }
        self.refusal.take()
    }

    fn give_up(&mut self, sequence: u64, carried: Option<u64>, why: NotPublished) {
        if let Some(waiting) = self.ledger.give_up(sequence, carried) {
            waiting.settle(&Err(why));
        }
    }
}

/// A message that is under way, by its number.
pub(super) type Writing = BoxFuture<'static, (u64, Written)>;

/// What became of one message, as far as lapin tells.
pub(super) enum Written {
    /// Not a complete message went out.
    No(BrokerError),
    /// It went out, and then the channel broke.
    Lost(BrokerError),
    /// `carried` is a returned message: some message's, not always this one's.
    Confirmed { acked: bool, carried: Option<u64> },
}

impl Written {
    pub(super) fn is_ack(&self) -> bool {
        matches!(self, Self::Confirmed { acked: true, .. })
    }
}

async fn write(channel: Channel, sequence: u64, message: Message) -> (u64, Written) {
    let Message { exchange, routing_key, properties, mut headers, body, mandatory } = message;
    headers.insert(SEQUENCE_HEADER.into(), AMQPValue::Timestamp(sequence));
    let properties = properties.with_headers(headers);
    let options = BasicPublishOptions { mandatory, immediate: false };
    let confirm =
        match channel.basic_publish(exchange, routing_key, options, &body, properties).await {
            Ok(confirm) => confirm,
            Err(e) => return (sequence, Written::No(e.into())),
        };
    let written = match confirm.await {
        Ok(confirmation) => {
            let acked = confirmation.is_ack();
            let returned = confirmation.take_message();
            Written::Confirmed {
                acked,
                carried: returned.map(|message| sequence_of(&message.properties)),
            }
        }
        Err(e) => Written::Lost(e.into()),
    };
    (sequence, written)
}

fn sequence_of(properties: &BasicProperties) -> u64 {
    let headers = properties.headers().as_ref();
    match headers.and_then(|headers| headers.inner().get(SEQUENCE_HEADER)) {
        Some(AMQPValue::Timestamp(sequence)) => *sequence,
        // No message has it.
        _ => 0,
    }
}
