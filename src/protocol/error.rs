//! What a client is told when something went wrong.

use std::{collections::BTreeMap, time::Duration};

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::value::{RawValue, to_raw_value};
use strum::{IntoStaticStr, VariantNames};

use crate::metrics::ErrorLabel;

/// The gateway's own error codes. An application may answer with codes of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr, VariantNames)]
pub enum ErrorCode {
    InvalidJSON,
    InvalidAction,
    InvalidPayload,
    InvalidExchangeName,
    InvalidRoutingKey,
    SubscriptionDenied,
    AlreadySubscribed,
    TooManySubscriptions,
    AuthRequired,
    PermissionDenied,
    ActionTimeout,
    ApplicationUnavailable,
    ExchangeUnavailable,
    Busy,
    InternalError,
}

impl ErrorCode {
    /// All of them, as clients are told them.
    pub const NAMES: &[&str] = Self::VARIANTS;
}

/// `None`: a code of the application's own.
impl From<Option<ErrorCode>> for ErrorLabel {
    fn from(code: Option<ErrorCode>) -> Self {
        code.map_or(Self::Application, |code| Self::Gateway(code as usize))
    }
}

#[derive(Debug, Clone)]
enum Code {
    Own(ErrorCode),
    Application(Box<str>),
}

/// The payload of an `Error`. Whether it may be retried is settled where it is made:
/// `retryable` means that it certainly did not happen.
#[derive(Debug, Clone)]
pub struct ClientError {
    code: Code,
    retryable: bool,
    outcome_unknown: bool,
    details: BTreeMap<String, Box<RawValue>>,
    /// For the operator; the client is not told.
    cause: Option<Box<str>>,
}

impl ClientError {
    pub fn new(code: ErrorCode) -> Self {
        Self {
            code: Code::Own(code),
            retryable: false,
            outcome_unknown: false,
            details: BTreeMap::new(),
            cause: None,
        }
    }

    pub fn retryable(code: ErrorCode) -> Self {
        Self { retryable: true, ..Self::new(code) }
    }

    pub fn outcome_unknown(code: ErrorCode) -> Self {
        Self { outcome_unknown: true, ..Self::new(code) }
    }

    /// Certainly not done; worth trying again after a while.
    pub fn busy() -> Self {
        Self::retryable(ErrorCode::Busy)
            .detail("retry_after_ms", &Self::RETRY_BUSY_AFTER.as_millis())
    }

    /// What the gateway says itself, whatever an application's details say.
    pub const RESERVED: [&str; 3] = ["error", "retryable", "outcome"];

    /// As long as an action waits its turn before it is told `Busy`.
    const RETRY_BUSY_AFTER: Duration = Duration::from_secs(1);

    /// An application's own error. Its details cannot contradict what the gateway says.
    pub fn by_application(
        code: Box<str>,
        mut details: BTreeMap<String, Box<RawValue>>,
        retryable: bool,
    ) -> Self {
        for name in Self::RESERVED {
            details.remove(name);
        }
        let code = Code::Application(code);
        Self { code, retryable, outcome_unknown: false, details, cause: None }
    }

    /// `None`: one of the application's own.
    pub fn code(&self) -> Option<ErrorCode> {
        match self.code {
            Code::Own(code) => Some(code),
            Code::Application(_) => None,
        }
    }

    /// As clients are told it.
    pub(super) fn name(&self) -> &str {
        match &self.code {
            Code::Own(code) => code.into(),
            Code::Application(code) => code,
        }
    }

    pub(super) fn details(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.details.iter().map(|(name, value)| (name.as_str(), &**value))
    }

    pub fn because(self, cause: impl Into<Box<str>>) -> Self {
        Self { cause: Some(cause.into()), ..self }
    }

    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// A sentence for the developer who reads the frame.
    pub fn message(self, message: impl AsRef<str>) -> Self {
        self.detail("message", message.as_ref())
    }

    pub fn detail(mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Self {
        let value = to_raw_value(value).expect("text, numbers and raw JSON always serialize");
        self.details.insert(name.into(), value);
        self
    }
}

impl Serialize for ClientError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("error", self.name())?;
        map.serialize_entry("retryable", &self.retryable)?;
        if self.outcome_unknown {
            map.serialize_entry("outcome", "unknown")?;
        }
        for (name, value) in self.details() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
