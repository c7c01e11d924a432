//! Between the gateway and a handler in Python, something that takes pings for abuse, as a server
//! does whose operator has set it so, or a proxy.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::check;
use crate::support::runtime::Runtime;

/// What comes before the first frame of a client.
const PREFACE: usize = 24;
const HEAD: usize = 9;
const PING: u8 = 6;
const ACK: u8 = 1;

/// GOAWAY, last stream 0, ENHANCE_YOUR_CALM.
const GOAWAY: &[u8] = b"\0\0\x16\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0btoo_many_pings";

#[tokio::test]
async fn a_server_that_takes_pings_for_abuse_is_found() {
    let (mut app, port) = Runtime::Python.start(&["workers=8"]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let mut accepting = JoinSet::new();
    accepting.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            connections.spawn(police(client, port));
        }
    });
    let handler = format!("--action-handler=http://{address}");
    let args = [handler.as_str()];
    let checked = tokio::select! {
        checked = check(&args) => checked,
        () = async { while app.line().await.is_some() {} } => panic!("the handler ended"),
    };
    // Whether its word or the end of the connection is heard first is a matter of luck.
    checked.failed("pings", "the connection was lost");
    // What times out in silence is followed by one, too.
    let expected = ["pings", "short-deadline", "cancelled-calls"];
    assert!(checked.of("failed").iter().all(|name| expected.contains(name)), "{}", checked.text);
}

async fn police(client: TcpStream, port: u16) -> std::io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", port)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let watched = async {
        let mut preface = [0; PREFACE];
        from_client.read_exact(&mut preface).await?;
        to_server.write_all(&preface).await?;
        loop {
            let mut head = [0; HEAD];
            from_client.read_exact(&mut head).await?;
            let [a, b, c, kind, flags, ..] = head;
            if kind == PING && flags & ACK == 0 {
                return std::io::Result::Ok(());
            }
            let mut frame = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            from_client.read_exact(&mut frame).await?;
            to_server.write_all(&[&head[..], &frame].concat()).await?;
        }
    };
    tokio::select! {
        ended = watched => ended?,
        ended = copy(&mut from_server, &mut to_client) => return ended.map(drop),
    }
    to_client.write_all(GOAWAY).await?;
    to_client.shutdown().await
}
