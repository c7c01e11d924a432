//! The broker's URL: understood as it is written, and its user and password never shown.

use myxi::internals::bus::rabbitmq::{BrokerUrl, InvalidBrokerUrl};

use super::is_one_line;

pub fn broker_url(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let url = match text.parse::<BrokerUrl>() {
        Ok(url) => url,
        Err(InvalidBrokerUrl::Scheme) => return assert!(!is_amqp(text), "{text:?}"),
        Err(InvalidBrokerUrl::Form | InvalidBrokerUrl::Setting) => {
            return assert!(is_amqp(text), "{text:?}");
        }
    };
    assert!(is_amqp(text), "{text:?}");
    let shown = url.to_string();
    assert_eq!(format!("{url:?}"), format!("BrokerUrl({shown})"));
    assert!(is_one_line(&shown), "{shown:?}");
    assert!(shown.len() <= 6 * text.len() + 20, "{shown:?}");

    let uri = url.uri();
    assert!(!uri.authority.host.is_empty() && !uri.vhost.is_empty());
    assert!(uri.query.heartbeat.is_some() && uri.query.frame_max.is_some());

    // Nothing of what stands before the last @ shows, wherever somebody forgot an escape.
    let (scheme, rest) = text.split_once("://").expect("a URL");
    if let Some((_, rest)) = rest.rsplit_once('@') {
        let stranger: BrokerUrl = format!("{scheme}://{rest}").parse().expect("without a user");
        assert_eq!(stranger.to_string(), shown);
    }

    // Written out with every byte escaped it is the same broker.
    let (user, host) = (&uri.authority.userinfo, &uri.authority.host);
    let host = if host.contains(':') { format!("[{host}]") } else { escaped(host) };
    let heartbeat = uri.query.heartbeat.expect("as above");
    let frame_max = uri.query.frame_max.expect("as above");
    let written = format!(
        "{scheme}://{}:{}@{host}:{}/{}?heartbeat={heartbeat}&frame_max={frame_max}",
        escaped(&user.username),
        escaped(&user.password),
        uri.authority.port,
        escaped(&uri.vhost),
    );
    let again: BrokerUrl = written.parse().expect("every part is escaped");
    assert_eq!(again.to_string(), shown, "{written}");
    assert_eq!(again.uri().authority, uri.authority, "{written}");
    assert_eq!(again.uri().vhost, uri.vhost, "{written}");
}

fn is_amqp(text: &str) -> bool {
    text.starts_with("amqp://") || text.starts_with("amqps://")
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
