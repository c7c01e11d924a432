//! How the admin listener answers: JSON, also where something is wrong.

use bytes::Bytes;
use http::{
    Response, StatusCode,
    header::{self, HeaderName, HeaderValue},
};
use http_body_util::Full;
use serde::Serialize;

use crate::net::small_http;

pub(super) type Answer = Response<Full<Bytes>>;

/// Why a request is not answered, for the person who sent it.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    text: String,
    header: Option<(HeaderName, &'static str)>,
}

impl Refusal {
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), header: None }
    }

    pub fn bad_request(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    pub fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.header = Some((name, value));
        self
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        #[derive(Serialize)]
        struct Body<'a> {
            error: &'a str,
        }
        let mut answer = json(refusal.status, &Body { error: &refusal.text });
        if let Some((name, value)) = refusal.header {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        answer
    }
}

pub(super) fn ok(body: &impl Serialize) -> Answer {
    json(StatusCode::OK, body)
}

pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(body).expect("text and numbers always serialize");
    fresh(status, "application/json", body)
}

/// What is true now, and is nobody else's.
pub(super) fn fresh(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Answer {
    let mut answer = small_http::response(status, content_type, body);
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// Whether the text holds another, which is in lower case; ASCII letters of both cases are
/// the same.
pub(super) fn holds(text: &str, lower: &str) -> bool {
    let (text, lower) = (text.as_bytes(), lower.as_bytes());
    lower.is_empty() || text.windows(lower.len()).any(|part| part.eq_ignore_ascii_case(lower))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_whatever_its_case() {
        assert!(holds("{\"User\":\"Adam\"}", "user\":\"adam"));
        assert!(holds("größer", "ß") && holds("x", ""));
        assert!(!holds("ada", "adam"));
    }
}
