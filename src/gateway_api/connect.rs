//! The `Gateway` service for what cannot speak gRPC: the same messages as JSON, or as they are,
//! posted to the same paths. The form is that of the Connect protocol's unary calls, so its
//! clients will do as well as `curl`.
//!
//! Here is only the form: what is asked goes to the same methods as gRPC's calls, asks for the
//! same token, and counts against the same [`Load`].

mod body;
mod codec;
mod guard;
mod head;
mod json;
mod refusal;

use std::sync::Arc;

use bytes::Bytes;
use http::{Extensions, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::Full;
use tokio::time::timeout_at;
use tonic::{Status, body::Body};

use self::{
    codec::Codec,
    head::{Head, Rpc},
    refusal::Refusal,
};
use super::{
    GatewayApi,
    callers::Callers,
    load::Load,
    routes::{HttpRequest, HttpResponse},
};
use crate::{metrics::CallRefused, proto::gateway_server::Gateway};

const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");

pub(super) struct Connect {
    api: GatewayApi,
    callers: Arc<Callers>,
    load: Load,
}

impl Connect {
    pub(super) fn new(api: GatewayApi, callers: Arc<Callers>, load: Load) -> Self {
        Self { api, callers, load }
    }

    pub(super) async fn answer(&self, request: HttpRequest) -> HttpResponse {
        self.carry_out(request).await.unwrap_or_else(Refusal::into_response)
    }

    async fn carry_out(&self, request: HttpRequest) -> Result<HttpResponse, Refusal> {
        let (rpc, codec) = self.admit(&request).map_err(|reason| self.refuse(&request, reason))?;
        let head = Head::read(request.headers(), codec)?;
        let overload = || self.refuse(&request, CallRefused::Overload);
        let call = self.load.admit().ok_or_else(overload)?;
        let (parts, sent) = call.request(request, None).into_parts();
        let body = body::read(sent, &head, &call).await?;
        let reply = self.call(rpc, codec, parts.extensions, body);
        let reply = timeout_at(head.deadline, reply).await.map_err(|_| too_late())??;
        let reply = Body::new(Full::new(Bytes::from(reply)));
        let mut response = HttpResponse::new(call.response(reply));
        let content_type = HeaderValue::from_static(codec.content_type());
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        Ok(response)
    }

    /// What is asked, where it may be. Whatever a browser sends is refused first, so that no page
    /// learns what is here.
    fn admit(&self, request: &HttpRequest) -> Result<(Rpc, Codec), CallRefused> {
        guard::check(request, self.callers.have_token())?;
        let rpc = Rpc::at(request.uri().path()).ok_or(CallRefused::NoService)?;
        if request.method() != Method::POST {
            return Err(CallRefused::Method);
        }
        let codec = Codec::of(request.headers()).ok_or(CallRefused::ContentType)?;
        self.callers.check(request)?;
        Ok((rpc, codec))
    }

    fn refuse(&self, request: &HttpRequest, reason: CallRefused) -> Refusal {
        let refusal = Refusal::from(self.callers.refuse(request, reason));
        match reason {
            CallRefused::NoService => refusal.with_status(StatusCode::NOT_FOUND),
            CallRefused::Method => {
                refusal.with_status(StatusCode::METHOD_NOT_ALLOWED).with(header::ALLOW, "POST")
            }
            CallRefused::ContentType => refusal
                .with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE)
                .with(ACCEPT_POST, codec::CONTENT_TYPES),
            CallRefused::NoToken | CallRefused::WrongToken => {
                refusal.with(header::WWW_AUTHENTICATE, "Bearer")
            }
            CallRefused::WebPage | CallRefused::Host | CallRefused::Overload => refusal,
        }
    }

    /// `extensions`: what goes with the request to its handler.
    async fn call(
        &self,
        rpc: Rpc,
        codec: Codec,
        extensions: Extensions,
        body: Bytes,
    ) -> Result<Vec<u8>, Status> {
        let api = &self.api;
        Ok(match rpc {
            Rpc::PushEvent => codec.write(api.push_event(codec.read(body, extensions)?).await?),
            Rpc::PushEvents => codec.write(api.push_events(codec.read(body, extensions)?).await?),
            Rpc::SendEvent => codec.write(api.send_event(codec.read(body, extensions)?).await?),
            Rpc::DisconnectSession => {
                codec.write(api.disconnect_session(codec.read(body, extensions)?).await?)
            }
        })
    }
}

fn too_late() -> Status {
    Status::deadline_exceeded("there is no answer in time; whether it was done is not known")
}
