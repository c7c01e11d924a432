//! What the gateway would do with the answer to an action: the same rules that it holds sessions
//! to, and what the client is then told.

use super::{Run, words};
use crate::{
    application::{ActionReply, ApplicationError, SessionSnapshot},
    event::{Exchange, Topic},
    protocol,
    session::reply::{frames, updated},
};

/// An answer, carried out.
pub(super) struct Carried {
    /// What is known of the session from now on.
    pub session: SessionSnapshot,
    /// What the client sees, in order.
    pub client: String,
    /// Topics that the handler subscribes the client to, and that are none.
    pub no_topics: Vec<String>,
}

impl Run<'_> {
    pub(super) fn carry_out(
        &self,
        session: &SessionSnapshot,
        reply: &mut ActionReply,
    ) -> Result<Carried, ApplicationError> {
        let tag = words::tag();
        let (most, room) = (self.wanted.max_event_size, self.wanted.max_outbox / 2);
        let frames = frames(&reply.events, Some(&tag), most, room)?;
        let session = updated(session, std::mem::take(&mut reply.update))?;
        let mut client: Vec<_> = frames.iter().map(ToString::to_string).collect();
        let mut no_topics = Vec::new();
        for (exchange, key) in &reply.subscribe {
            match self.topic(exchange, key) {
                Ok(topic) => client.push(format!("Subscribed to {}:{key}", topic.exchange)),
                Err(why) => no_topics.push(why),
            }
        }
        if frames.is_empty() {
            client.push(protocol::done(&tag).to_string());
        }
        if let Some(close) = &reply.disconnect {
            client.push(format!("a close with {} {:?}", close.code, close.reason));
        }
        Ok(Carried { session, client: client.join(", then "), no_topics })
    }

    fn topic(&self, exchange: &str, key: &str) -> Result<Topic, String> {
        let problem = |why: String| format!("subscribe {exchange:?} {key:?}: {why}");
        let name = Exchange::new(exchange).map_err(|error| problem(error.to_string()))?;
        let known = &self.wanted.exchanges;
        if !known.is_empty() && !known.contains(&name) {
            return Err(problem("the gateway's --exchange does not name it".into()));
        }
        Topic::new(name, key).map_err(|error| problem(error.to_string()))
    }
}
