//! A client that shows what it gets. It comes back by itself, from where it was, as clients do;
//! what cannot be made good by coming back ends it.

use std::{convert::Infallible, time::Duration};

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::{Instant, Interval, interval, sleep, timeout};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::{
    End, Printer, Stop,
    heard::{Heard, Told},
    place::Place,
    shown::{Payload, Shown},
    socket::{self, Action, Ended, Socket},
};
use crate::{
    config::hand::{From, Login},
    hand::{Failure, print::say},
    net::{backoff::Backoff, remote::Remote},
    time::UnixTime,
};

/// What the application may take for an action, and a gateway for reading a log, unless they are
/// told to be slower than people.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How often it asks where the log is, so that its place does not grow old while its keys are
/// silent; and how many answers may be owed.
const PING_INTERVAL: Duration = Duration::from_secs(25);
const UNANSWERED_MAX: u32 = 3;

const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(5);
/// After a connection that lasted so long it comes back fast.
const STOOD: Duration = Duration::from_secs(10);

/// The tags of its actions.
const LOGIN: &str = "login";
const SUBSCRIBE: &str = "subscribe";
const PING: &str = "ping";

/// A gateway that wants it back later than this can tell it again.
const AFTER_MAX: Duration = Duration::from_secs(60);

pub(super) struct Client {
    exchange: String,
    url: Remote,
    keys: Vec<String>,
    login: Option<Login>,
    printer: Printer,
    place: Place,
    /// It was subscribed once: from now on it comes back.
    began: bool,
    /// It was lost, which was said, and is not back yet.
    away: bool,
    /// On the connection that there is.
    subscribed_at: Option<Instant>,
    logged_in: bool,
    /// Keys whose `Subscribe` was answered.
    answered: usize,
    unanswered_pings: u32,
    /// When the gateway wants it back.
    back_after: Option<Duration>,
}

impl Client {
    pub(super) fn new(
        exchange: String,
        url: Remote,
        keys: Vec<String>,
        login: Option<Login>,
        from: From,
        printer: Printer,
    ) -> Self {
        Self {
            exchange,
            url,
            keys,
            login,
            printer,
            place: Place::new(from),
            began: false,
            away: false,
            subscribed_at: None,
            logged_in: false,
            answered: 0,
            unanswered_pings: 0,
            back_after: None,
        }
    }

