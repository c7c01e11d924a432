//! Arguments → configuration → run → exit code.

use std::process::ExitCode;

use myxi::{
    config::{Command, Config, ConfigErrors, DemoConfig, Note},
    logging,
};

/// As for a flag that does not exist: the command line is wrong, nothing was started.
const EXIT_MISCONFIGURED: u8 = 2;

fn main() -> ExitCode {
    let outcome = match Command::from_process() {
        Ok(Command::Serve(config)) => serve(*config),
        Ok(Command::Demo(config)) => demo(config),
        Err(errors) => return refuse(&errors),
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

fn serve(config: Config) -> anyhow::Result<()> {
    logging::init(&config.log);
    config.notes.iter().for_each(Note::log);
    // CALL SITE: server::run(config).
    tracing::info!(listen = %config.listen, grpc = %config.grpc.listen, "configured");
    Ok(())
}

fn demo(config: DemoConfig) -> anyhow::Result<()> {
    logging::init(&config.log);
    config.notes.iter().for_each(Note::log);
    // CALL SITE: demo::run(config).
    tracing::info!(listen = %config.listen, page = %config.page_listen, "configured");
    Ok(())
}
