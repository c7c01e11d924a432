//! What myxi asks about every client, answered. The chat keeps nothing of them itself.

use std::collections::HashMap;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use tonic::{Request, Response, Status};

use crate::v1::{action_handler_server::ActionHandler, *};

const USERS: [(&str, &str); 2] = [("adam-secret", "adam"), ("eve-secret", "eve")];
const MOST_DICE: usize = 1_000_000;

/// Pushes an event to whoever is in a room; it is answered when the gateway has it.
pub(crate) trait Push: Send + Sync + 'static {
    fn push(
        &self,
        room: &str,
        event: &str,
        payload: Value,
    ) -> impl Future<Output = Result<(), Status>> + Send;
}

pub(crate) struct Chat<P>(pub(crate) P);

#[derive(Deserialize)]
struct Authenticate {
    token: String,
}

#[derive(Deserialize)]
struct Join {
    room: String,
}

#[derive(Deserialize)]
struct Say {
    room: String,
    text: String,
}

#[derive(Deserialize)]
struct Roll {
    dice: usize,
}

#[tonic::async_trait]
impl<P: Push> ActionHandler for Chat<P> {
    async fn handle_action(
        &self,
        request: Request<HandleActionRequest>,
    ) -> Result<Response<HandleActionResponse>, Status> {
        let HandleActionRequest { session, action, payload, .. } = request.into_inner();
        let session = session.unwrap_or_default();
        if action == "Authenticate" {
            return authenticate(&parsed::<Authenticate>(&payload)?.token).map(Response::new);
        }
        let user = user_of(&session).ok_or_else(|| Status::unauthenticated("who are you?"))?;
        let answer = match action.as_str() {
            "Join" => join(&user, parsed(&payload)?),
            "Say" => self.say(&user, &session, parsed(&payload)?).await,
            "Roll" => roll(parsed(&payload)?),
            _ => Err(Status::unimplemented("no such action")),
        };
        answer.map(Response::new)
    }

    async fn check_subscriptions(
        &self,
        request: Request<CheckSubscriptionsRequest>,
    ) -> Result<Response<CheckSubscriptionsResponse>, Status> {
        let CheckSubscriptionsRequest { session, topics, .. } = request.into_inner();
        let user = user_of(&session.unwrap_or_default());
        let decide = |topic: &Topic| match &user {
            _ if topic.exchange != "rooms" => Decision::UnknownExchange,
            Some(user) if may_enter(user, &topic.routing_key) => Decision::Allow,
            _ => Decision::Deny,
        };
        let decisions = topics.iter().map(|topic| decide(topic).into()).collect();
        Ok(Response::new(CheckSubscriptionsResponse { decisions }))
    }

    async fn session_opened(
        &self,
        request: Request<SessionOpenedRequest>,
    ) -> Result<Response<SessionOpenedResponse>, Status> {
        let mut response = SessionOpenedResponse::default();
        if request.into_inner().session.unwrap_or_default().query == "version=0" {
            response.set_decision(SessionDecision::Refuse);
            let reason = "this version is too old".into();
            response.refusal = Some(Disconnect { code: 4500, reason });
        } else {
            response.set_decision(SessionDecision::Accept);
            response.events = vec![event("Greeting", json!({"text": "Who are you?"}))];
        }
        Ok(Response::new(response))
    }

    async fn session_closed(
        &self,
        request: Request<SessionClosedRequest>,
    ) -> Result<Response<SessionClosedResponse>, Status> {
        let session = request.into_inner().session.unwrap_or_default();
        if let Some(room) =
            session.data.get("room").and_then(|room| serde_json::from_str::<String>(room).ok())
        {
            self.0.push(&room, "Left", json!({"user": user_of(&session)})).await?;
        }
        Ok(Response::new(SessionClosedResponse {}))
    }
}

impl<P: Push> Chat<P> {
    async fn say(&self, user: &str, session: &Session, Say { room, text }: Say) -> Answer {
        must_enter(user, &room)?;
        self.0.push(&room, "Said", json!({"user": user, "text": text})).await?;
        let said = session.data.get("said").and_then(|said| said.parse::<u64>().ok());
        let number = said.unwrap_or(0) + 1;
        Ok(HandleActionResponse {
            events: vec![event("Sent", json!({"number": number}))],
            session_update: Some(keep("said", json!(number))),
            ..Default::default()
        })
    }
}

type Answer = Result<HandleActionResponse, Status>;

fn authenticate(given: &str) -> Answer {
    let Some((_, user)) = USERS.iter().find(|(token, _)| *token == given) else {
        let details = json!({"message": "nobody has this token"}).to_string();
        let error = ActionError { code: "InvalidToken".into(), details, retryable: false };
        return Ok(HandleActionResponse { error: Some(error), ..Default::default() });
    };
    let auth = json!({"user": user});
    let update = SessionUpdate { set_auth: Some(auth.to_string()), ..Default::default() };
    Ok(HandleActionResponse {
        events: vec![event("Authenticated", auth)],
        session_update: Some(update),
        ..Default::default()
    })
}

fn join(user: &str, Join { room }: Join) -> Answer {
    must_enter(user, &room)?;
    Ok(HandleActionResponse {
        events: vec![event("Joined", json!({"room": room}))],
        session_update: Some(keep("room", json!(room))),
        subscribe: vec![Topic { exchange: "rooms".into(), routing_key: room }],
        ..Default::default()
    })
}

fn roll(Roll { dice }: Roll) -> Answer {
    if !(1..=MOST_DICE).contains(&dice) {
        return Err(Status::invalid_argument(format!("\"dice\" must be from 1 to {MOST_DICE}")));
    }
    let rolled: Vec<u8> = (0..dice).map(|_| rand::random_range(1..=6)).collect();
    let events = vec![event("Rolled", json!({"dice": rolled}))];
    Ok(HandleActionResponse { events, ..Default::default() })
}

fn event(name: &str, payload: Value) -> Event {
    Event { event: name.into(), payload: payload.to_string() }
}

fn keep(name: &str, value: Value) -> SessionUpdate {
    let set_data = HashMap::from([(name.into(), value.to_string())]);
    SessionUpdate { set_data, ..Default::default() }
}

/// An object, and not an array of its members, which would do for `T` as well.
fn parsed<T: DeserializeOwned>(payload: &str) -> Result<T, Status> {
    let object = serde_json::from_str::<Map<String, Value>>(payload);
    let parsed = object.and_then(|object| serde_json::from_value(object.into()));
    parsed.map_err(|error| Status::invalid_argument(error.to_string()))
}

fn user_of(session: &Session) -> Option<String> {
    let auth: Value = serde_json::from_str(session.auth.as_deref()?).ok()?;
    Some(auth["user"].as_str()?.to_owned())
}

fn may_enter(user: &str, room: &str) -> bool {
    room != "staff" || user == "adam"
}

fn must_enter(user: &str, room: &str) -> Result<(), Status> {
    if room.len() > 255 || room.contains(char::is_control) {
        // What is no routing key is no room.
        let why = "\"room\" must have at most 255 bytes, and no control characters";
        return Err(Status::invalid_argument(why));
    }
    if may_enter(user, room) { Ok(()) } else { Err(Status::permission_denied("not your room")) }
}
