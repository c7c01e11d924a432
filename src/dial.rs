//! How a name that stands for several addresses is connected to: one address after another,
//! without waiting for the one before to give up (RFC 8305, "happy eyeballs"). One that
//! swallows what is sent to it, as a firewall or a machine that is gone does, would otherwise
//! take all the time there is.

use std::{io, net::SocketAddr, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::time::sleep;

/// From one attempt to the next, as the RFC recommends.
const STAGGER: Duration = Duration::from_millis(250);

/// The first connection that is made. Does not end by itself while an address is silent: all
/// of them are begun within the first half of `patience`.
///
/// A second attempt (`again`) begins at any address: what accepts and then says nothing would
/// otherwise be chosen for ever.
pub async fn first_to_connect<T, C>(
    addresses: impl IntoIterator<Item = SocketAddr>,
    again: bool,
    patience: Duration,
    connect: impl Fn(SocketAddr) -> C,
) -> io::Result<T>
where
    C: Future<Output = io::Result<T>>,
{
    let mut addresses: Vec<_> = addresses.into_iter().collect();
    if again && !addresses.is_empty() {
        let start = rand::random_range(0..addresses.len());
        addresses.rotate_left(start);
    }
    let stagger = STAGGER.min(patience / 2 / addresses.len().max(1) as u32);
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
    use std::time::Instant;

    use socket2::{Domain, Socket, Type};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    /// Somewhere on this machine that swallows what asks for a connection, while this lives:
    /// nobody takes the connections that it has room for.
    struct Silent(SocketAddr, #[allow(dead_code)] (Socket, Vec<TcpStream>));

    impl Silent {
        async fn new() -> Self {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
            socket.bind(&any.into()).expect("bound");
            socket.listen(0).expect("listening");
            let address = socket.local_addr().expect("bound").as_socket().expect("IPv4");
            let mut waiting = Vec::new();
            let room = Duration::from_millis(500);
            while let Ok(Ok(one)) = tokio::time::timeout(room, TcpStream::connect(address)).await {
                waiting.push(one);
            }
            Self(address, (socket, waiting))
        }
    }

    async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
        let connecting =
            first_to_connect(addresses.iter().copied(), false, PATIENCE, TcpStream::connect);
        tokio::time::timeout(2 * PATIENCE, connecting).await.expect("an end")
    }

    #[tokio::test]
    async fn an_address_that_swallows_all_does_not_hide_the_next() {
        let silent = [Silent::new().await, Silent::new().await];
        let alive = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let alive = alive.local_addr().expect("its address");
        let addresses = [silent[0].0, silent[1].0, alive];
        let began = Instant::now();
        let stream = connect(&addresses).await.expect("connected");
        assert_eq!(stream.peer_addr().expect("connected"), alive);
        // It took its time: the others were given a chance.
        assert!(began.elapsed() >= 2 * STAGGER, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_passed_over_and_the_first_reason_is_told() {
        let silent = Silent::new().await;
        let gone: Vec<_> = ["127.0.0.1:1", "127.0.0.2:1"].map(|a| a.parse().unwrap()).into();
        let error = connect(&gone).await.expect_err("nobody is there");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(connect(&[]).await.is_err());
        let alive = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let alive = alive.local_addr().expect("its address");
        let began = Instant::now();
        connect(&[gone[0], gone[1], alive, silent.0]).await.expect("connected");
        assert!(began.elapsed() < PATIENCE);
    }

    #[test]
    fn families_take_turns() {
        let parse = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let all = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"].map(parse).to_vec();
        let turns = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"].map(parse);
        assert_eq!(families_in_turn(all), turns);
    }
}
