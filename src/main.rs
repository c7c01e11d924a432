//! Arguments → configuration → run → exit code.

use std::process::ExitCode;

use anyhow::Context;
use myxi::{
    check::{self, Verdict},
    config::{CheckConfig, Command, ConfigErrors, Note},
    demo,
    logging::{self, LogConfig},
    server,
};
use tokio::runtime::Builder;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As for a flag that does not exist: the command line is wrong, nothing was started.
const EXIT_MISCONFIGURED: u8 = 2;

fn main() -> ExitCode {
    match Command::from_process() {
        Ok(Command::Serve(config)) => {
            let (log, notes) = (config.log.clone(), config.notes.clone());
            logged(&log, &notes, server::run(*config))
        }
        Ok(Command::Demo(config)) => {
            let (log, notes) = (config.log.clone(), config.notes.clone());
            logged(&log, &notes, demo::run(*config))
        }
        Ok(Command::Check(config)) => check(*config),
        Err(errors) => refuse(&errors),
    }
}

/// Runs what has a log.
fn logged(
    log: &LogConfig,
    notes: &[Note],
    run: impl Future<Output = anyhow::Result<()>>,
) -> ExitCode {
    // To the end: what was logged last is the most important.
    let _logging = match logging::init(log) {
        Ok(logging) => logging,
        Err(error) => {
            eprintln!("myxi did not start: cannot write a log: {error}");
            return ExitCode::FAILURE;
        }
    };
    notes.iter().for_each(Note::log);
    match complete(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Says nothing but its report.
fn check(config: CheckConfig) -> ExitCode {
    match complete(check::run(config)) {
        Ok(Verdict::Passed) => ExitCode::SUCCESS,
        Ok(Verdict::Failed) => ExitCode::FAILURE,
        Ok(Verdict::Misconfigured) => ExitCode::from(EXIT_MISCONFIGURED),
        Err(error) => {
            eprintln!("myxi check: {error:#}");
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
fn complete<T>(run: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let outcome = runtime.block_on(run);
    // Dropping it would wait for the system to resolve the names that it was asked for,
    // and nobody bounds that.
    runtime.shutdown_background();
    outcome
}
