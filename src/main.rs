//! Arguments → configuration → run → exit code.

use std::process::ExitCode;

use anyhow::Context;
use myxi::{
    config::{Command, ConfigErrors, Note},
    demo, logging, server,
};
use tokio::runtime::Builder;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As for a flag that does not exist: the command line is wrong, nothing was started.
const EXIT_MISCONFIGURED: u8 = 2;

fn main() -> ExitCode {
    let command = match Command::from_process() {
        Ok(command) => command,
        Err(errors) => return refuse(&errors),
    };
    let (log, notes) = match &command {
        Command::Serve(config) => (&config.log, &config.notes),
        Command::Demo(config) => (&config.log, &config.notes),
    };
    // To the end: what was logged last is the most important.
    let _logging = match logging::init(log) {
        Ok(logging) => logging,
        Err(error) => {
            eprintln!("myxi did not start: cannot write a log: {error}");
            return ExitCode::FAILURE;
        }
    };
    notes.iter().for_each(Note::log);
    let outcome = match command {
        Command::Serve(config) => complete(server::run(*config)),
        Command::Demo(config) => complete(demo::run(*config)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn refuse(ConfigErrors(problems): &ConfigErrors) -> ExitCode {
    eprintln!("myxi did not start; please correct:");
    for problem in problems {
        eprintln!("- {problem}");
    }
    eprintln!("\nFor every flag and variable see --help.");
    ExitCode::from(EXIT_MISCONFIGURED)
}

/// One thread: sessions that share it wake each other for next to nothing. Where there is
/// more to do, further threads serve sessions of their own (`worker`).
fn complete(run: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let outcome = runtime.block_on(run);
    // Dropping it would wait for the system to resolve the names that it was asked for,
    // and nobody bounds that.
    runtime.shutdown_background();
    outcome
}
