//! What is done by hand, or by a script, against a gateway that runs: pushing, watching, looking
//! at its sessions and closing one, asking whether it is well. What is asked for goes to stdout
//! and nothing else does; what is to be said goes to stderr, in lines that name the command.

mod admin;
mod gateway;
mod health;
mod print;
mod push;
mod sessions;
mod tail;

use std::process::ExitCode;

use self::print::say;
use crate::{config::hand::HandCommand, signals::StopSignals};

/// Why what was asked for was not done, and what to do: one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failure(String);

/// All that was asked for was done, or not all of it, which was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    NotAll,
}

/// From here on a signal does not end the process by itself.
fn stop_signals() -> Result<StopSignals, Failure> {
    StopSignals::new().map_err(|error| Failure(format!("cannot hear signals: {error}")))
}

/// What was not done has been said when it returns.
pub async fn run(command: HandCommand) -> ExitCode {
    let name = command.name();
    let outcome = match command {
        HandCommand::Push(config) => push::run(config).await,
        HandCommand::Tail(config) => tail::run(config).await,
        HandCommand::Sessions(config) => sessions::list(config).await,
        HandCommand::Send(config) => sessions::send(config).await,
        HandCommand::Disconnect(config) => sessions::disconnect(config).await,
        HandCommand::Health(config) => health::run(config).await,
    };
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::NotAll) => ExitCode::FAILURE,
        Err(failure) => {
            say(name, &failure.to_string());
            ExitCode::FAILURE
        }
    }
}