    pub(super) async fn run(mut self, mut stop: Stop) -> End {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LONGEST);
        loop {
            let mut socket = None;
            let ended = tokio::select! {
                Err(ended) = self.connection(&mut socket) => ended,
                () = stop.next() => Ended::For(End::Asked),
            };
            let reason = match ended {
                Ended::Lost(reason) if self.began => reason,
                Ended::Lost(reason) => return End::Failed(Failure(reason)),
                Ended::For(end) => {
                    socket::close(socket).await;
                    return end;
                }
            };
            if self.subscribed_at.take().is_some_and(|since| since.elapsed() >= STOOD) {
                backoff.reset();
            }
            if !self.away {
                self.away = true;
                say("tail", &format!("{reason}; connecting again"));
            }
            if self.place.lost() {
                say("tail", "not all of the last events have come");
            }
            let pause = self.back_after.take().unwrap_or_else(|| backoff.pause());
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.next() => return End::Asked,
            }
        }
    }

    async fn connection(&mut self, slot: &mut Option<Socket>) -> Result<Infallible, Ended> {
        (self.logged_in, self.answered, self.unanswered_pings) = (false, 0, 0);
        let socket = slot.insert(socket::connect(&self.url).await?);
        let mut pings = interval(PING_INTERVAL);
        pings.reset();
        if let Some(login) = &self.login {
            let Login { action, payload } = login;
            socket::send(socket, &Action { action, tag: LOGIN, payload }).await?;
            let answered = self.until(socket, &mut pings, |client| client.logged_in);
            within(LOGIN, answered).await?;
        }
        let payload = &self.subscription();
        socket::send(socket, &Action { action: "Subscribe", tag: SUBSCRIBE, payload }).await?;
        let answered =
            self.until(socket, &mut pings, |client| client.answered >= client.keys.len());
        within(SUBSCRIBE, answered).await?;
        if self.away {
            say("tail", "connected again");
        }
        (self.began, self.away) = (true, false);
        self.subscribed_at = Some(Instant::now());
        loop {
            self.next(socket, &mut pings).await?;
        }
    }

    fn subscription(&self) -> Value {
        let mut payload = json!({"exchange": self.exchange, "routing_keys": self.keys});
        match self.place.from() {
            From::Now => {}
            From::Last(count) => payload["last"] = json!(count),
            From::After(position) => payload["after"] = json!(position),
        }
        payload
    }

    async fn until(
        &mut self,
        socket: &mut Socket,
        pings: &mut Interval,
        done: impl Fn(&Self) -> bool,
    ) -> Result<(), Ended> {
        while !done(self) {
            self.next(socket, pings).await?;
        }
        Ok(())
    }

    /// The next that comes, or the next ping.
    async fn next(&mut self, socket: &mut Socket, pings: &mut Interval) -> Result<(), Ended> {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => self.heard(&text).await,
                Some(Ok(Message::Close(frame))) => Err(socket::closed(frame.as_ref())),
                Some(Ok(_)) => Ok(()),
                Some(Err(error)) => Err(Ended::Lost(format!("the connection was lost ({error})"))),
                None => Err(Ended::Lost("the connection was lost".into())),
            },
            _ = pings.tick() => {
                if self.unanswered_pings == UNANSWERED_MAX {
                    return Err(Ended::Lost("the gateway is silent".into()));
                }
                self.unanswered_pings += 1;
                socket::send(socket, &Action { action: "Ping", tag: PING, payload: &json!({}) }).await
            }
        }
    }

    async fn heard(&mut self, text: &Utf8Bytes) -> Result<(), Ended> {
        let Some(heard) = Heard::read(text) else {
            return Err(Ended::failed(format!(
                "{} speaks otherwise than a gateway does",
                self.url
            )));
        };
        match heard {
            Heard::Pushed { exchange, routing_key, event, payload, position } => {
                if exchange == self.exchange {
                    let shown = Shown {
                        at_ms: UnixTime::now().millis(),
                        exchange: &exchange,
                        routing_key: &routing_key,
                        event: &event,
                        payload: Payload::Whole(payload),
                        position: position.as_deref(),
                    };
                    self.printer.show(&shown).await.map_err(Ended::For)?;
                    self.place.event(position);
                }
                Ok(())
            }
            Heard::Answer { event, tag, told } if tag == LOGIN => {
                if event == "Error" {
                    return Err(self.refused("the login is refused", &told));
                }
                self.logged_in = true;
                Ok(())
            }
            Heard::Answer { event, tag, told } if tag == SUBSCRIBE => self.answer(&event, told),
            Heard::Answer { event, tag, told } => self.told(&event, &tag, told),
        }
    }

    /// To its `Subscribe`.
    fn answer(&mut self, event: &str, told: Told) -> Result<(), Ended> {
        match event {
            "Subscribed" => {
                self.answered += 1;
                let gap = told.recovered == Some(false);
                if gap && self.answered == 1 {
                    let reason = told.reason.as_deref().unwrap_or("unknown");
                    let text = match self.place.from() {
                        From::Last(_) => format!("the last events are not to be had ({reason})"),
                        _ => format!("events are missing ({reason})"),
                    };
                    say("tail", &text);
                }
                self.place.subscribed(told.id, told.recovered);
                Ok(())
            }
            // The application has done it at the login, from then on.
            "Error" if told.error.as_deref() == Some("AlreadySubscribed") => {
                self.answered += 1;
                if self.began || *self.place.from() != From::Now {
                    let key = told.routing_key.as_deref().unwrap_or_default();
                    say(
                        "tail",
                        &format!(
                            "the application subscribes to {} {key} at the login: what was \
                             before is not shown",
                            self.exchange
                        ),
                    );
                }
                Ok(())
            }
            "Error" => {
                let key =
                    told.routing_key.as_deref().map_or_else(String::new, |key| format!(" {key}"));
                let what = format!("{}{key} cannot be subscribed to", self.exchange);
                Err(self.refused(&what, &told))
            }
            "Replayed" => {
                self.place.replayed(told.id);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn told(&mut self, event: &str, tag: &str, told: Told) -> Result<(), Ended> {
        let is_ours = told.exchange.as_deref() == Some(&self.exchange);
        let key = told.routing_key.unwrap_or_default();
        match event {
            "Pong" if tag == PING => {
                self.unanswered_pings = 0;
                self.place.pong(told.positions.get(&self.exchange));
            }
            "Gap" if is_ours => {
                say("tail", &format!("events of {} {key} may be missing", self.exchange));
                self.place.gap(told.id);
            }
            "Unsubscribed" if is_ours => {
                self.keys.retain(|held| *held != key);
                say("tail", &format!("the application ended the subscription to {key}"));
                if self.keys.is_empty() {
                    return Err(Ended::failed("there is no subscription left".into()));
                }
            }
            "Reconnect" => {
                let after = told.after_ms.map(Duration::from_millis);
                self.back_after = after.map(|after| after.min(AFTER_MAX));
            }
            _ => {}
        }
        Ok(())
    }

    /// A first answer is final: whoever asked is there to read it.
    fn refused(&self, what: &str, told: &Told) -> Ended {
        let text = format!("{what}: {}", told.error_in_words());
        match self.began && told.may_be_asked_again() {
            true => Ended::Lost(text),
            false => Ended::failed(text),
        }
    }
}

async fn within(
    action: &str,
    answered: impl Future<Output = Result<(), Ended>>,
) -> Result<(), Ended> {
    let late = |_| Ended::Lost(format!("no answer to the {action} within {ANSWER_TIMEOUT:?}"));
    timeout(ANSWER_TIMEOUT, answered).await.map_err(late)?
}
