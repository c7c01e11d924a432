//! Who is turned away before the service sees the call. An application that forgot the token
//! passes `UNAUTHENTICATED` on, and it looks like its user's: so each reason is counted and,
//! now and then, in the log.

use std::{net::IpAddr, sync::Arc};

use tonic::{Code, Status};

use crate::{
    complaints::{Complaint, Complaints},
    metrics::{CallRefused, CallStatus, Metrics},
    net::token::BearerToken,
};

pub(super) struct Callers {
    token: Option<BearerToken>,
    metrics: Arc<Metrics>,
    complaints: Complaints,
}

impl Callers {
    pub(super) fn new(token: Option<BearerToken>, metrics: Arc<Metrics>) -> Self {
        Self { token, metrics, complaints: Complaints::of("refused calls to the Gateway service") }
    }

    /// Whether a token is asked for.
    pub(super) fn have_token(&self) -> bool {
        self.token.is_some()
    }

    /// Whether the request bears the token, where one is set.
    pub(super) fn check<B>(&self, request: &http::Request<B>) -> Result<(), CallRefused> {
        match &self.token {
            Some(token) if !token.authorizes(request.headers()) => {
                let none = !request.headers().contains_key(http::header::AUTHORIZATION);
                Err(if none { CallRefused::NoToken } else { CallRefused::WrongToken })
            }
            _ => Ok(()),
        }
    }

    /// What the caller is told.
    pub(super) fn refuse<B>(&self, request: &http::Request<B>, reason: CallRefused) -> Status {
        self.metrics.gateway_calls_refused[reason].inc();
        let status = status(reason);
        let peer = request.extensions().get::<IpAddr>().copied();
        self.complaints.hear(Complaint {
            rpc: method(request.uri().path()),
            peer,
            status: Some(CallStatus::from(status.code()).into()),
            problem: Some(status.message().into()),
            ..Complaint::new("a call to the Gateway service was refused")
        });
        status
    }
}

fn status(reason: CallRefused) -> Status {
    let (code, message) = match reason {
        CallRefused::NoToken => {
            (Code::Unauthenticated, "the bearer token (--grpc-token) is missing")
        }
        CallRefused::WrongToken => {
            (Code::Unauthenticated, "the bearer token is another than --grpc-token")
        }
        CallRefused::WebPage => (
            Code::PermissionDenied,
            "this is for programs: a request with Origin or Sec-Fetch-Site is of a web page",
        ),
        CallRefused::Host => (
            Code::PermissionDenied,
            "without --grpc-token the Host must be localhost or an IP address",
        ),
        CallRefused::Method => (Code::Unimplemented, "only POST"),
        CallRefused::ContentType => (
            Code::InvalidArgument,
            "the Content-Type must be application/json or application/proto",
        ),
        CallRefused::Overload => (Code::ResourceExhausted, "too many calls at once"),
        CallRefused::NoService => (Code::Unimplemented, "there is no such service"),
    };
    Status::new(code, message)
}

/// The last part of a path, where it may be a name and nothing else.
fn method(path: &str) -> Option<String> {
    let (_, name) = path.rsplit_once('/')?;
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (plain && !name.is_empty()).then(|| name.into())
}
