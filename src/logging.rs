//! Logs, on stderr: for people where it is a terminal, JSON for programs otherwise.

mod queue;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    env,
    io::{self, IsTerminal},
    panic::{self, PanicHookInfo},
    thread,
    time::Duration,
};

use tracing_subscriber::{
    Layer, Registry,
    filter::{LevelFilter, Targets},
    fmt,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use self::queue::Queue;
pub use self::queue::dropped_lines;

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct LogConfig {
    pub filter: Targets,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    Text,
    Json,
}

/// Libraries that log what passes through them: clients' messages, events, headers.
const SILENCED: [&str; 4] = ["lapin", "tungstenite", "tokio_tungstenite", "h2"];

/// `info`, or `warn,myxi=debug`. A bare word must be a level: the filter's own
/// parser takes a misspelt one for the name of a module, and nothing would be logged.
pub fn parse_filter(text: &str) -> Option<Targets> {
    let plain = |item: &str| item.contains('=') || item.parse::<LevelFilter>().is_ok();
    let valid = text.split(',').all(|item| !item.trim().is_empty() && plain(item.trim()));
    let compact: String = text.split_whitespace().collect();
    valid.then(|| compact.parse().ok()).flatten()
}

/// How long the end of the process waits for whoever reads the log.
const LAST_LINES: Duration = Duration::from_secs(1);

/// On drop, waits a moment until all that was logged is written.
pub struct Logging(Queue);

impl Drop for Logging {
    fn drop(&mut self) {
        self.0.flush(LAST_LINES);
    }
}

/// Sets the process's logs up. Call it once, and keep what it answers to the end.
pub fn init(config: &LogConfig) -> io::Result<Logging> {
    let json = match config.format {
        LogFormat::Auto => !io::stderr().is_terminal(),
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let queue = Queue::start(io::stderr())?;
    let to = queue.clone();
    let writer = move || to.clone();
    let lines: Box<dyn Layer<Registry> + Send + Sync> = if json {
        fmt::layer().json().flatten_event(true).with_writer(writer).boxed()
    } else {
        fmt::layer().with_ansi(colours_wanted()).with_writer(writer).boxed()
    };
    let silenced = SILENCED.map(|library| (library, LevelFilter::OFF));
    let filter = config.filter.clone().with_targets(silenced);
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    // The usual one writes to stderr by itself, and waits for it.
    panic::set_hook(Box::new(log_panic));
    Ok(Logging(queue))
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let said = panic.payload();
    let text = said.downcast_ref::<&str>().copied();
    let message = text.or_else(|| said.downcast_ref::<String>().map(String::as_str));
    let location = panic.location().map(ToString::to_string);
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
    tracing::error!(
        thread = thread::current().name(),
        location,
        backtrace = backtrace.map(|trace| trace.to_string()),
        "panicked: {}",
        message.unwrap_or("no message"),
    );
}

/// <https://no-color.org>
fn colours_wanted() -> bool {
    io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn filters_name_levels_and_modules() {
        let filter = parse_filter("warn, myxi=debug,lapin=off").expect("valid");
        assert!(filter.would_enable("myxi::session", &Level::DEBUG));
        assert!(!filter.would_enable("hyper", &Level::INFO));
        assert!(!filter.would_enable("lapin", &Level::ERROR));
        assert!(parse_filter("INFO").is_some() && parse_filter("off").is_some());
    }

    #[test]
    fn a_misspelt_level_is_no_module() {
        for text in ["inof", "warning", "", "info,,", "myxi=loud", "a=b=c", "info debug"] {
            assert!(parse_filter(text).is_none(), "{text}");
        }
    }
}
