//! How a name that stands for several addresses is connected to: one address after another,
//! without waiting for the one before to give up (RFC 8305, "happy eyeballs"). One that
//! swallows what is sent to it, as a firewall or a machine that is gone does, would otherwise
//! take all the time there is.

use std::{io, net::SocketAddr, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::sleep,
};

/// A connection, whatever it goes over.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// From one attempt to the next, as the RFC recommends.
const STAGGER: Duration = Duration::from_millis(250);

/// The first connection that is made. Does not end by itself while an address is silent: all
/// of them are begun within the first half of `patience`.
///
/// Each further `attempt`, counted from 0, begins one address later: what accepts and then says
/// nothing would otherwise be chosen for ever.
pub async fn first_to_connect<T, C>(
    addresses: impl IntoIterator<Item = SocketAddr>,
    attempt: usize,
    patience: Duration,
    connect: impl Fn(SocketAddr) -> C,
) -> io::Result<T>
where
    C: Future<Output = io::Result<T>>,
{
    let mut addresses: Vec<_> = addresses.into_iter().collect();
    let count = addresses.len().max(1);
    addresses.rotate_left(attempt % count);
    let stagger = STAGGER.min(patience / 2 / count as u32);
    let mut waiting = families_in_turn(addresses).into_iter();
    let mut trying = FuturesUnordered::new();
    let mut failed = None;
    loop {
        match waiting.next() {
            Some(address) => trying.push(connect(address)),
            None if trying.is_empty() => {
                let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                return Err(failed.unwrap_or_else(none));
            }
            None => {}
        }
        tokio::select! {
            Some(tried) = trying.next() => match tried {
                Ok(connection) => return Ok(connection),
                Err(error) => failed = failed.or(Some(error)),
            },
            () = sleep(stagger), if waiting.len() > 0 => {}
        }
    }
}

/// IPv6 and IPv4 by turns, beginning with the first: whole families may be without a way.
fn families_in_turn(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (ours, others): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first);
    let (mut ours, mut others) = (ours.into_iter(), others.into_iter());
    let mut in_turn = Vec::new();
    loop {
        let pair = [ours.next(), others.next()];
        if pair == [None, None] {
            return in_turn;
        }
        in_turn.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let parse = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let all = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"].map(parse).to_vec();
        let turns = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"].map(parse);
        assert_eq!(families_in_turn(all), turns);
    }
}
