//! Why a call failed, as Connect says it: gRPC's code under its name and with the status that
//! HTTP has for it, and the same words.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;
use tonic::{Code, Status, body::Body};

use crate::gateway_api::routes::HttpResponse;

pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    header: Option<(HeaderName, &'static str)>,
}

#[derive(Serialize)]
struct Error<'a> {
    code: &'a str,
    message: &'a str,
}

impl Refusal {
    /// Where HTTP has a better word than the code.
    pub(super) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    pub(super) fn with(self, name: HeaderName, value: &'static str) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    pub(super) fn into_response(self) -> HttpResponse {
        let error = Error { code: self.code, message: &self.message };
        let body = serde_json::to_vec(&error).expect("text always serializes");
        let mut response = HttpResponse::new(Body::new(Full::new(Bytes::from(body))));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some((name, value)) = self.header {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        let (http, code) = words(status.code());
        let http = StatusCode::from_u16(http).expect("a status");
        Self { status: http, code, message: status.message().into(), header: None }
    }
}

/// As the Connect protocol lists them.
fn words(code: Code) -> (u16, &'static str) {
    match code {
        Code::Cancelled => (499, "canceled"),
        Code::InvalidArgument => (400, "invalid_argument"),
        Code::DeadlineExceeded => (504, "deadline_exceeded"),
        Code::NotFound => (404, "not_found"),
        Code::AlreadyExists => (409, "already_exists"),
        Code::PermissionDenied => (403, "permission_denied"),
        Code::ResourceExhausted => (429, "resource_exhausted"),
        Code::FailedPrecondition => (400, "failed_precondition"),
        Code::Aborted => (409, "aborted"),
        Code::OutOfRange => (400, "out_of_range"),
        Code::Unimplemented => (501, "unimplemented"),
        Code::Internal => (500, "internal"),
        Code::Unavailable => (503, "unavailable"),
        Code::DataLoss => (500, "data_loss"),
        Code::Unauthenticated => (401, "unauthenticated"),
        Code::Ok | Code::Unknown => (500, "unknown"),
    }
}
