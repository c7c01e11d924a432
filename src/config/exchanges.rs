//! The exchanges of the configuration: `widgets;max-age=1h;max-bytes=200MB,legacy;kind=direct`.
//! A comma stands between exchanges, a semicolon before each option.

use std::time::Duration;

use super::units;
use crate::{
    bus::rabbitmq::{ExchangeConfig, ExchangeKind},
    event::Exchange,
};

/// RabbitMQ refuses larger segments.
const SEGMENT_BYTES_MAX: &str = "3GB";

/// What the gateway's own exchanges on the broker are called, and its queues.
const OURS: &str = "myxi.";

/// AMQP carries the bound as a signed integer of 64 bits.
const MAX_BYTES_MAX: &str = "9000000000GB";

/// Adds the exchanges of one value to those already known, and answers what is wrong with
/// any of them.
pub fn parse_into(exchanges: &mut Vec<ExchangeConfig>, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        match parse(item) {
            Ok(exchange) if exchanges.iter().any(|known| known.name == exchange.name) => {
                problems.push(format!("{} is named twice; name each exchange once", exchange.name));
            }
            Ok(exchange) => exchanges.push(exchange),
            Err(mut more) => problems.append(&mut more),
        }
    }
    problems
}

fn parse(item: &str) -> Result<ExchangeConfig, Vec<String>> {
    let mut parts = item.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let mut problems = Vec::new();
    let mut options = Options::default();
    for option in parts {
        if let Err(problem) = options.set(option) {
            problems.push(format!("{name:?}: {problem}"));
        }
    }
    if options.segment_bytes > options.max_bytes {
        problems.push(format!(
            "{name:?}: segment-bytes ({}) is more than max-bytes ({}), and a log is cut by \
             whole segments; write a smaller segment-bytes",
            options.segment_bytes, options.max_bytes
        ));
    }
    let Ok(name) = Exchange::new(name) else {
        problems.push(format!(
            "{name:?} is not an exchange name; write 1 to 127 characters of A-Z a-z 0-9 . _ : - \
             that do not begin with amq."
        ));
        return Err(problems);
    };
    if !options.kind.has_log()
        && let Some(option) = &options.of_a_log
    {
        problems.push(format!("{name}: kind=direct has no log; leave {option} out"));
    }
    let kind = match options.kind {
        ExchangeKind::Stream if options.also_direct => ExchangeKind::AlsoDirect,
        kind => kind,
    };
    if kind.has_bindings() && name.as_str().starts_with(OURS) {
        problems.push(format!("{name}: names that begin with {OURS} are the gateway's own"));
    }
    let Options { max_age, max_bytes, segment_bytes, batch, .. } = options;
    let exchange = ExchangeConfig { name, kind, max_age, max_bytes, segment_bytes, batch };
    if problems.is_empty() { Ok(exchange) } else { Err(problems) }
}

/// What an exchange is, how much its log keeps, and how that is written.
struct Options {
    kind: ExchangeKind,
    also_direct: bool,
    /// One that says something of a log.
    of_a_log: Option<String>,
    max_age: Duration,
    max_bytes: u64,
    segment_bytes: u64,
    batch: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kind: ExchangeConfig::DEFAULT_KIND,
            also_direct: false,
            of_a_log: None,
            max_age: ExchangeConfig::DEFAULT_MAX_AGE,
            max_bytes: ExchangeConfig::DEFAULT_MAX_BYTES,
            segment_bytes: ExchangeConfig::DEFAULT_SEGMENT_BYTES,
            batch: ExchangeConfig::DEFAULT_BATCH,
        }
    }
}

