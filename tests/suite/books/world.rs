//! Hub, outboxes and clients as they are, beside their models. Everything happens in this
//! one thread, when an operation says so.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use futures_util::{FutureExt, future::BoxFuture};
use myxi::internals::{
    application::{ActionReply, AuthUpdate, ClientInfo, Decision, SessionSnapshot, SessionUpdate},
    event::{self, Entry, Event, EventBody, Exchange, Position, PushedAt, RawBody, RawEvent},
    hub::{
        Delivery, Hub, Interest,
        outbox::{Outbox, Signal},
    },
    ids::SessionId,
    metrics::Metrics,
    protocol::{Close, ErrorCode},
    ring::Ring,
    session::{Services, Session as Client},
};
use serde_json::Value;

use super::{
    app::{App, Asked, Given, Question},
    model::{self, Due, Model, Pending},
    op::{Action, Answer, EXCHANGES, KEY_TEXTS, MAX_SUBSCRIPTIONS, Op, Reply, SESSIONS},
    promises::Promises,
};

/// Nobody is slow here.
const OUTBOX: usize = 64 * 1024 * 1024;

pub struct World {
    app: Arc<App>,
    interest: Arc<Interest>,
    hub: Arc<Hub>,
    /// As in every runtime: wakes those for whom the hub queued something.
    waking: BoxFuture<'static, ()>,
    services: Arc<Services>,
    sessions: [Option<Session>; SESSIONS],
    /// Gone, but for an action that is not answered yet.
    leaving: Vec<Session>,
    /// Every session there was.
    outboxes: Vec<(SessionId, Weak<Outbox>)>,
    late_attached: bool,
    /// Events of each topic so far.
    events: HashMap<(&'static str, &'static str), u64>,
    tags: u64,
}

