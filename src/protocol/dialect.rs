//! The dialects of the wire: the one that is documented, and that of the Ruby original, for pages
//! that were written for it (`--compatibility myxi`). All in which they differ is decided here,
//! and each session has one from its handshake on.

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::value::RawValue;

use super::{
    ClientError, ClientMessage, ErrorCode, Frame, KeyForm, KeySelection, Tag, TopicRequest,
    client::{InvalidMessage, TopicMembers},
    frame,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    #[default]
    Documented,
    /// Of the Ruby original. What it says more than that did stays, where a page that looks
    /// for what it knows does not see it; docs/from-myxi.md has the list.
    Original,
}

impl Dialect {
    pub fn parse(self, text: &str) -> Result<ClientMessage<'_>, InvalidMessage<'_>> {
        let mut message = ClientMessage::parse(text)?;
        // In Ruby neither is a payload.
        if self == Self::Original && matches!(message.payload, "null" | "false") {
            message.payload = "{}";
        }
        Ok(message)
    }

    /// The topics that a `Subscribe` or `Unsubscribe` names.
    pub fn topics<'a>(self, message: &ClientMessage<'a>) -> Result<TopicRequest<'a>, ClientError> {
        if self == Self::Documented {
            return message.topics();
        }
        let mut members = TopicMembers::read(message.payload)?;
        // The array went first, to `Unsubscribe` a null was no key, and nothing had a past.
        let wanted = |key: &&RawValue| members.routing_keys.is_none() && key.get() != "null";
        members.routing_key = members.routing_key.filter(wanted);
        (members.after, members.last) = (None, None);
        members.request()
    }

    /// How a key comes back of which the client does not speak just now.
    pub fn kept(self, form: KeyForm) -> KeyForm {
        match self {
            Self::Documented => form,
            Self::Original => KeyForm::String,
        }
    }

    /// Whether clients know what is said beside replies and events: `Done`, `Gap`, `Reconnect`.
    pub fn has_hints(self) -> bool {
        self == Self::Documented
    }

    /// How often an error is told that a message has: the original took each key by itself.
    pub fn times(self, message: &ClientMessage<'_>, error: &ClientError) -> usize {
        let of_each_key = error.code() == Some(ErrorCode::InvalidExchangeName);
        if self == Self::Documented || !of_each_key {
            return 1;
        }
        match self.topics(message) {
            Ok(TopicRequest { keys: KeySelection::Named(keys), .. }) => keys.len(),
            _ => 1,
        }
    }

    /// Whether a client must be sent away to ask again. The original's asks whenever it has
    /// connected, and at no other time; it comes back after 5 s. Of what fails whenever it is
    /// asked it is told: it would come for ever.
    pub fn asks_when_connected(self, error: &ClientError) -> bool {
        let undecided = matches!(
            error.code(),
            Some(
                ErrorCode::ApplicationUnavailable
                    | ErrorCode::ActionTimeout
                    | ErrorCode::Busy
                    | ErrorCode::ExchangeUnavailable
            )
        );
        self == Self::Original && undecided
    }

    pub fn error(self, tag: Option<&Tag>, error: &ClientError) -> Frame {
        match (self, error.code()) {
            (Self::Documented, _) => super::error(tag, error),
            (Self::Original, Some(ErrorCode::InternalError)) => {
                frame("InternalError", tag, InternalError::SAID)
            }
            (Self::Original, _) => frame("Error", tag, OriginalError(error)),
        }
    }
}

/// The original named the exception, and told what it said.
#[derive(Serialize)]
struct InternalError {
    error: &'static str,
    message: &'static str,
}

impl InternalError {
    const SAID: Self = Self { error: "InternalError", message: "the application failed" };
}

/// What pages know of an error: its code, and what it is about.
struct OriginalError<'a>(&'a ClientError);

impl Serialize for OriginalError<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(error) = self;
        let mut map = serializer.serialize_map(None)?;
        let name = match error.code() {
            Some(ErrorCode::InvalidExchangeName) => "InvalidExchange",
            _ => error.name(),
        };
        map.serialize_entry("error", name)?;
        // All that the application says of an error of its own, as it always did.
        let known =
            |name: &str| error.code().is_none() || ["exchange", "routing_key"].contains(&name);
        for (name, value) in error.details().filter(|(name, _)| known(name)) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
