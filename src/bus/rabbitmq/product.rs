//! What a broker calls itself, as it says to whoever connects.

use std::{io, time::Duration};

use lapin::uri::AMQPScheme;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::BrokerUrl;

const DEADLINE: Duration = Duration::from_secs(5);

/// The version stands in the first of what it says.
const GREETING: usize = 4 * 1024;

/// What it is, in its own words (`RabbitMQ 3.10.8`): said before anybody has to name a user. Of one
/// that expects TLS it is not known.
pub(crate) async fn product(url: &BrokerUrl) -> Option<String> {
    let authority = &url.uri().authority;
    if url.uri().scheme == AMQPScheme::AMQPS {
        return None;
    }
    let greeting = async {
        let mut socket = TcpStream::connect((authority.host.as_str(), authority.port)).await?;
        socket.write_all(b"AMQP\0\0\x09\x01").await?;
        let mut head = [0; 7];
        socket.read_exact(&mut head).await?;
        let [_, _, _, length @ ..] = head;
        let length = u32::from_be_bytes(length) as usize;
        let mut said = vec![0; length.min(GREETING)];
        socket.read_exact(&mut said).await?;
        io::Result::Ok(said)
    };
    let said = timeout(DEADLINE, greeting).await.ok()?.ok()?;
    Some(format!("{} {}", property(&said, "product")?, property(&said, "version")?))
}

/// A long string among the properties of the server.
fn property(said: &[u8], name: &str) -> Option<String> {
    let begins = [&[name.len() as u8], name.as_bytes(), b"S"].concat();
    let at = said.windows(begins.len()).position(|window| window == begins)? + begins.len();
    let (length, rest) = said[at..].split_first_chunk::<4>()?;
    let text = rest.get(..u32::from_be_bytes(*length) as usize)?;
    Some(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_is_read_where_it_is_whole() {
        let said = b"\x07productS\0\0\0\x08RabbitMQ\x07versionS\0\0\0\x063.10.8";
        assert_eq!(property(said, "version").as_deref(), Some("3.10.8"));
        assert_eq!(property(&said[..said.len() - 1], "version"), None);
        assert_eq!(property(said, "platform"), None);
    }
}
