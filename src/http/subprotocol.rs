//! Subprotocols: a browser that asks for some and is given none gives the connection up
//! (RFC 6455, 4.1), and tells nobody why. So those that are configured are selected, and
//! whoever runs the gateway is told what was asked for in vain.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use http::{
    HeaderMap,
    header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL},
};

use super::handshake;

/// Names that are told; what more strangers ask for is not.
const TOLD_MAX: usize = 8;

/// A longer name may be a token that somebody sends this way, and is not for the log.
const SHOWN_MAX: usize = 32;

#[derive(Debug, Default)]
pub struct Subprotocols {
    known: Vec<Box<str>>,
    /// Each is worth one line.
    told: Mutex<HashSet<Box<str>>>,
}

impl Subprotocols {
    pub fn new(known: Vec<Box<str>>) -> Self {
        Self { known, told: Mutex::default() }
    }

    /// The first that the client names and the gateway was told of.
    pub fn select(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let mut asked = handshake::list(headers, &SEC_WEBSOCKET_PROTOCOL).peekable();
        let first = *asked.peek()?;
        let selected = asked.find(|name| self.known.iter().any(|known| **known == **name));
        if selected.is_none() && self.is_news(first) {
            let name = shown(first);
            tracing::warn!(
                "a client asked for the subprotocol {name}, which is not configured; browsers close \
                 such a connection with 1006. Allow it with --subprotocol {name}"
            );
        }
        HeaderValue::from_str(selected?).ok()
    }

    fn is_news(&self, name: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.len() < TOLD_MAX && told.insert(shown(name).into())
    }
}

/// Harmless in a log and in a shell.
fn shown(name: &str) -> &str {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    match name.len() <= SHOWN_MAX && name.bytes().all(harmless) {
        true => name,
        false => "NAME",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(subprotocols: &Subprotocols, lines: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(SEC_WEBSOCKET_PROTOCOL, line.parse().expect("a header"));
        }
        Some(subprotocols.select(&headers)?.to_str().expect("text").to_owned())
    }

    #[test]
    fn the_clients_first_choice_that_is_known_is_selected() {
        let known = Subprotocols::new(vec!["v1".into(), "v2".into()]);
        assert_eq!(select(&known, &["x, v2", "v1"]).as_deref(), Some("v2"));
        assert_eq!(select(&known, &["x", "y,\tv1 "]).as_deref(), Some("v1"));
        for lines in [&[][..], &[""], &["V1"], &["v1.1"], &["v1 v2"]] {
            assert_eq!(select(&known, lines), None, "{lines:?}");
        }
    }

    #[test]
    fn each_name_is_told_once_and_strangers_do_not_fill_the_log() {
        let none = Subprotocols::default();
        assert!(none.is_news("mqtt") && !none.is_news("mqtt"));
        let told = (0..100).filter(|n| none.is_news(&format!("x{n}"))).count();
        assert_eq!(told, TOLD_MAX - 1);
        for name in ["$(reboot)", "a'b", "a b", &"x".repeat(33)] {
            assert_eq!(shown(name), "NAME");
        }
    }
}
