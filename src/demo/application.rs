//! The bundled example application: what a developer would write in their own language.
//! It talks to the gateway over gRPC and in no other way.

use std::time::Duration;

use http::header::AUTHORIZATION;
use serde_json::{Value, json};
use tonic::{Request, Response, Status, transport::Channel};

use crate::{
    net::token::BearerToken,
    proto::{
        ActionError, CheckSubscriptionsRequest, CheckSubscriptionsResponse, Decision, Disconnect,
        Event, HandleActionRequest, HandleActionResponse, PushEventRequest, SessionClosedRequest,
        SessionClosedResponse, SessionOpenedRequest, SessionOpenedResponse, SessionUpdate,
        action_handler_server::ActionHandler, gateway_client::GatewayClient,
    },
};

pub(super) const EXCHANGE: &str = "widgets";

/// The one token that this application knows.
pub(super) const TOKEN: &str = "demo-token";

const WIDGETS: [&str; 3] = ["1", "2", "3"];
const DENIED_WIDGET: &str = "13";
const PUSH_INTERVAL: Duration = Duration::from_millis(700);

/// Decides for the demo's clients. It keeps nothing: who somebody is stands in the session.
pub(super) struct Application;

#[tonic::async_trait]
impl ActionHandler for Application {
    async fn handle_action(
        &self,
        request: Request<HandleActionRequest>,
    ) -> Result<Response<HandleActionResponse>, Status> {
        let request = request.into_inner();
        let payload: Value = serde_json::from_str(&request.payload)
            .map_err(|e| Status::invalid_argument(e.to_string()))?;
        let response = match request.action.as_str() {
            "Authenticate" => authenticate(&payload),
            "SayHello" => say_hello(&payload)?,
            "DropMe" => drop_me(),
            other => return Err(Status::unimplemented(format!("no action {other}"))),
        };
        Ok(Response::new(response))
    }

    async fn check_subscriptions(
        &self,
        request: Request<CheckSubscriptionsRequest>,
    ) -> Result<Response<CheckSubscriptionsResponse>, Status> {
        let request = request.into_inner();
        let authenticated = request.session.is_some_and(|session| session.auth.is_some());
        let decide = |routing_key: &str| match authenticated && routing_key != DENIED_WIDGET {
            true => Decision::Allow,
            false => Decision::Deny,
        };
        let decisions =
            request.topics.iter().map(|topic| decide(&topic.routing_key).into()).collect();
        Ok(Response::new(CheckSubscriptionsResponse { decisions }))
    }

    async fn session_opened(
        &self,
        _: Request<SessionOpenedRequest>,
    ) -> Result<Response<SessionOpenedResponse>, Status> {
        Err(Status::unimplemented("the demo lets everybody connect"))
    }

    async fn session_closed(
        &self,
        _: Request<SessionClosedRequest>,
    ) -> Result<Response<SessionClosedResponse>, Status> {
        Err(Status::unimplemented("the demo keeps nothing to clean up"))
    }
}

fn authenticate(payload: &Value) -> HandleActionResponse {
    if payload["session_token"] != TOKEN {
        let details = json!({"message": format!("the demo's token is {TOKEN}")}).to_string();
        let error = ActionError { code: "InvalidToken".into(), details, retryable: false };
        return HandleActionResponse { error: Some(error), ..Default::default() };
    }
    let user = json!({"user": "adam"}).to_string();
    HandleActionResponse {
        events: vec![Event { event: "Authenticated".into(), payload: user.clone() }],
        session_update: Some(SessionUpdate { set_auth: Some(user), ..Default::default() }),
        ..Default::default()
    }
}

fn say_hello(payload: &Value) -> Result<HandleActionResponse, Status> {
    let name = payload["name"].as_str();
    let name = name.ok_or_else(|| Status::invalid_argument("\"name\" must be a string"))?;
    let payload = json!({"message": format!("Hello, {name}!")}).to_string();
    let events = vec![Event { event: "Hello".into(), payload }];
    Ok(HandleActionResponse { events, ..Default::default() })
}

/// As if the connection were lost: with a code that asks the client to come back.
fn drop_me() -> HandleActionResponse {
    let disconnect = Disconnect { code: 4000, reason: "as you wished".into() };
    HandleActionResponse { disconnect: Some(disconnect), ..Default::default() }
}

/// Changes widgets for ever and tells those who are subscribed. One change that nobody
/// hears of is no reason to end: the next has the whole quantity.
pub(super) async fn push_changes(mut gateway: GatewayClient<Channel>, token: Option<BearerToken>) {
    let mut quantities = [10i64; WIDGETS.len()];
    let mut interval = tokio::time::interval(PUSH_INTERVAL);
    loop {
        interval.tick().await;
        let widget = rand::random_range(0..WIDGETS.len());
        quantities[widget] = (quantities[widget] + rand::random_range(-3..=3)).max(0);
        let payload = json!({"id": WIDGETS[widget], "quantity": quantities[widget]}).to_string();
        let mut request = Request::new(PushEventRequest {
            exchange: EXCHANGE.into(),
            routing_key: WIDGETS[widget].into(),
            event: "WidgetQtyChanged".into(),
            payload,
            event_id: None,
        });
        if let Some(token) = &token {
            request.metadata_mut().as_mut().insert(AUTHORIZATION, token.header());
        }
        if let Err(status) = gateway.push_event(request).await {
            let (code, why) = (status.code(), status.message());
            tracing::warn!(?code, why, "a widget's change was not pushed");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpListener, time::timeout};
    use tonic::transport::Endpoint;

    use super::*;

    #[tokio::test]
    async fn a_push_that_fails_is_followed_by_the_next() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let gateway = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        let hung_up_on = async {
            for _ in 0..2 {
                drop(listener.accept().await.unwrap());
            }
        };
        tokio::select! {
            () = push_changes(GatewayClient::new(gateway), None) => panic!("it gave up"),
            connected = timeout(10 * PUSH_INTERVAL, hung_up_on) => connected.expect("tried again"),
        }
    }
}
