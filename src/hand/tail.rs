//! `myxi tail`: events as they come. With keys it is a client like any other; without, it reads
//! what the console reads.

mod client;
mod heard;
mod operator;
mod place;
mod shown;
mod socket;

use std::io;

use self::{
    client::Client,
    shown::{Form, Shown},
};
use super::{
    Failure, Outcome,
    print::{Output, not_written, unread},
    stop_signals,
};
use crate::{
    config::hand::{TailConfig, TailSource},
    signals::StopSignals,
};

pub(super) async fn run(config: TailConfig) -> Result<Outcome, Failure> {
    let TailConfig { exchange, source, count, json } = config;
    let stop = Stop(stop_signals()?);
    let printer = Printer { output: Output::new(), form: Form::of(json), left: count };
    let ended = match source {
        TailSource::Client { url, keys, login, from } => {
            Client::new(exchange, url, keys, login, from, printer).run(stop).await
        }
        TailSource::Operator { admin, last } => {
            operator::run(&exchange, &admin, last, printer, stop).await
        }
    };
    match ended {
        End::Asked => Ok(Outcome::Done),
        End::Written(error) => not_written(error),
        End::Failed(failure) => Err(failure),
    }
}

/// Why nothing more is shown.
enum End {
    /// By a signal, or as many as were wanted have come.
    Asked,
    /// Stdout takes no more.
    Written(io::Error),
    Failed(Failure),
}

/// What ends it from outside.
struct Stop(StopSignals);

impl Stop {
    /// A signal, or its reader has enough.
    async fn next(&mut self) {
        tokio::select! {
            () = self.0.next() => {}
            () = unread() => {}
        }
    }
}

/// Shows events until there were enough.
struct Printer {
    output: Output,
    form: Form,
    /// To come yet.
    left: Option<usize>,
}

impl Printer {
    async fn show(&mut self, event: &Shown<'_>) -> Result<(), End> {
        self.output.line(&self.form.line(event)).await.map_err(End::Written)?;
        let Some(left) = &mut self.left else { return Ok(()) };
        *left -= 1;
        if *left == 0 { Err(End::Asked) } else { Ok(()) }
    }
}
