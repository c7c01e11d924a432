//! What a client is told, and how it comes into the books.

use std::{collections::BTreeSet, mem, time::Instant};

use serde_json::{Value, json};

use super::{
    ACTS_EVERY, AGAIN_AFTER, Asked, Client, Due, FLIPS_EVERY, Kind, PASSES_BY_FOR, Replay, Request,
    SENT,
};
use crate::{
    application::SENT_AWAY,
    client::{Gone, Message},
    torture::{
        books::{Heard, Told, Word},
        heads, positions,
        topics::{EXCHANGES, Topic},
    },
};

impl Client<'_> {
    pub(super) fn hear(&mut self, at: Instant, text: &[u8]) {
        let message: Message = match serde_json::from_slice(text) {
            Ok(message) => message,
            Err(error) => return self.surprise(format!("not to be read: {error}")),
        };
        match (message.event.as_str(), message.tag) {
            ("Welcome", None) => self.welcome(at, &message),
            ("Gap", None) => self.hear_gap(at, &message),
            (SENT, None) => self.hear_sent(&message),
            ("Reconnect", None) => {}
            ("Replayed", Some(tag)) => self.hear_replayed(tag, &message),
            (_, Some(tag)) => self.hear_answer(at, tag, &message),
            (_, None) if message.mq.is_some() => self.hear_event(&message),
            _ => self.surprise(format!("nobody asked for {message:?}")),
        }
    }

    fn welcome(&mut self, at: Instant, message: &Message) {
        let id = message.payload["id"].as_str().unwrap_or_default();
        let may_be_closed = self.kind != Kind::Stays;
        let session = self.world.books.borrow_mut().opened(id, self.replica, may_be_closed, at);
        self.session = Some(session);
        self.ask("Authenticate", json!({}), Asked::Authenticate);
        self.later(ACTS_EVERY, Due::Act);
        if self.kind != Kind::Stays {
            self.later(FLIPS_EVERY, Due::Flip);
        }
        if self.kind == Kind::ComesAndGoes {
            self.later(PASSES_BY_FOR, Due::Leave);
        }
    }

    fn hear_event(&mut self, message: &Message) {
        let Some(mq) = &message.mq else { return };
        let topic = Topic::find(&mq.exchange, &mq.routing_key);
        let (Some(topic), Some(number)) = (topic, message.payload["n"].as_u64()) else {
            return self.surprise("an event that nobody pushed".into());
        };
        let Some(subscription) = self.subscribed.get(&topic) else {
            return self.surprise(format!("an event of {topic}, which it is not subscribed to"));
        };
        let Some(position) = &mq.id else {
            return self.surprise(format!("event {number} without a position"));
        };
        let number = number as usize;
        let mut books = self.world.books.borrow_mut();
        if books.events.get(number).is_none_or(|event| event.topic != topic) {
            drop(books);
            return self.surprise(format!("event {number}, which nobody pushed to {topic}"));
        }
        // The log has it once, whoever hears it, and whenever.
        let known = books.stands_at(number, position);
        books.subscriptions[*subscription].heard.push(Heard::Event(number));
        drop(books);
        self.memory.positions.heard(topic, position);
        if let Some(replay) = self.replays.values_mut().find(|one| one.topics.contains(&topic)) {
            replay.heard += 1;
            self.is_cut_off |= self.cut_off_behind == Some(replay.heard);
        }
        if !known {
            self.surprise(format!("event {number} at two positions, one of them {position}"));
        }
    }

    fn hear_gap(&mut self, at: Instant, message: &Message) {
        let topic = named(&message.payload).filter(|topic| self.subscribed.contains_key(topic));
        let Some(topic) = topic else {
            return self.surprise(format!("a gap in what it is not subscribed to: {message:?}"));
        };
        let replays = self.replays.values().any(|replay| replay.topics.contains(&topic));
        let word = if replays { Word::GapInReplay } else { Word::Gap };
        let place = self.memory.positions.of(topic).filter(|_| replays);
        self.is_told(at, topic, word, place.as_deref());
        self.says(topic.exchange(), &message.payload["id"]);
    }

    /// That something may be missing behind this place.
    fn is_told(&mut self, at: Instant, topic: Topic, word: Word, place: Option<&str>) {
        let place = place.and_then(positions::read).map(|(offset, _)| offset);
        let head = place.map(|_| heads::look(self.world, topic.exchange()));
        let told = Told { at, replica: self.replica, word, place, head };
        let subscription = self.subscribed[&topic];
        self.world.books.borrow_mut().subscriptions[subscription].heard.push(Heard::Told(told));
    }

    /// Where live keys are.
    fn says(&mut self, exchange: &'static str, position: &Value) {
        if let Some(position) = position.as_str() {
            self.memory.positions.says(exchange, position);
        }
    }

    fn hear_sent(&mut self, message: &Message) {
        let (Some(session), Some(number)) = (self.session, message.payload["s"].as_u64()) else {
            return self.surprise(format!("nobody sent {message:?}"));
        };
        self.world.books.borrow_mut().sessions[session].sent.push(number as usize);
    }

    fn hear_answer(&mut self, at: Instant, tag: u64, answer: &Message) {
        let Some((said, asked)) = self.asked.remove(&tag) else {
            return self.surprise(format!("an answer to what was not asked: {answer:?}"));
        };
        // One after another: what was asked before this will not be answered any more.
        let later = self.asked.split_off(&tag);
        for (said, asked) in mem::replace(&mut self.asked, later).into_values() {
            let what = format!("{}: no answer to {asked:?}", self.name());
            self.world.books.borrow_mut().unanswered.push((said, what));
        }
        if let Some(session) = self.session {
            self.world.books.borrow_mut().sessions[session].alive = said;
        }
        match (asked, answer.event.as_str()) {
            (Asked::Authenticate, "Done") => self.subscribe_to_all(),
            (Asked::Authenticate, "Error") => self.again(Due::Authenticate, answer),
            (Asked::Subscribe(request), "Subscribed" | "Error") => {
                self.hear_of_subscribe(at, (tag, said), request, answer);
            }
            (Asked::Unsubscribe(topic), "Unsubscribed") => {
                self.subscribed.remove(&topic);
                for replay in self.replays.values_mut() {
                    replay.topics.remove(&topic);
                }
                self.subscribe([topic].into());
            }
            (Asked::Ping, "Pong") => {
                for exchange in EXCHANGES {
                    self.says(exchange, &answer.payload["positions"][exchange]);
                }
            }
            (Asked::Echo(payload), "Echo") if answer.payload == payload => {}
            (Asked::Echo(_), "Error") => {}
            (asked, _) => self.surprise(format!("{asked:?} was answered with {answer:?}")),
        }
    }

    fn subscribe_to_all(&mut self) {
        let wanted: BTreeSet<_> = self.memory.wanted.iter().copied().collect();
        if self.kind == Kind::ComesBack {
            return self.subscribe(wanted);
        }
        wanted.into_iter().for_each(|topic| self.subscribe([topic].into()));
    }

    /// Of one of its keys, or of all that are left.
    fn hear_of_subscribe(
        &mut self,
        at: Instant,
        (tag, said): (u64, Instant),
        mut request: Request,
        answer: &Message,
    ) {
        let topics = match named(&answer.payload) {
            Some(topic) if request.topics.remove(&topic) => BTreeSet::from([topic]),
            None if answer.event == "Error" => mem::take(&mut request.topics),
            _ => return self.surprise(format!("{request:?} was answered with {answer:?}")),
        };
        if answer.event == "Error" {
            if request.after.is_some() {
                self.world.books.borrow_mut().resumed("put off");
            }
            self.again(Due::Subscribe(topics), answer);
        } else {
            topics.into_iter().for_each(|topic| self.stands(at, tag, topic, &request, answer));
        }
        if !request.topics.is_empty() {
            self.asked.insert(tag, (said, Asked::Subscribe(request)));
        }
    }

    fn stands(&mut self, at: Instant, tag: u64, topic: Topic, request: &Request, answer: &Message) {
        let Some(session) = self.session else { return };
        let payload = &answer.payload;
        let known = self.memory.subscriptions.get(&topic).copied();
        let mut books = self.world.books.borrow_mut();
        let number = match known {
            Some(number) => {
                let place = request.after.as_deref().and_then(positions::read);
                books.is_back(number, session, place.map(|(offset, _)| offset));
                number
            }
            None => {
                let kept = self.kind == Kind::ComesBack;
                books.subscribed((self.number, session), topic, at, kept)
            }
        };
        drop(books);
        self.memory.subscriptions.insert(topic, number);
        self.subscribed.insert(topic, number);
        if self.leaves && self.kind != Kind::ComesBack {
            self.until_now(number);
        }
        let reason = payload["reason"].as_str().and_then(Word::not_recovered);
        match (&request.after, payload["recovered"].as_bool(), reason) {
            (None, None, None) if known.is_none() => self.memory.positions.goes_live(topic),
            (Some(_), Some(true), None) => {
                self.memory.positions.stands(topic, &request.place);
                let none = Replay { topics: BTreeSet::new(), heard: 0 };
                self.replays.entry(tag).or_insert(none).topics.insert(topic);
                self.is_cut_off |= self.cut_off_behind == Some(0);
                self.world.books.borrow_mut().resumed("recovered");
            }
            (Some(after), Some(false), Some(word)) => {
                self.is_told(at, topic, word, Some(after));
                self.memory.positions.goes_live(topic);
                self.world.books.borrow_mut().resumed(word.name());
            }
            _ => self.surprise(format!("{request:?} was answered with {answer:?}")),
        }
        self.says(topic.exchange(), &payload["id"]);
    }

    fn hear_replayed(&mut self, tag: u64, message: &Message) {
        let Some(replay) = self.replays.remove(&tag) else {
            return self.surprise(format!("nobody waits for {message:?}"));
        };
        if message.payload["count"].as_u64() != Some(replay.heard) {
            let heard = replay.heard;
            self.surprise(format!("{heard} events were heard before {message:?}"));
        }
        for topic in &replay.topics {
            // Some were given up, and are asked for anew.
            if self.memory.subscriptions.contains_key(topic) {
                self.memory.positions.goes_live(*topic);
            }
        }
        let exchange = message.payload["exchange"].as_str();
        if let Some(exchange) = EXCHANGES.into_iter().find(|name| Some(*name) == exchange) {
            self.says(exchange, &message.payload["id"]);
        }
        let mut books = self.world.books.borrow_mut();
        books.replayed += replay.heard;
        books.resumed("replays over");
    }

    pub(super) fn end(&self, at: Instant, gone: Gone) {
        let ends = self.world.fleet[self.replica].generation() != self.generation;
        let Some(session) = self.session else { return };
        let explained = match gone {
            Gone::Closed(SENT_AWAY) => true,
            Gone::Closed(1000) => self.leaves || ends,
            _ => ends || self.is_cut_off,
        };
        let mut books = self.world.books.borrow_mut();
        books.ended(session, at, gone, explained);
        for _ in &self.replays {
            books.resumed("replays cut off");
        }
    }

    fn again(&mut self, due: Due, answer: &Message) {
        let after = answer.retry_after().unwrap_or_default().max(AGAIN_AFTER);
        self.due.push((tokio::time::Instant::now() + after, due));
    }

    fn surprise(&self, what: String) {
        let what: String = what.chars().take(400).collect();
        let what = format!("{}: {what}", self.name());
        self.world.books.borrow_mut().surprise(what);
    }

    fn name(&self) -> String {
        let books = self.world.books.borrow();
        let id = self.session.map_or("no session yet", |session| &books.sessions[session].id);
        format!("client {}, {id} on replica {}", self.number, self.replica)
    }
}

/// What a message is about.
fn named(payload: &Value) -> Option<Topic> {
    let named = |name: &str| payload[name].as_str();
    Topic::find(named("exchange")?, named("routing_key")?)
}
