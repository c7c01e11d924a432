//! The application behind Centrifugo's RPC proxy: the handler that the gateway's actions are
//! answered by, asked in Centrifugo's words. Reading and writing these words is all that is
//! added to it.

use std::{
    convert::Infallible,
    net::Ipv4Addr,
    task::{Context, Poll},
};

use myxi::proto::{HandleActionRequest, Session, action_handler_server::ActionHandler};
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::{Grpc, UnaryService},
    transport::Server,
};
use tonic_prost::ProstCodec;

use super::contract::{RPC, RpcRequest, RpcResponse, RpcResult};
use crate::load::{Answers, Application};

pub async fn start(processors: &str) -> anyhow::Result<Application> {
    let any_port = (Ipv4Addr::LOCALHOST, 0).into();
    let serve = |incoming| Server::builder().serve_with_incoming(Proxied, incoming);
    Application::serve_at(any_port, processors, serve).await
}

#[derive(Clone)]
struct Proxied;

impl Service<http::Request<Body>> for Proxied {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async {
            Ok(match request.uri().path() {
                RPC => Grpc::new(ProstCodec::default()).unary(Self, request).await,
                other => Status::unimplemented(format!("no {other}")).into_http(),
            })
        })
    }
}

impl UnaryService<RpcRequest> for Proxied {
    type Response = RpcResponse;
    type Future = BoxFuture<Response<RpcResponse>, Status>;

    fn call(&mut self, request: Request<RpcRequest>) -> Self::Future {
        Box::pin(async {
            let RpcRequest { client, user, method, data } = request.into_inner();
            let payload = String::from_utf8(data);
            let payload = payload.map_err(|_| Status::invalid_argument("data is no UTF-8"))?;
            let session = Session { id: client, auth: Some(user), ..Default::default() };
            let request = HandleActionRequest {
                session: Some(session),
                action: method,
                payload,
                ..Default::default()
            };
            let answer = Answers.handle_action(Request::new(request)).await?.into_inner();
            let data = answer.events.into_iter().next().map(|event| event.payload.into_bytes());
            let result = RpcResult { data: data.unwrap_or_default() };
            Ok(Response::new(RpcResponse { result: Some(result), error: None }))
        })
    }
}
