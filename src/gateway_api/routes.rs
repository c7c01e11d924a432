//! Which service a request is for: gRPC's by the name that stands first in its path, and
//! whatever is no gRPC is for [`Connect`].

use std::{convert::Infallible, sync::Arc};

use http::header::CONTENT_TYPE;
use tonic::{body::Body, server::NamedService};
use tower::{Service, ServiceExt, service_fn, util::BoxCloneSyncService};

use super::{
    callers::Callers,
    connect::Connect,
    load::{Call, Load},
    serve::MESSAGE_MAX,
};
use crate::metrics::CallRefused;

pub(super) type HttpRequest = http::Request<Body>;
pub(super) type HttpResponse = http::Response<Body>;
type Route = BoxCloneSyncService<HttpRequest, HttpResponse, Infallible>;

/// (tonic's own router would bring a web framework along.)
pub(super) struct Routes {
    callers: Arc<Callers>,
    connect: Arc<Connect>,
    services: Vec<(&'static str, Access, Load, Route)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Open,
    /// Asks for the token, if one is set.
    Token,
}

impl Routes {
    pub(super) fn new(callers: Arc<Callers>, connect: Arc<Connect>) -> Self {
        Self { callers, connect, services: Vec::new() }
    }

    pub(super) fn add<S>(mut self, access: Access, load: Load, service: S) -> Self
    where
        S: Service<HttpRequest, Response = HttpResponse, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send,
    {
        self.services.push((S::NAME, access, load, Route::new(service)));
        self
    }

    /// Where a request goes and its place there, or why it goes nowhere.
    fn find(&self, request: &HttpRequest) -> Result<(Route, Call), CallRefused> {
        let name = request.uri().path().split('/').nth(1);
        let (_, access, load, route) = self
            .services
            .iter()
            .find(|(service, ..)| name == Some(*service))
            .ok_or(CallRefused::NoService)?;
        if *access == Access::Token {
            self.callers.check(request)?;
        }
        let call = load.admit().ok_or(CallRefused::Overload)?;
        Ok((route.clone(), call))
    }

    async fn answer(&self, request: HttpRequest) -> Result<HttpResponse, Infallible> {
        if !is_grpc(&request) {
            return Ok(self.connect.answer(request).await);
        }
        match self.find(&request) {
            Ok((route, call)) => {
                let compressed = request.headers().contains_key("grpc-encoding");
                let request = call.request(request, compressed.then_some(MESSAGE_MAX));
                let response = route.oneshot(request).await?;
                Ok(response.map(|body| call.response(body)))
            }
            Err(reason) => Ok(self.callers.refuse(&request, reason).into_http()),
        }
    }

    pub(super) fn into_service(
        self,
    ) -> impl Service<HttpRequest, Response = HttpResponse, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static {
        let routes = Arc::new(self);
        service_fn(move |request| {
            let routes = routes.clone();
            async move { routes.answer(request).await }
        })
    }
}

/// As gRPC's own rules say: `application/grpc`, or that and `+` with the name of a format.
fn is_grpc(request: &HttpRequest) -> bool {
    let sent = request.headers().get(CONTENT_TYPE).map(|value| value.as_bytes());
    let rest = sent.and_then(|sent| sent.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| rest.first().is_none_or(|next| b"+; ".contains(next)))
}