struct Session {
    client: Arc<Client>,
    outbox: Arc<Outbox>,
    unread: VecDeque<(Action, String)>,
    acting: Option<(BoxFuture<'static, ()>, Option<Pending>)>,
    rechecking: Option<(BoxFuture<'static, bool>, model::Asked)>,
    draining: bool,
    /// It has read everything and waits to be woken. Whoever acts by itself reads before it
    /// waits again.
    waits: bool,
    woken: Arc<Woken>,
    model: Model,
    promises: Promises,
}

impl World {
    pub fn new() -> Self {
        let app = Arc::<App>::default();
        let metrics = Arc::new(Metrics::new(ErrorCode::NAMES));
        let interest = Interest::new(["a", "b", "late"].map(exchange));
        let hub = Arc::new(Hub::new(interest.clone(), OUTBOX, metrics.clone()));
        hub.attached(&exchange("a"), Some(at()));
        hub.attached(&exchange("b"), Some(at()));
        let waking = hub.clone();
        let services = Arc::new(Services {
            hub: hub.clone(),
            ring: Arc::new(Ring::new([], 0)),
            bindings: Default::default(),
            patience: Duration::ZERO,
            application: app.clone(),
            max_subscriptions: MAX_SUBSCRIPTIONS,
            max_event_size: 1024,
            complaints: Default::default(),
            metrics,
        });
        Self {
            app,
            interest,
            hub,
            waking: Box::pin(async move { waking.wake().await }),
            services,
            sessions: Default::default(),
            leaving: Vec::new(),
            outboxes: Vec::new(),
            late_attached: false,
            events: HashMap::new(),
            tags: 0,
        }
    }

    pub fn run(mut self, ops: &[Op]) -> Result<()> {
        for op in ops {
            self.step(op).with_context(|| format!("at {op:?}"))?;
        }
        self.finish().context("at the end")
    }

    fn step(&mut self, op: &Op) -> Result<()> {
        match op {
            Op::Connect(at) => self.connect(*at)?,
            Op::Act(at, action) => self.act(*at, action)?,
            Op::Recheck(at) => self.recheck(*at)?,
            Op::Answer(which, answer) => self.answer(*which, answer)?,
            Op::Attach => {
                self.hub.attached(&exchange("late"), Some(at()));
                self.late_attached = true;
            }
            Op::Deliver(exchange, key) => self.deliver(exchange, key),
            Op::Gap(name) => {
                at_once(self.hub.gap(&exchange(name), None));
                self.wake();
                self.models().for_each(|model| model.gap(name));
            }
            Op::Read(at) => self.session(*at).map_or(Ok(()), Session::read)?,
            Op::Drain(at) => self.session(*at).map_or(Ok(()), Session::drain)?,
            Op::Cut(at) => {
                if let Some(session) = self.session(*at) {
                    session.outbox.seal(Close::by_application(4500, "cut"));
                    session.model.sealed = true;
                }
            }
            Op::End(at) => self.end(*at)?,
        }
        for session in self.sessions.iter().flatten() {
            ensure!(session.model.sealed == session.outbox.sealed().is_some(), "sealed or not");
        }
        Ok(())
    }

    fn connect(&mut self, at: usize) -> Result<()> {
        if self.sessions[at].is_some() {
            return Ok(());
        }
        let id = SessionId::parse(&format!("{:016x}", self.outboxes.len())).expect("an id");
        let outbox = Outbox::new(id, OUTBOX);
        self.outboxes.push((id, Arc::downgrade(&outbox)));
        let client = ClientInfo {
            remote_address: "127.0.0.1".into(),
            path: "/".into(),
            query: "".into(),
            headers: Box::default(),
            dialect: Default::default(),
        };
        let info =
            SessionSnapshot { id, client: client.into(), auth: None, data: Default::default() };
        let client = Client::new(self.services.clone(), outbox.clone(), info);
        let opening = client.clone().open(false, Duration::from_secs(1));
        ensure!(poll(&mut (Box::pin(opening) as BoxFuture<()>)).is_some(), "not opened");
        let mut session = Session {
            client,
            outbox,
            unread: VecDeque::new(),
            acting: None,
            rechecking: None,
            draining: false,
            waits: false,
            woken: Arc::default(),
            model: Model::default(),
            promises: Promises::default(),
        };
        session.model.say("Welcome -");
        self.sessions[at] = Some(session);
        Ok(())
    }

    fn act(&mut self, at: usize, action: &Action) -> Result<()> {
        self.tags += 1;
        let tag = if self.tags.is_multiple_of(4) { "-".into() } else { format!("t{}", self.tags) };
        let (app, late) = (self.app.clone(), self.late_attached);
        match self.session(at) {
            Some(session) if !session.draining => {
                session.unread.push_back((action.clone(), tag));
                session.next_action(&app, late)
            }
            _ => Ok(()),
        }
    }

    /// As a session does it: only while it is open, and only one at a time, unless auth has
    /// changed since.
    fn recheck(&mut self, at: usize) -> Result<()> {
        let app = self.app.clone();
        let Some(session) = self.session(at).filter(|session| !session.draining) else {
            return Ok(());
        };
        let asking = session.rechecking.as_ref();
        if session.model.sealed || asking.is_some_and(|(_, asked)| session.model.still(asked)) {
            return Ok(());
        }
        session.waits = false;
        let mut rechecking: BoxFuture<bool> = Box::pin(session.client.clone().recheck());
        let answered = poll(&mut rechecking);
        let asked = session.model.recheck();
        session.rechecking = None;
        let Some(asked) = asked else {
            ensure!(answered == Some(true), "there was nothing to ask");
            return Ok(());
        };
        let expected = asked.topics().cloned().collect();
        check_question(&app, session.outbox.session(), |question| match question {
            Asked::Recheck(topics) => Some(sorted(topics) == sorted_names(expected)),
            _ => None,
        })?;
        session.rechecking = Some((rechecking, asked));
        Ok(())
    }

    fn answer(&mut self, which: usize, answer: &Answer) -> Result<()> {
        let question = {
            let mut questions = self.app.questions();
            // A re-check that was replaced by another, or whose session is gone.
            questions.retain(|question| !question.answer.is_closed());
            if questions.is_empty() {
                return Ok(());
            }
            let which = which % questions.len();
            questions.remove(which)
        };
        let (app, late) = (self.app.clone(), self.late_attached);
        let everyone = self.sessions.iter_mut().flatten().chain(&mut self.leaving);
        let session = everyone
            .into_iter()
            .find(|session| session.outbox.session() == question.session)
            .context("a question of nobody")?;
        session.answered(question, answer, late)?;
        session.next_action(&app, late)?;
        let done = |session: &mut Session| session.acting.is_none();
        for session in self.leaving.extract_if(.., done).collect::<Vec<_>>() {
            session.close()?;
        }
        Ok(())
    }

    fn deliver(&mut self, name: &'static str, key: &'static str) {
        let number = self.events.entry((name, key)).or_default();
        *number += 1;
        let number = *number;
        let topic = topic(name, key);
        let is_wanted = wants(&self.interest, &topic);
        assert_eq!(is_wanted, self.hub.subscribers(&topic) > 0, "{topic:?}");
        let body = EventBody::new("Pushed", &number.to_string()).expect("an event");
        let event = Event { topic, body, position: Some(at()), pushed_at: Some(PushedAt::now()) };
        at_once(self.hub.deliver(&exchange(name), &[Delivery::new(event)], Some(at())));
        self.wake();
        self.models().for_each(|model| model.deliver(name, key, number));
    }

    fn wake(&mut self) {
        assert!(poll(&mut self.waking).is_none(), "it wakes for ever");
    }

    fn end(&mut self, at: usize) -> Result<()> {
        let Some(mut session) = self.sessions[at].take() else { return Ok(()) };
        session.read()?;
        session.client.end(Close::new(Close::ABNORMAL, "gone"));
        session.model.sealed = true;
        session.rechecking = None;
        session.unread.clear();
        match session.acting {
            Some(_) => self.leaving.push(session),
            None => session.close()?,
        }
        Ok(())
    }

    /// Every question is answered, every topic probed, every list asked for; then everybody
    /// leaves.
    fn finish(mut self) -> Result<()> {
        loop {
            self.answer(0, &Answer::yes())?;
            if self.app.questions().is_empty() {
                break;
            }
        }
        for (exchange, key) in EXCHANGES.iter().flat_map(|e| KEY_TEXTS.map(|key| (*e, key))) {
            self.deliver(exchange, key);
        }
        for at in 0..SESSIONS {
            self.act(at, &Action::List)?;
        }
        for at in 0..SESSIONS {
            self.end(at)?;
        }
        ensure!(self.leaving.is_empty(), "sessions that do not end");
        for (id, outbox) in &self.outboxes {
            ensure!(outbox.upgrade().is_none(), "somebody holds the outbox of {id}");
            let told = self.app.closed().iter().filter(|closed| *closed == id).count();
            ensure!(told == 1, "the end of {id} was told {told} times");
        }
        let empty = format!("{:?}", self.hub).matches("by_key: {}").count();
        ensure!(empty == EXCHANGES.len() - 1, "left behind: {:#?}", self.hub);
        Ok(())
    }

    fn session(&mut self, at: usize) -> Option<&mut Session> {
        self.sessions[at].as_mut()
    }

    fn models(&mut self) -> impl Iterator<Item = &mut Model> {
        self.sessions.iter_mut().flatten().map(|session| &mut session.model)
    }
}

impl Session {
    fn next_action(&mut self, app: &App, late_attached: bool) -> Result<()> {
        while self.acting.is_none() && !self.model.sealed {
            let Some((action, tag)) = self.unread.pop_front() else { break };
            self.waits = false;
            let text = message(&action, &tag);
            let attached = match action {
                Action::Subscribe { exchange, .. } => is_attached(exchange, late_attached),
                _ => true,
            };
            let mut acting: BoxFuture<()> = Box::pin(self.client.clone().handle(text.into()));
            let done = poll(&mut acting).is_some();
            let pending = self.model.act(&action, tag, attached);
            ensure!(done == pending.is_none(), "asked or not: {action:?}, {pending:?}");
            if let Some(pending) = pending {
                let topics = pending.topics();
                check_question(app, self.outbox.session(), |question| match question {
                    Asked::Action => Some(topics.is_empty()),
                    Asked::Subscribe(asked) => Some(names(asked) == topics),
                    Asked::Recheck(_) => None,
                })?;
                self.acting = Some((acting, Some(pending)));
            }
        }
        if self.draining && self.acting.is_none() && !self.model.sealed {
            self.outbox.send_elsewhere();
            self.model.say("Reconnect -");
            self.model.sealed = true;
        }
        Ok(())
    }

    fn answered(&mut self, question: Question, answer: &Answer, late: bool) -> Result<()> {
        self.waits = false;
        let Question { asked, answer: to, .. } = question;
        let given = match &asked {
            _ if answer.fails => Given::Failure,
            Asked::Action => Given::Reply(reply(&answer.reply)),
            Asked::Subscribe(topics) | Asked::Recheck(topics) => {
                Given::Decisions(decisions(topics.len(), answer))
            }
        };
        if let Asked::Recheck(topics) = asked {
            let (mut rechecking, asked) = self.rechecking.take().context("no re-check")?;
            if !answer.fails {
                let decisions = decisions(topics.len(), answer);
                for (topic, decision) in names(&topics).iter().zip(decisions) {
                    if decision != Decision::Allow {
                        self.model.denied(&asked, topic);
                    }
                }
            }
            ensure!(to.send(given).is_ok(), "nobody waits for the answer");
            ensure!(poll(&mut rechecking) == Some(!answer.fails), "answered or not");
            return Ok(());
        }
        let (mut acting, pending) = self.acting.take().context("no action")?;
        let auth_changes = asked == Asked::Action && !answer.fails && answer.reply.changes_auth;
        let pending = pending.context("no question")?;
        self.model.answered(pending, answer, |exchange| is_attached(exchange, late));
        ensure!(to.send(given).is_ok(), "nobody waits for the answer");
        ensure!(poll(&mut acting).is_some(), "the action is not done");
        ensure!(self.client.take_recheck_due() == auth_changes, "due for a re-check or not");
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        self.outbox.drain();
        if !self.model.sealed {
            ensure!(self.outbox.signal() == Signal::Drain, "not draining");
        }
        self.draining = true;
        // It has finished already, or will when its actions have.
        if self.acting.is_none() && !self.model.sealed {
            self.outbox.send_elsewhere();
            self.model.say("Reconnect -");
            self.model.sealed = true;
        }
        Ok(())
    }

    /// Reads everything that waits: exactly what is due, in order.
    fn read(&mut self) -> Result<()> {
        let mut heard = VecDeque::new();
        let slept = self.waits && !self.woken.0.swap(false, Ordering::Relaxed);
        let waker = Waker::from(self.woken.clone());
        let mut cx = Context::from_waker(&waker);
        loop {
            let frame = match self.outbox.poll_frame(&mut cx) {
                Poll::Ready(Some((frame, _))) => frame,
                end => break self.waits = end.is_pending(),
            };
            ensure!(!slept, "nobody woke it for {frame}");
            let message = serde_json::from_str(&frame).context("JSON")?;
            self.promises.hear(&message).with_context(|| format!("hearing {frame}"))?;
            heard.push_back(in_short(&message));
        }
        ensure!(self.promises.subscribed().len() <= MAX_SUBSCRIPTIONS, "more than it may");
        let due = self.model.take_due();
        let all = format!("due: {due:#?}\nheard: {heard:#?}");
        for due in due {
            let as_due = match due {
                Due::Message(message) => heard.pop_front() == Some(message),
                Due::Gaps(gaps) if gaps.len() > heard.len() => false,
                Due::Gaps(gaps) => {
                    sorted_names(heard.drain(..gaps.len()).collect()) == sorted_names(gaps)
                }
            };
            ensure!(as_due, "{all}");
        }
        ensure!(heard.is_empty(), "{all}");
        Ok(())
    }

    fn close(self) -> Result<()> {
        let reason = Close::new(Close::ABNORMAL, "gone");
        let client = self.client.clone();
        let mut closing: BoxFuture<()> =
            Box::pin(async move { client.tell_application(reason, Duration::ZERO).await });
        ensure!(poll(&mut closing).is_some(), "not closed");
        let mut cx = Context::from_waker(Waker::noop());
        ensure!(self.outbox.poll_frame(&mut cx) == Poll::Ready(None), "it heard more");
        Ok(())
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The last question is of this session and is what it should be.
fn check_question(
    app: &App,
    session: SessionId,
    fits: impl FnOnce(&Asked) -> Option<bool>,
) -> Result<()> {
    let questions = app.questions();
    let Question { session: asker, asked, .. } = questions.last().context("no question")?;
    ensure!(*asker == session && fits(asked) == Some(true), "another question: {asked:?}");
    Ok(())
}

fn message(action: &Action, tag: &str) -> String {
    let raw = |keys: &[&str]| format!("[{}]", keys.join(","));
    let (name, payload) = match action {
        Action::Subscribe { exchange, keys } if keys.is_empty() => {
            ("Subscribe", format!(r#"{{"exchange":"{exchange}"}}"#))
        }
        Action::Subscribe { exchange, keys } => {
            let keys = raw(keys);
            ("Subscribe", format!(r#"{{"exchange":"{exchange}","routing_keys":{keys}}}"#))
        }
        Action::Unsubscribe { exchange: None, .. } => ("Unsubscribe", "{}".into()),
        Action::Unsubscribe { exchange: Some(exchange), keys } if keys.is_empty() => {
            ("Unsubscribe", format!(r#"{{"exchange":"{exchange}"}}"#))
        }
        Action::Unsubscribe { exchange: Some(exchange), keys } => {
            let keys = raw(keys);
            ("Unsubscribe", format!(r#"{{"exchange":"{exchange}","routing_keys":{keys}}}"#))
        }
        Action::List => ("ListSubscriptions", "{}".into()),
        Action::Forward => ("Forward", "{}".into()),
    };
    let tag = if tag == "-" { String::new() } else { format!(r#""tag":"{tag}","#) };
    format!(r#"{{"action":"{name}",{tag}"payload":{payload}}}"#)
}

/// As the model writes it.
fn in_short(message: &Value) -> String {
    let payload = &message["payload"];
    let event = message["event"].as_str().unwrap_or_default();
    let tag = message["tag"].as_str().unwrap_or("-");
    let (exchange, key) = (payload["exchange"].as_str(), payload.get("routing_key"));
    match event {
        "Pushed" => {
            let source = &message["mq"];
            let exchange = source["e"].as_str().unwrap_or_default();
            format!("Event {exchange} {} {payload}", source["rk"])
        }
        "YourSubscriptions" => format!("{event} {tag} {}", payload["subscriptions"]),
        "Error" => {
            let mut short = format!("{event} {tag} {}", payload["error"].as_str().unwrap_or("?"));
            short.extend(exchange.map(|exchange| format!(" {exchange}")));
            short.extend(key.map(|key| format!(" {key}")));
            short
        }
        "Subscribed" | "Unsubscribed" | "Gap" => {
            let (exchange, key) = (exchange.unwrap_or("?"), key.unwrap_or(&Value::Bool(false)));
            let auto = payload.get("auto").map(|auto| format!(" {auto}")).unwrap_or_default();
            format!("{event} {tag} {exchange} {key}{auto}")
        }
        _ => format!("{event} {tag}"),
    }
}

fn reply(reply: &Reply) -> ActionReply {
    let auth = if reply.changes_auth { AuthUpdate::Set("1".into()) } else { AuthUpdate::Keep };
    let event = || EventBody::new("Reply", "").expect("an event");
    ActionReply {
        update: SessionUpdate { auth, ..Default::default() },
        unsubscribe: reply.unsubscribe.iter().map(|(name, key)| topic(name, key)).collect(),
        subscribe: reply
            .subscribe
            .iter()
            .map(|(e, key)| (e.to_string(), key.to_string()))
            .collect(),
        events: (0..reply.events).map(|_| event()).collect(),
        disconnect: reply.disconnects.then(|| Close::by_application(4500, "go")),
    }
}

fn decisions(count: usize, answer: &Answer) -> Vec<Decision> {
    let decide = |at: usize| match at {
        0 if answer.unknown_exchange => Decision::UnknownExchange,
        _ if answer.denied >> at & 1 == 1 => Decision::Deny,
        _ => Decision::Allow,
    };
    (0..count).map(decide).collect()
}

fn is_attached(exchange: &str, late_attached: bool) -> bool {
    match exchange {
        "late" => late_attached,
        exchange => exchange != "none",
    }
}

fn exchange(name: &str) -> Exchange {
    Exchange::new(name).expect("a name")
}

/// Whether a reader would keep an event of this topic.
fn wants(interest: &Interest, topic: &event::Topic) -> bool {
    let (key, body) = (topic.routing_key().as_bytes(), RawBody::Json(b"{}"));
    let event = RawEvent::new(key, body, at(), None, OUTBOX);
    interest.pass(&topic.exchange, at(), &mut vec![event.expect("an event")], false)
}

/// Where everything is: positions are not what is looked at here.
fn at() -> Position {
    Position::end_of(Entry { offset: 0, hash: 0 })
}

fn topic(name: &str, key: &str) -> event::Topic {
    event::Topic::new(exchange(name), key).expect("a key")
}

fn names(topics: &[event::Topic]) -> Vec<model::Topic> {
    let name = |topic: &event::Topic| (topic.exchange.to_string(), topic.routing_key().to_owned());
    topics.iter().map(name).collect()
}

fn sorted(topics: &[event::Topic]) -> Vec<model::Topic> {
    sorted_names(names(topics))
}

fn sorted_names<T: Ord>(mut names: Vec<T>) -> Vec<T> {
    names.sort();
    names
}

/// A hub does not wait for sessions while their outboxes have so much room.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nobody to wait for")
}

fn poll<T>(future: &mut BoxFuture<'_, T>) -> Option<T> {
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}
