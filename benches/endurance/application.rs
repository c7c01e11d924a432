//! The application of these tests: it decides at once or thinks a while, and keeps books of
//! what the gateway asks of it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use myxi::proto::{
    ActionError, CheckSubscriptionsRequest, CheckSubscriptionsResponse, Disconnect,
    HandleActionRequest, HandleActionResponse, Session, SessionClosedRequest,
    SessionClosedResponse, SessionDecision, SessionOpenedRequest, SessionOpenedResponse,
    action_handler_server::ActionHandler,
};
use tokio::time::sleep;
use tonic::{Request, Response, Status};

use crate::load::Answers;

/// The code with which it closes a session that asks for that.
pub const SENT_AWAY: u16 = 4001;

/// Hands out handlers that share their books.
#[derive(Clone, Default)]
pub struct Handler {
    books: Arc<Mutex<Books>>,
    thinks: Duration,
}

#[derive(Default)]
struct Books {
    /// By replica.
    in_flight: HashMap<String, InFlight>,
    opened: u64,
    /// By close code.
    closed: BTreeMap<u32, u64>,
}

#[derive(Default)]
struct InFlight {
    now: usize,
    max: usize,
}

impl Handler {
    /// Each call takes so long.
    pub fn that_thinks(thinks: Duration) -> Self {
        Self { thinks, ..Self::default() }
    }

    /// The most calls that any one replica had in flight at the same time.
    pub fn max_in_flight(&self) -> usize {
        self.books().in_flight.values().map(|calls| calls.max).max().unwrap_or_default()
    }

    /// Sessions that were opened, where the gateway asks about that.
    pub fn opened(&self) -> u64 {
        self.books().opened
    }

    pub fn closed(&self) -> u64 {
        self.books().closed.values().sum()
    }

    pub fn closed_with(&self, code: u16) -> u64 {
        self.books().closed.get(&u32::from(code)).copied().unwrap_or_default()
    }

    /// How sessions ended: codes and how often.
    pub fn ends(&self) -> String {
        let ends = &self.books().closed;
        let ends: Vec<_> = ends.iter().map(|(code, times)| format!("{times} × {code}")).collect();
        ends.join(", ")
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call until it is answered or given up.
    async fn call(&self, session: Option<&Session>) -> Call<'_> {
        let id = session.map_or("", |session| &session.id);
        let replica = id.get(..8).unwrap_or_default().to_owned();
        {
            let mut books = self.books();
            let calls = books.in_flight.entry(replica.clone()).or_default();
            calls.now += 1;
            calls.max = calls.max.max(calls.now);
        }
        let call = Call { handler: self, replica };
        if !self.thinks.is_zero() {
            sleep(self.thinks).await;
        }
        call
    }
}

struct Call<'a> {
    handler: &'a Handler,
    replica: String,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if let Some(calls) = self.handler.books().in_flight.get_mut(&self.replica) {
            calls.now -= 1;
        }
    }
}

#[tonic::async_trait]
impl ActionHandler for Handler {
    async fn handle_action(
        &self,
        request: Request<HandleActionRequest>,
    ) -> Result<Response<HandleActionResponse>, Status> {
        let _call = self.call(request.get_ref().session.as_ref()).await;
        let mut response = HandleActionResponse::default();
        match request.get_ref().action.as_str() {
            "Refuse" => {
                let code = "Refused".into();
                response.error = Some(ActionError { code, ..Default::default() });
            }
            "SendAway" => {
                let code = SENT_AWAY.into();
                response.disconnect = Some(Disconnect { code, reason: "as you wish".into() });
            }
            "Break" => return Err(Status::internal("broken")),
            _ => return Answers.handle_action(request).await,
        }
        Ok(Response::new(response))
    }

    async fn check_subscriptions(
        &self,
        request: Request<CheckSubscriptionsRequest>,
    ) -> Result<Response<CheckSubscriptionsResponse>, Status> {
        let _call = self.call(request.get_ref().session.as_ref()).await;
        Answers.check_subscriptions(request).await
    }

    async fn session_opened(
        &self,
        request: Request<SessionOpenedRequest>,
    ) -> Result<Response<SessionOpenedResponse>, Status> {
        let _call = self.call(request.get_ref().session.as_ref()).await;
        self.books().opened += 1;
        let decision = SessionDecision::Accept.into();
        Ok(Response::new(SessionOpenedResponse { decision, ..Default::default() }))
    }

    async fn session_closed(
        &self,
        request: Request<SessionClosedRequest>,
    ) -> Result<Response<SessionClosedResponse>, Status> {
        let request = request.get_ref();
        let _call = self.call(request.session.as_ref()).await;
        *self.books().closed.entry(request.code).or_default() += 1;
        Ok(Response::new(SessionClosedResponse {}))
    }
}