impl Options {
    fn set(&mut self, option: &str) -> Result<(), String> {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let (key, value) = (key.trim(), value.trim());
        if key != "kind" {
            self.of_a_log = Some(key.into());
        }
        match (key, value) {
            ("max-age", value) => self.max_age = max_age(value)?,
            ("max-bytes", value) => {
                self.max_bytes = units::size_within(value, "1B", MAX_BYTES_MAX)?;
            }
            ("segment-bytes", value) => {
                self.segment_bytes = units::size_within(value, "1B", SEGMENT_BYTES_MAX)?;
            }
            ("batch", "on") => self.batch = true,
            ("batch", "off") => self.batch = false,
            ("batch", value) => return Err(format!("batch={value} is neither on nor off")),
            ("kind", "stream") => self.kind = ExchangeKind::Stream,
            ("kind", "direct") => self.kind = ExchangeKind::Direct,
            ("also-direct", "true") => self.also_direct = true,
            ("also-direct", "false") => self.also_direct = false,
            ("also-direct", value) => {
                return Err(format!("also-direct={value} is neither true nor false"));
            }
            _ => {
                return Err(format!(
                    "{option:?} is not an option; write max-age=1h, max-bytes=200MB, \
                     segment-bytes=10MB, batch=off, kind=direct or also-direct=true"
                ));
            }
        }
        Ok(())
    }
}

/// RabbitMQ counts a stream's age in seconds.
fn max_age(value: &str) -> Result<Duration, String> {
    let age = units::duration_above_zero(value)?;
    if age.subsec_nanos() != 0 {
        return Err(format!("{value:?} is not whole seconds; write for example 30s or 1h"));
    }
    Ok(age)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_all(text: &str) -> Result<Vec<ExchangeConfig>, Vec<String>> {
        let mut exchanges = Vec::new();
        let problems = parse_into(&mut exchanges, text);
        if problems.is_empty() { Ok(exchanges) } else { Err(problems) }
    }

    #[test]
    fn options_belong_to_the_exchange_before_them() {
        let exchanges = parse_all(
            "widgets;max-age=2h;max-bytes=50MB; segment-bytes=5MB ;kind=stream;batch=off, \
             other,a.b_c:d-1;batch=on, legacy ; kind = direct,\
             both; also-direct = true;max-age=1h",
        )
        .expect("valid");
        let names: Vec<_> = exchanges.iter().map(|exchange| exchange.name.as_str()).collect();
        assert_eq!(names, ["widgets", "other", "a.b_c:d-1", "legacy", "both"]);
        let kinds: Vec<_> = exchanges.iter().map(|exchange| exchange.kind).collect();
        use ExchangeKind::{AlsoDirect, Direct, Stream};
        assert_eq!(kinds, [Stream, Stream, Stream, Direct, AlsoDirect]);
        let widgets = &exchanges[0];
        assert_eq!(widgets.max_age, Duration::from_secs(7200));
        assert_eq!((widgets.max_bytes, widgets.segment_bytes), (50_000_000, 5_000_000));
        assert_eq!((widgets.batch, exchanges[2].batch), (false, true));
        assert_eq!(exchanges[1], ExchangeConfig::new(exchanges[1].name.clone()));
    }

    #[test]
    fn every_problem_of_every_exchange_is_told() {
        let problems = parse_all(
            "ok,amq.topic;max-age=soon,old;kind=topic;size=1,ok,b;max-bytes=1MB,c;max-age=1500ms,\
             d;batch=no,e;batch=on;kind=direct,myxi.in.ok;kind=direct,\
             f;also-direct=true;kind=direct",
        )
        .expect_err("invalid");
        let expected = [
            ("\"amq.topic\"", "not a duration"),
            ("\"amq.topic\"", "not an exchange name"),
            ("\"old\"", "\"kind=topic\" is not an option"),
            ("\"old\"", "\"size=1\" is not an option; write max-age=1h"),
            ("ok", "named twice"),
            ("\"b\"", "a smaller segment-bytes"),
            ("\"c\"", "whole seconds"),
            ("\"d\"", "batch=no is neither on nor off"),
            ("e", "kind=direct has no log; leave batch out"),
            ("myxi.in.ok", "the gateway's own"),
            ("f", "kind=direct has no log; leave also-direct out"),
        ];
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        for (problem, (about, what)) in problems.iter().zip(expected) {
            assert!(problem.starts_with(about) && problem.contains(what), "{problem}");
        }
    }

    #[test]
    fn a_repeated_flag_adds_to_what_is_known() {
        let mut exchanges = parse_all("widgets").expect("valid");
        assert_eq!(parse_into(&mut exchanges, "widgets").len(), 1);
        assert!(parse_into(&mut exchanges, "gadgets").is_empty());
        assert_eq!(exchanges.len(), 2);
    }
}
