//! How messages are written: as JSON or as they are.

use bytes::Bytes;
use http::{Extensions, HeaderMap, header::CONTENT_TYPE};
use prost::Message;
use tonic::{Request, Response, Status};

use super::json::{FromJson, ToJson};
use crate::gateway_api::serve::MESSAGE_MAX;

const JSON: &str = "application/json";
const PROTO: &str = "application/proto";
pub(super) const CONTENT_TYPES: &str = "application/json, application/proto";

/// JSON in a string of JSON may take twice its bytes; what is escaped beyond need takes more, and
/// must be less.
const JSON_MAX: usize = 2 * MESSAGE_MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Json,
    Proto,
}

impl Codec {
    /// By the type alone, as a page may choose it only if it asks before: no other that a page
    /// can send by itself is read, whatever is in it.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut sent = headers.get_all(CONTENT_TYPE).iter();
        let (Some(sent), None) = (sent.next(), sent.next()) else { return None };
        let mut parts = sent.to_str().ok()?.split(';').map(str::trim);
        let media_type = parts.next()?;
        let is_utf8 = parts.all(|part| match part.split_once('=') {
            Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
                value.trim_matches('"').eq_ignore_ascii_case("utf-8")
            }
            _ => true,
        });
        match media_type {
            name if name.eq_ignore_ascii_case(JSON) && is_utf8 => Some(Self::Json),
            name if name.eq_ignore_ascii_case(PROTO) => Some(Self::Proto),
            _ => None,
        }
    }

    /// Of its answers, too.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Json => JSON,
            Self::Proto => PROTO,
        }
    }

    /// Of a body, in bytes.
    pub(super) fn size_max(self) -> usize {
        match self {
            Self::Json => JSON_MAX,
            Self::Proto => MESSAGE_MAX,
        }
    }

    /// `extensions`: what goes with the request to its handler.
    pub(super) fn read<M: FromJson + Message + Default>(
        self,
        body: Bytes,
        extensions: Extensions,
    ) -> Result<Request<M>, Status> {
        let message = match self {
            Self::Json => M::from_json(&body),
            Self::Proto => M::decode(body).map_err(|error| format!("the body: {error}")),
        };
        let mut request = Request::new(message.map_err(Status::invalid_argument)?);
        *request.extensions_mut() = extensions;
        Ok(request)
    }

    pub(super) fn write<M: Message + ToJson>(self, reply: Response<M>) -> Vec<u8> {
        let reply = reply.into_inner();
        match self {
            Self::Json => reply.to_json(),
            Self::Proto => reply.encode_to_vec(),
        }
    }
}
