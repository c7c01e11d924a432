//! `myxi push`: one event, or one for each line of standard input. What is there is pushed
//! together, up to what one call may hold, and a call is over before the next begins: so the order
//! is kept, and a slow input is not waited for.

mod line;
mod lines;

use std::{
    fmt,
    io::{self, IsTerminal},
    iter, mem,
    ops::ControlFlow,
};

use prost::Message;
use tokio::io::stdin;
use tonic::Code;

use self::{line::ReadLine, lines::Lines};
use super::{
    Failure, Outcome,
    gateway::{Fate, Gateway, Refused},
    print::{Output, not_written, say},
    stop_signals,
};
use crate::{
    config::hand::{Events, NamedEvent, PushConfig},
    ids::random_id,
    proto::{EVENTS_BYTES_MAX, EVENTS_MAX, PushEventRequest, PushEventsRequest, PushResult},
    signals::StopSignals,
};

/// Of a field in a message: its tag and the longest length.
const FIELD: usize = 6;

pub(super) async fn run(config: PushConfig) -> Result<Outcome, Failure> {
    let gateway = Gateway::connect(config.gateway).await?;
    let mut pusher = Pusher::new(gateway, stop_signals()?);
    match config.events {
        // With an id of its own it can be pushed again, whatever becomes of the call.
        Events::One { topic, payload, id } => {
            let id = id.unwrap_or_else(random_id);
            let event = request(&topic, payload, Some(id));
            // There is nothing to go on with.
            let _ = pusher.add(Source::Command, event).await;
            let _ = pusher.flush().await;
        }
        Events::Payloads(topic) => pusher.lines(ReadLine::Payload(topic)).await?,
        Events::Lines => {
            if io::stdin().is_terminal() {
                say("push", "type an event a line, and Ctrl-D at the end; --help shows one");
            }
            pusher.lines(ReadLine::Event).await?;
        }
    }
    Ok(pusher.outcome())
}

fn request(topic: &NamedEvent, payload: String, event_id: Option<String>) -> PushEventRequest {
    let NamedEvent { exchange, routing_key, event } = topic.clone();
    PushEventRequest { exchange, routing_key, event, payload, event_id }
}

/// Where an event was read.
#[derive(Debug, Clone, Copy)]
enum Source {
    Command,
    Line(u64),
}

struct Pusher {
    gateway: Gateway,
    stop: StopSignals,
    output: Output,
    waiting: Vec<(Source, PushEventRequest)>,
    /// Of the request that they will make.
    bytes: usize,
    pushed: u64,
    not_pushed: u64,
    unknown: u64,
    /// Some ids could not be printed.
    unwritten: bool,
    /// A signal came.
    interrupted: bool,
}

/// The gateway, or what is behind it, is not well: the next events would do no better, and come
/// before those that failed.
type Flow = ControlFlow<()>;

impl Pusher {
    fn new(gateway: Gateway, stop: StopSignals) -> Self {
        let (waiting, output) = (Vec::new(), Output::new());
        Self {
            gateway,
            stop,
            output,
            waiting,
            bytes: 0,
            pushed: 0,
            not_pushed: 0,
            unknown: 0,
            unwritten: false,
            interrupted: false,
        }
    }

    /// Until the input ends, or it is of no use to go on.
    async fn lines(&mut self, read: ReadLine) -> Result<(), Failure> {
        let mut lines = Lines::new(stdin());
        loop {
            while let Some((number, line)) = lines.take() {
                let source = Source::Line(number);
                let flow =
                    match line.map_err(|error| error.to_string()).and_then(|line| read.read(&line))
                    {
                        Ok(Some(event)) => self.add(source, event).await,
                        Ok(None) => Flow::Continue(()),
                        Err(problem) => {
                            self.fails(source, &problem);
                            Flow::Continue(())
                        }
                    };
                if flow.is_break() {
                    self.stopped(number.saturating_sub(1));
                    return Ok(());
                }
            }
            if self.flush().await.is_break() {
                self.stopped(lines.number());
                return Ok(());
            }
            let filled = tokio::select! {
                filled = lines.fill() => filled,
                () = self.stop.next() => {
                    self.interrupted = true;
                    self.stopped(lines.number());
                    return Ok(());
                }
            };
            if !filled.map_err(|error| Failure(format!("cannot read standard input: {error}")))? {
                return Ok(());
            }
        }
    }

