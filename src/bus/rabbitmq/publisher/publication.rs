//! What goes to the broker as one message, with those who wait for it.

use super::{
    gatherer::Item,
    receipt::{Outcome, Pending, Receipt},
};
use crate::{
    bus::rabbitmq::{
        batch, direct, entry,
        message::Message,
        window::{Permits, weight},
    },
    event::OutgoingEvent,
};

/// Something to publish, with whoever waits for it.
pub(crate) struct Job {
    pub content: Content,
    pub receipt: Receipt,
}

pub(crate) enum Content {
    /// May share a message with others of its exchange.
    Event(OutgoingEvent),
    /// Of an exchange without a log: a message of its own.
    Direct(OutgoingEvent),
    /// One that is made already.
    Message(Box<Message>),
}

/// Something that may wait for the broker.
pub(crate) struct Admitted {
    pub content: Content,
    /// Of a message of its own.
    pub size: usize,
    pub permits: Permits,
}

impl Content {
    /// Of a message of its own.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Event(event) | Self::Direct(event) => event.body.json_size(),
            Self::Message(message) => message.body.len(),
        }
    }

    fn shared_size(&self) -> Option<usize> {
        match self {
            Self::Event(event) => {
                Some(batch::size(event)).filter(|bytes| *bytes <= batch::BYTES_MAX)
            }
            Self::Direct(_) | Self::Message(_) => None,
        }
    }
}

impl Admitted {
    pub(crate) fn for_caller(self, pending: &Pending) -> Item<Job> {
        let Self { content, size, permits } = self;
        let (shared_bytes, receipt) = (content.shared_size(), pending.receipt(permits));
        Item { what: Job { content, receipt }, shared_bytes, alone_bytes: size }
    }
}

/// See the top of this file.
pub(crate) struct Publication {
    pub message: Message,
    pub waiting: Waiting,
}

/// Those who wait for one message, and its part of what may be unconfirmed.
pub(crate) struct Waiting {
    receipts: Vec<Receipt>,
    /// How many events the message holds.
    pub events: usize,
    _permits: Option<Permits>,
}

impl Publication {
    /// Of all that may still be written; `None` where nothing may.
    pub(crate) fn of(items: Vec<Item<Job>>, mut permits: Permits) -> Option<Self> {
        let mut receipts = Vec::with_capacity(items.len());
        let (mut events, mut made, mut count) = (Vec::with_capacity(items.len()), None, 0);
        for Job { content, receipt } in items.into_iter().map(|item| item.what) {
            if !receipt.begin() {
                continue;
            }
            receipts.push(receipt);
            match content {
                Content::Event(event) => events.push(event),
                Content::Direct(event) => (made, count) = (Some(direct::outgoing(event)), 1),
                Content::Message(message) => made = Some(*message),
            }
        }
        let count = count + events.len();
        let message = made.or_else(|| entry_of(events))?;
        permits.shrink(weight(message.body.len()));
        let waiting = Waiting { receipts, events: count, _permits: Some(permits) };
        Some(Self { message, waiting })
    }

    /// For a message that nobody waits for.
    pub(crate) fn unheard(message: Message) -> Self {
        Self { message, waiting: Waiting { receipts: Vec::new(), events: 0, _permits: None } }
    }
}

/// One event alone is an entry that every reader of the log knows.
fn entry_of(mut events: Vec<OutgoingEvent>) -> Option<Message> {
    match events.len() {
        0 | 1 => events.pop().map(entry::event),
        _ => {
            let exchange = events.first()?.topic.exchange.clone();
            Some(entry::batch(&exchange, events))
        }
    }
}

impl Waiting {
    /// They share its fate.
    pub(crate) fn settle(self, outcome: &Outcome) {
        self.receipts.into_iter().for_each(|receipt| receipt.settle(outcome.clone()));
    }
}
