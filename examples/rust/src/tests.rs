//! The chat without a gateway: its calls are made directly, and what it pushes is caught.

use std::sync::Mutex;

use serde_json::{Value, json};
use tonic::{Code, Request, Status};

use crate::{
    chat::{Chat, Push},
    v1::{action_handler_server::ActionHandler, *},
};

#[derive(Default)]
struct Caught(Mutex<Vec<(String, String, Value)>>);

impl Push for Caught {
    async fn push(&self, room: &str, event: &str, payload: Value) -> Result<(), Status> {
        self.0.lock().unwrap().push((room.into(), event.into(), payload));
        Ok(())
    }
}

fn session_of(user: &str) -> Session {
    Session { auth: Some(json!({"user": user}).to_string()), ..Default::default() }
}

async fn act(
    chat: &Chat<Caught>,
    session: Session,
    action: &str,
    payload: Value,
) -> Result<HandleActionResponse, Status> {
    let (action, payload) = (action.into(), payload.to_string());
    let request = HandleActionRequest { session: Some(session), action, payload, tag: None };
    chat.handle_action(Request::new(request)).await.map(|response| response.into_inner())
}

#[tokio::test]
async fn a_token_is_worth_a_user() {
    let chat = Chat(Caught::default());
    let known = json!({"token": "adam-secret"});
    let known = act(&chat, Session::default(), "Authenticate", known).await.unwrap();
    assert_eq!(known.session_update.unwrap().set_auth(), r#"{"user":"adam"}"#);
    let unknown = json!({"token": "x"});
    let unknown = act(&chat, Session::default(), "Authenticate", unknown).await.unwrap();
    assert_eq!(unknown.error.unwrap().code, "InvalidToken");
}

#[tokio::test]
async fn what_is_said_is_pushed_and_counted() {
    let chat = Chat(Caught::default());
    let mut adam = session_of("adam");
    adam.data.insert("said".into(), "4".into());
    let answer = act(&chat, adam, "Say", json!({"room": "lobby", "text": "hi"})).await.unwrap();
    assert_eq!(answer.session_update.unwrap().set_data["said"], "5");
    let pushed = ("lobby".into(), "Said".into(), json!({"user": "adam", "text": "hi"}));
    assert_eq!(*chat.0.0.lock().unwrap(), [pushed]);
}

#[tokio::test]
async fn who_leaves_is_missed() {
    let chat = Chat(Caught::default());
    let mut adam = session_of("adam");
    adam.data.insert("room".into(), r#""lobby""#.into());
    let request = SessionClosedRequest { session: Some(adam), ..Default::default() };
    chat.session_closed(Request::new(request)).await.unwrap();
    let pushed = ("lobby".into(), "Left".into(), json!({"user": "adam"}));
    assert_eq!(*chat.0.0.lock().unwrap(), [pushed]);
}

#[tokio::test]
async fn eve_is_not_staff() {
    let chat = Chat(Caught::default());
    for (room, code) in
        [("staff", Code::PermissionDenied), (&*"x".repeat(256), Code::InvalidArgument)]
    {
        let refused = act(&chat, session_of("eve"), "Join", json!({"room": room})).await;
        assert_eq!(refused.unwrap_err().code(), code);
    }
    let topic = |room: &str| Topic { exchange: "rooms".into(), routing_key: room.into() };
    let request = CheckSubscriptionsRequest {
        session: Some(session_of("eve")),
        topics: vec![topic("lobby"), topic("staff")],
        reason: CheckReason::Subscribe.into(),
    };
    let answer = chat.check_subscriptions(Request::new(request)).await.unwrap().into_inner();
    assert_eq!(answer.decisions, [Decision::Allow as i32, Decision::Deny as i32]);
}
