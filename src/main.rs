//! Arguments → configuration → run → exit code.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context;
use myxi::{
    check::{self, Verdict},
    config::{CheckConfig, Command, ConfigErrors, Note},
    demo, hand,
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
            logged(config.log.clone(), config.notes.clone(), server::run(*config))
        }
        Ok(Command::Demo(config)) => {
            logged(config.log.clone(), config.notes.clone(), demo::run(*config))
        }
        Ok(Command::Check(config)) => check(*config),
        Ok(Command::Hand(command)) => complete(async { Ok(hand::run(*command).await) })
            .unwrap_or_else(|error| failed(&error.to_string())),
        Ok(Command::Print(text)) => print(&text),
        Err(errors) => refuse(&errors),
    }
}

/// A gateway says what it does in a log.
fn logged(
    log: LogConfig,
    notes: Vec<Note>,
    run: impl Future<Output = anyhow::Result<()>>,
) -> ExitCode {
    // To the end: what was logged last is the most important.
    let _logging = match logging::init(&log) {
        Ok(logging) => logging,
        Err(error) => return failed(&format!("myxi did not start: cannot write a log: {error}")),
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
        Err(error) => failed(&format!("myxi check: {error:#}")),
    }
}

/// Whoever reads it may have enough before its end.
fn print(text: &[u8]) -> ExitCode {
    match io::stdout().write_all(text).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            failed(&format!("cannot print: {error}"))
        }
        _ => ExitCode::SUCCESS,
    }
}

fn failed(problem: &str) -> ExitCode {
    eprintln!("{problem}");
    ExitCode::FAILURE
}

fn refuse(ConfigErrors(problems): &ConfigErrors) -> ExitCode {
    eprintln!("myxi cannot run like this; please correct:");
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
