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

use super::headers;

/// Names that are told; what more strangers ask for is not.
const TOLD_MAX: usize = 8;

/// People send tokens this way, which are not for the log: a name that is shown is as short as
/// those of protocols are, in small letters, with hardly more digits than a version has.
const SHOWN_MAX: usize = 24;
const SHOWN_DIGITS_MAX: usize = 3;

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
        let mut asked = headers::list(headers, &SEC_WEBSOCKET_PROTOCOL).peekable();
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
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._+-".contains(&byte);
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    let short = name.len() <= SHOWN_MAX && digits <= SHOWN_DIGITS_MAX;
    match short && name.bytes().all(plain) {
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
        for name in ["$(reboot)", "a'b", "a b", &"x".repeat(25)] {
            assert_eq!(shown(name), "NAME");
        }
    }

    #[test]
    fn a_token_is_not_for_the_log_and_the_name_of_a_protocol_is() {
        let hex = "0123456789abcdef";
        for token in [hex, &hex.repeat(2), "aGVsbG8td29ybGQtdG9rZW4", "sk_live_4eC39HqLyjWD"] {
            assert_eq!(shown(token), "NAME", "{token}");
        }
        for name in
            ["actioncable-v1-json", "graphql-transport-ws", "v12.stomp", "ocpp2.0.1", "mqtt"]
        {
            assert_eq!(shown(name), name);
        }
    }
}
