//! `--exchange`: what is taken is within its bounds and reads the same when it is written
//! out; every item that is not is told about, in one line.

use std::time::Duration;

use myxi::internals::{
    bus::rabbitmq::{ExchangeConfig, ExchangeKind},
    config::exchanges::parse_into,
};

use super::is_one_line;

/// What a problem may have beside what it quotes, escaped.
const PROBLEM_MAX: usize = 300;

/// As `{:?}` may write one byte: `\u{7f}`.
const ESCAPED_MAX: usize = 6;

pub fn exchange_list(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (exchanges, problems) = parse(text);
    for problem in &problems {
        assert!(is_one_line(problem), "{problem:?}");
        assert!(problem.len() <= PROBLEM_MAX + ESCAPED_MAX * 2 * text.len(), "{problem:?}");
    }
    let items = text.split(',').filter(|item| !item.trim().is_empty());
    let (valid, invalid): (Vec<_>, Vec<_>) = items.partition(|item| parse(item).1.is_empty());
    for item in valid.iter().chain(&invalid) {
        assert_eq!(parse(item).0.len(), usize::from(parse(item).1.is_empty()), "{item:?}");
    }
    // Of those with the same name the first is taken, and the others are told about.
    let repeated = valid.len() - exchanges.len();
    assert!(problems.len() >= invalid.len() + repeated, "{text:?}: {problems:?}");
    assert_eq!(problems.is_empty(), invalid.is_empty() && repeated == 0);
    exchanges.iter().for_each(check);
    let written: Vec<_> = exchanges.iter().map(write).collect();
    assert_eq!(parse(&written.join(" ,")), (exchanges, Vec::new()));
}

fn parse(text: &str) -> (Vec<ExchangeConfig>, Vec<String>) {
    let mut exchanges = Vec::new();
    let problems = parse_into(&mut exchanges, text);
    (exchanges, problems)
}

fn check(exchange: &ExchangeConfig) {
    let name = exchange.name.as_str();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
    assert!((1..=127).contains(&name.len()) && name.chars().all(allowed), "{name:?}");
    assert!(!name.starts_with("amq."), "{name:?}");
    assert!(exchange.max_age >= Duration::from_secs(1) && exchange.max_age.subsec_nanos() == 0);
    // To be counted from now on, and to be carried by AMQP.
    assert!(std::time::Instant::now().checked_add(exchange.max_age).is_some());
    assert!(i64::try_from(exchange.max_bytes).is_ok());
    assert!((1..=3_000_000_000).contains(&exchange.segment_bytes));
    assert!(exchange.segment_bytes <= exchange.max_bytes);
}

fn write(exchange: &ExchangeConfig) -> String {
    let ExchangeConfig { name, kind, max_age, max_bytes, segment_bytes, batch } = exchange;
    if *kind == ExchangeKind::Direct {
        return format!("{name} ;kind= direct");
    }
    let (seconds, batch) = (max_age.as_secs(), if *batch { "on" } else { "off" });
    let also_direct = *kind == ExchangeKind::AlsoDirect;
    format!(
        "{name}; max-age={seconds}s ;max-bytes = {max_bytes};segment-bytes={segment_bytes}B; \
         batch = {batch};also-direct={also_direct}"
    )
}