    /// Pushes those before it where one call cannot hold them all.
    async fn add(&mut self, source: Source, event: PushEventRequest) -> Flow {
        let bytes = event.encoded_len() + FIELD;
        if bytes > EVENTS_BYTES_MAX {
            let problem = format!("{bytes} bytes are more than a call may have");
            self.fails(source, &problem);
            return Flow::Continue(());
        }
        let full = self.waiting.len() == EVENTS_MAX || self.bytes + bytes > EVENTS_BYTES_MAX;
        let flow = if full { self.flush().await } else { Flow::Continue(()) };
        if flow.is_continue() {
            self.bytes += bytes;
            self.waiting.push((source, event));
        }
        flow
    }

    async fn flush(&mut self) -> Flow {
        if self.waiting.is_empty() {
            return Flow::Continue(());
        }
        self.bytes = 0;
        let (sources, events): (Vec<_>, Vec<_>) = mem::take(&mut self.waiting).into_iter().unzip();
        let ids: Vec<_> = events.iter().map(|event| event.event_id.clone()).collect();
        let request = self.gateway.request(PushEventsRequest { events });
        let mut client = self.gateway.client.clone();
        let answer = tokio::select! {
            answer = self.gateway.answer(client.push_events(request)) => answer,
            () = self.stop.next() => {
                Err(Refused { reason: "interrupted".into(), fate: Fate::Unknown })
            }
        };
        match answer {
            Ok(answer) => {
                // Of an event that the gateway says nothing of, nobody knows.
                let unsaid = || PushResult { code: Code::Unknown.into(), ..Default::default() };
                let results = answer.results.into_iter().chain(iter::repeat_with(unsaid));
                self.results(sources.into_iter().zip(results)).await
            }
            Err(refused) => {
                for (source, id) in sources.into_iter().zip(ids) {
                    match refused.fate {
                        Fate::NotDone => self.fails(source, &refused.reason),
                        _ => self.unknown(source, &refused.reason, &id.unwrap_or_default()),
                    }
                }
                Flow::Break(())
            }
        }
    }

    async fn results(&mut self, results: impl Iterator<Item = (Source, PushResult)>) -> Flow {
        let mut flow = Flow::Continue(());
        let mut pushed = Vec::new();
        for (source, PushResult { event_id, code, message }) in results {
            match Code::from(code) {
                Code::Ok => pushed.push(event_id),
                // It is the event's own fault.
                Code::InvalidArgument | Code::NotFound => self.fails(source, &message),
                Code::Unavailable | Code::ResourceExhausted => {
                    self.fails(source, &message);
                    flow = Flow::Break(());
                }
                _ => {
                    self.unknown(source, &message, &event_id);
                    flow = Flow::Break(());
                }
            }
        }
        match self.printed(&pushed).await {
            Flow::Continue(()) => flow,
            stopped => stopped,
        }
    }

    /// What was asked for is done, whether somebody reads the ids or not.
    async fn printed(&mut self, ids: &[String]) -> Flow {
        if ids.is_empty() {
            return Flow::Continue(());
        }
        self.pushed += ids.len() as u64;
        let lines = ids.join("\n");
        let written = tokio::select! {
            written = self.output.line(&lines) => written,
            () = self.stop.next() => {
                let count = ids.len();
                say("push", &format!("interrupted: {count} were pushed whose ids are not all printed"));
                self.interrupted = true;
                return Flow::Break(());
            }
        };
        if let Err(error) = written
            && let Err(Failure(problem)) = not_written(error)
        {
            say("push", &problem);
            self.unwritten = true;
        }
        Flow::Continue(())
    }

    fn fails(&mut self, source: Source, problem: &str) {
        self.not_pushed += 1;
        say("push", &format!("{source}not pushed: {problem}"));
    }

    fn unknown(&mut self, source: Source, problem: &str, id: &str) {
        self.unknown += 1;
        let again = match id {
            "" => String::new(),
            id => format!("; its event_id is {id}, under which it can be pushed again"),
        };
        say("push", &format!("{source}may have been pushed: {problem}{again}"));
    }

    fn stopped(&self, line: u64) {
        say("push", &format!("stopped: nothing behind line {line} was pushed"));
    }

    fn outcome(&self) -> Outcome {
        let Self { pushed, not_pushed, unknown, .. } = self;
        match not_pushed + unknown {
            0 if self.unwritten || self.interrupted => Outcome::NotAll,
            0 => Outcome::Done,
            failed => {
                if pushed + failed > 1 {
                    let text = format!(
                        "{pushed} pushed, {not_pushed} not pushed, {unknown} may have been pushed"
                    );
                    say("push", &text);
                }
                Outcome::NotAll
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command => Ok(()),
            Self::Line(number) => write!(f, "line {number}: "),
        }
    }
}
