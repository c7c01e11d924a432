//! The application that hostile sessions meet: it answers each action as its name says, and
//! keeps the books of the sessions it let in.

use std::{
    collections::HashSet,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::sleep;
use tonic::{Code, Status};

use crate::support::handler::{
    TestHandler,
    proto::{
        CheckSubscriptionsRequest, Decision, Disconnect, HandleActionResponse, SessionDecision,
        SessionOpenedRequest, SessionOpenedResponse, SessionUpdate, Topic,
    },
    reply,
};

/// Routing keys that the application has an opinion of.
pub const DENIED: &str = "denied";
pub const UNKNOWN: &str = "unknown";
pub const MISCOUNTED: &str = "miscounted";
pub const FAILS: &str = "fails";
pub const NEVER: &str = "never";

/// The statuses it can answer an action with, each by an action of its name.
pub const STATUSES: [(&str, Code, &str); 8] = [
    ("Unauthenticated", Code::Unauthenticated, "AuthRequired"),
    ("PermissionDenied", Code::PermissionDenied, "PermissionDenied"),
    ("InvalidArgument", Code::InvalidArgument, "InvalidPayload"),
    ("Unavailable", Code::Unavailable, "ApplicationUnavailable"),
    ("ResourceExhausted", Code::ResourceExhausted, "Busy"),
    ("DeadlineExceeded", Code::DeadlineExceeded, "ActionTimeout"),
    ("Internal", Code::Internal, "InternalError"),
    ("DataLoss", Code::DataLoss, "InternalError"),
];

const A_WHILE: Duration = Duration::from_millis(100);

/// Who was let in and has not been said to be gone.
#[derive(Clone, Default)]
pub struct Books(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    open: HashSet<String>,
    problems: Vec<String>,
}

impl Books {
    pub fn open(&self) -> usize {
        self.0.lock().unwrap().open.len()
    }

    pub fn problems(&self) -> Vec<String> {
        self.0.lock().unwrap().problems.clone()
    }

    fn enter(&self, id: String) {
        let mut entries = self.0.lock().unwrap();
        if !entries.open.insert(id.clone()) {
            entries.problems.push(format!("{id} was opened twice"));
        }
    }

    fn strike(&self, id: &str) {
        let mut entries = self.0.lock().unwrap();
        if !entries.open.remove(id) {
            entries.problems.push(format!("{id} was closed, but is not open"));
        }
    }
}

/// Scripts it all.
pub fn script(app: &TestHandler) -> Books {
    let books = Books::default();
    let entered = books.clone();
    app.on_opened_async(move |request| opened(entered.clone(), request));
    let struck = books.clone();
    app.on_closed(move |request| {
        struck.strike(&request.session.expect("a session").id);
        Ok(Default::default())
    });
    app.on_check_async(check);
    app.on("Echo", |request| Ok(reply::events([("Echoed", request.payload.as_str())])));
    app.on("Quiet", |_| Ok(HandleActionResponse::default()));
    app.on_async("Slow", |_| async {
        sleep(A_WHILE).await;
        Ok(HandleActionResponse::default())
    });
    app.hang_on("Hang");
    for (name, code, _) in STATUSES {
        app.on(name, move |request| Err(Status::new(code, request.payload)));
    }
    app.on("Own", |request| Ok(reply::error("Own", &request.payload, false)));
    app.on("Nonsense", |_| Ok(reply::events([("Nonsense", "{")])));
    app.on("Unnamed", |_| Ok(reply::events([("", "{}")])));
    let large = format!("\"{}\"", "x".repeat(300 << 10));
    app.on("TooLarge", move |_| Ok(reply::events([("Large", large.as_str())])));
    let third = format!("\"{}\"", "x".repeat(200 << 10));
    app.on("TooMuch", move |_| Ok(reply::events([("Part", third.as_str()); 3])));
    let big = format!("\"{}\"", "x".repeat(60 << 10));
    app.on("Big", move |_| Ok(reply::events([("Big", big.as_str())])));
    app.on("Auth", |request| Ok(reply::set_auth(&request.payload)));
    app.on("Data", |request| {
        let set_data = [("data".to_owned(), request.payload)].into();
        let update = SessionUpdate { set_data, ..Default::default() };
        Ok(HandleActionResponse { session_update: Some(update), ..Default::default() })
    });
    app.on("Join", |request| {
        Ok(HandleActionResponse { subscribe: vec![topic(request.payload)], ..Default::default() })
    });
    app.on("Part", |request| {
        Ok(HandleActionResponse { unsubscribe: vec![topic(request.payload)], ..Default::default() })
    });
    app.on("Disconnect", |request| {
        let code = request.payload.parse().unwrap_or_default();
        let disconnect = Some(Disconnect { code, reason: "as you wish".repeat(30) });
        Ok(HandleActionResponse { disconnect, ..Default::default() })
    });
    books
}

fn topic(routing_key: String) -> Topic {
    Topic { exchange: "widgets".into(), routing_key }
}

async fn opened(
    books: Books,
    request: SessionOpenedRequest,
) -> Result<SessionOpenedResponse, Status> {
    let session = request.session.expect("a session");
    let mut response =
        SessionOpenedResponse { decision: SessionDecision::Accept.into(), ..Default::default() };
    match session.query.as_str() {
        "fail" => return Err(Status::internal("as you wish")),
        "hang" => pending().await,
        "slow" => sleep(A_WHILE).await,
        "nonsense" => {
            let set_auth = Some("{".into());
            response.session_update = Some(SessionUpdate { set_auth, ..Default::default() });
            return Ok(response);
        }
        "refuse" => {
            response.decision = SessionDecision::Refuse.into();
            response.refusal = Some(Disconnect { code: 4403, reason: "no".into() });
            return Ok(response);
        }
        _ => {}
    }
    books.enter(session.id);
    Ok(response)
}

async fn check(
    request: CheckSubscriptionsRequest,
) -> Result<crate::support::handler::proto::CheckSubscriptionsResponse, Status> {
    let asked = |key: &str| request.topics.iter().any(|topic| topic.routing_key == key);
    if asked(FAILS) {
        return Err(Status::internal("as you wish"));
    }
    if asked(NEVER) {
        pending::<()>().await;
    }
    let extra = asked(MISCOUNTED).then_some(Decision::Allow);
    let decisions = request.topics.iter().map(|topic| match topic.routing_key.as_str() {
        DENIED => Decision::Deny,
        UNKNOWN => Decision::UnknownExchange,
        _ => Decision::Allow,
    });
    Ok(reply::decisions(decisions.chain(extra)))
}
