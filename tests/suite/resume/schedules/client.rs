//! A client with the session that serves it, whose steps the test takes.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::future::{BoxFuture, poll_immediate};
use myxi::internals::{
    application::{ClientInfo, SessionSnapshot},
    hub::outbox::Outbox,
    ids::{ReplicaId, SessionIds},
    protocol::{Close, Frame},
    session::Session,
};

use super::{OUTBOX, replica::Replica, rules::Rules};

pub struct Client {
    pub rules: Rules,
    connection: Option<Connection>,
}

struct Connection {
    session: Arc<Session>,
    outbox: Arc<Outbox>,
    /// Messages that it has sent.
    unread: VecDeque<String>,
    acting: Option<BoxFuture<'static, ()>>,
    replaying: Option<BoxFuture<'static, ()>>,
}

impl Client {
    pub fn new(keys: Vec<&'static str>) -> Self {
        Self { rules: Rules::new(&keys), connection: None }
    }

    /// Where it is not connected.
    pub fn connect(&mut self, replica: &Replica) {
        if self.connection.is_some() {
            return;
        }
        let id = SessionIds::new(ReplicaId::random()).next();
        let outbox = Outbox::new(id, OUTBOX);
        let client = Arc::new(ClientInfo {
            remote_address: "127.0.0.1".into(),
            path: "/".into(),
            query: "".into(),
            headers: Box::default(),
            dialect: Default::default(),
        });
        let snapshot = SessionSnapshot { id, client, auth: None, data: Default::default() };
        let session = Session::new(replica.services.clone(), outbox.clone(), snapshot);
        self.connection = Some(Connection {
            acting: Some(Box::pin(session.clone().open(false, Duration::from_secs(1)))),
            session,
            outbox,
            unread: self.rules.reconnect().into(),
            replaying: None,
        });
    }

    /// What was not read is lost.
    pub fn drop_connection(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.session.end(Close::new(Close::ABNORMAL, "gone"));
        }
    }

    pub fn ping(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.unread.push_back(r#"{"action":"Ping"}"#.into());
        }
    }

    /// The session has its turn, as its driver gives it one.
    pub async fn poll(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        let session = &connection.session;
        if let Some(acting) = &mut connection.acting
            && poll_immediate(acting).await.is_some()
        {
            connection.acting = None;
        }
        if connection.acting.is_none()
            && !connection.outbox.is_half_full()
            && let Some(message) = connection.unread.pop_front()
        {
            connection.acting = Some(Box::pin(session.clone().handle(Frame::from(message))));
        }
        if connection.replaying.is_none() {
            let next = session.next_replay();
            connection.replaying = next.map(|next| Box::pin(session.clone().replay(next)) as _);
        }
        if let Some(replaying) = &mut connection.replaying
            && poll_immediate(replaying).await.is_some()
        {
            connection.replaying = None;
        }
    }

    /// Reads so many messages, as far as there are some.
    pub fn hear(&mut self, messages: usize) {
        for _ in 0..messages {
            let Some(connection) = &mut self.connection else { return };
            let cx = &mut Context::from_waker(Waker::noop());
            match connection.outbox.poll_frame(cx) {
                Poll::Ready(Some((frame, _))) => {
                    let message = serde_json::from_str(&frame).expect("JSON");
                    connection.unread.extend(self.rules.hear(&message));
                }
                // Cut off, as it did not read.
                Poll::Ready(None) => return self.drop_connection(),
                Poll::Pending => return,
            }
        }
    }

    /// Whether it waits for nothing.
    pub fn is_idle(&self) -> bool {
        let idle = |connection: &Connection| {
            connection.acting.is_none()
                && connection.unread.is_empty()
                && connection.outbox.bytes() == 0
        };
        self.connection.as_ref().is_some_and(idle) && self.rules.is_live()
    }
}
