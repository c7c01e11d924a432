//! An event as it stands in a log, read as far as it takes to see who wants it: what nobody
//! here wants costs no look at its JSON and no copy.

use std::sync::Arc;

use super::{
    Event, EventBody, Exchange, InvalidEvent, Position, PushedAt, SHORT_STRING_MAX, Topic,
    is_short_text,
};

/// Other programs write logs too: but for what [`RawEvent::new`] checks, nothing about it is
/// taken for granted.
#[derive(Debug, Clone, Copy)]
pub struct RawEvent<'a> {
    routing_key: &'a str,
    body: RawBody<'a>,
    /// Behind it.
    position: Position,
    pushed_at: Option<PushedAt>,
    /// Under which it is the same event if it comes again.
    id: Option<&'a [u8]>,
    /// In bytes of [`EventBody::to_json`].
    max_size: usize,
}

/// The forms in which name and payload stand in a log.
#[derive(Debug, Clone, Copy)]
pub enum RawBody<'a> {
    /// `{"event":"Name","payload":…}`
    Json(&'a [u8]),
    Parts {
        name: &'a [u8],
        /// Empty for `{}`.
        payload: &'a [u8],
    },
    /// Checked already.
    Valid(&'a EventBody),
}

impl<'a> RawEvent<'a> {
    /// `max_size` bounds the body as JSON, in bytes.
    pub fn new(
        routing_key: &'a [u8],
        body: RawBody<'a>,
        position: Position,
        pushed_at: Option<PushedAt>,
        max_size: usize,
    ) -> Result<Self, InvalidEvent> {
        let size = body.least_size();
        if size > max_size {
            return Err(InvalidEvent::TooBig { size, max: max_size });
        }
        let routing_key = str::from_utf8(routing_key).map_err(|_| InvalidEvent::RoutingKey)?;
        if !is_short_text(routing_key) {
            return Err(InvalidEvent::RoutingKey);
        }
        Ok(Self { routing_key, body, position, pushed_at, id: None, max_size })
    }

    /// One that is to be delivered once under this id, which says nothing where it is empty. It
    /// is looked at whole: what is no event must not withhold one.
    pub fn deduplicated(self, id: &'a [u8]) -> Result<Self, InvalidEvent> {
        if id.is_empty() {
            return Ok(self);
        }
        self.read_body()?;
        Ok(Self { id: Some(id), ..self })
    }

    pub fn routing_key(&self) -> &'a str {
        self.routing_key
    }

    /// Where it is to be delivered once under it.
    pub fn id(&self) -> Option<&'a [u8]> {
        self.id
    }

    pub fn pushed_at(&self) -> Option<PushedAt> {
        self.pushed_at
    }

    /// The event itself, where it is one.
    pub fn read(&self, exchange: &Exchange) -> Result<Event, InvalidEvent> {
        let body = self.read_body()?;
        let topic = Topic::new(exchange.clone(), self.routing_key)?;
        Ok(Event { topic, body, position: self.position, pushed_at: self.pushed_at })
    }

    fn read_body(&self) -> Result<EventBody, InvalidEvent> {
        match self.body {
            RawBody::Json(json) => EventBody::from_json(json),
            RawBody::Parts { name, payload } => self.parts(name, payload),
            RawBody::Valid(body) => Ok(body.clone()),
        }
    }

    fn parts(&self, name: &[u8], payload: &[u8]) -> Result<EventBody, InvalidEvent> {
        let name = str::from_utf8(name).map_err(|_| InvalidEvent::Name)?;
        let no_text = |error: std::str::Utf8Error| InvalidEvent::Payload(error.to_string());
        let body = EventBody::new(name, str::from_utf8(payload).map_err(no_text)?)?;
        let size = body.json_size();
        if size > self.max_size {
            return Err(InvalidEvent::TooBig { size, max: self.max_size });
        }
        Ok(body)
    }
}

/// A raw event that outlives the entry it was read from.
#[derive(Debug)]
pub struct StoredEvent {
    routing_key: Arc<str>,
    /// As JSON; or the name, so many bytes of it, and the payload.
    body: Box<[u8]>,
    name: Option<u32>,
    position: Position,
    max_size: usize,
}

impl StoredEvent {
    /// The key is that of the event.
    pub fn new(event: &RawEvent<'_>, routing_key: Arc<str>) -> Self {
        let (name, payload) = match event.body {
            RawBody::Json(json) => (None, json),
            RawBody::Parts { name, payload } => (Some(name), payload),
            RawBody::Valid(body) => (Some(body.name.as_bytes()), body.payload.get().as_bytes()),
        };
        Self {
            routing_key,
            body: [name.unwrap_or_default(), payload].concat().into(),
            name: name.map(|name| name.len() as u32),
            position: event.position,
            max_size: event.max_size,
        }
    }

    pub fn routing_key(&self) -> &str {
        &self.routing_key
    }

    pub fn position(&self) -> Position {
        self.position
    }

    /// Of its texts, in bytes.
    pub fn size(&self) -> usize {
        self.routing_key.len() + self.body.len()
    }

    /// The event itself, where it is one.
    pub fn read(&self, exchange: &Exchange) -> Result<Event, InvalidEvent> {
        let body = match self.name {
            None => RawBody::Json(&self.body),
            Some(length) => {
                let (name, payload) = self.body.split_at(length as usize);
                RawBody::Parts { name, payload }
            }
        };
        let key = self.routing_key.as_bytes();
        RawEvent::new(key, body, self.position, None, self.max_size)?.read(exchange)
    }
}

impl RawBody<'_> {
    /// What the body takes as JSON at least.
    fn least_size(&self) -> usize {
        match self {
            Self::Json(json) => json.len(),
            Self::Parts { name, payload } => {
                // A longer name is none. Escapes come on top.
                name.len().min(SHORT_STRING_MAX) + payload.len()
            }
            Self::Valid(body) => body.payload.get().len(),
        }
    }
}
