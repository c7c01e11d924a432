//! A way to a broker that can be cut: what the network between a replica and its broker
//! does, for one replica, while the broker and the others are well.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// Bytes are held back; connections stay.
    Silent,
    /// What queues hold does not come through, on connections that otherwise work.
    Undelivering,
    /// Confirms do not come through, on connections that otherwise work.
    Unconfirming,
    /// Connections end, and new ones do too.
    Cut,
}

pub struct Proxy {
    address: SocketAddr,
    way: watch::Sender<Way>,
    _accepting: JoinSet<()>,
}

impl Proxy {
    /// To a port of this machine.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (way, seen) = watch::channel(Way::Open);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(connect(client, port, seen.clone()));
            }
        });
        Self { address, way, _accepting: accepting }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn cut(&self) {
        self.way.send_replace(Way::Cut);
    }

    /// As a cable that is pulled: nobody is told.
    pub fn silence(&self) {
        self.way.send_replace(Way::Silent);
    }

    /// As a broker that takes its time to begin to deliver. Connections that miss something by
    /// it end when this is mended.
    pub fn deliver_nothing(&self) {
        self.way.send_replace(Way::Undelivering);
    }

    /// As a broker whose confirms are lost: what is published is taken. Connections that miss
    /// one end when this is mended.
    pub fn confirm_nothing(&self) {
        self.way.send_replace(Way::Unconfirming);
    }

    pub fn mend(&self) {
        self.way.send_replace(Way::Open);
    }
}

async fn connect(client: TcpStream, port: u16, mut way: watch::Receiver<Way>) {
    if *way.borrow() == Way::Cut {
        return;
    }
    let Ok(broker) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_broker, to_broker) = broker.into_split();
    tokio::select! {
        () = pass(from_client, to_broker, way.clone()) => {}
        () = pass_frames(from_broker, to_client, way.clone()) => {}
        _ = way.wait_for(|way| *way == Way::Cut) => {}
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut way: watch::Receiver<Way>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if way.wait_for(|way| *way != Way::Silent).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// What a broker says, frame by frame.
async fn pass_frames(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut way: watch::Receiver<Way>,
) {
    let (mut said, mut missed) = (Vec::new(), false);
    loop {
        tokio::select! {
            read = from.read_buf(&mut said) => if !read.is_ok_and(|length| length > 0) {
                return;
            },
            mended = way.wait_for(|way| *way == Way::Open), if missed => return drop(mended),
        }
        if way.wait_for(|way| *way != Way::Silent).await.is_err() {
            return;
        }
        while let Some(length) = frame_length(&said) {
            let frame: Vec<u8> = said.drain(..length).collect();
            if holds_back(*way.borrow(), &frame) {
                missed = true;
            } else if to.write_all(&frame).await.is_err() {
                return;
            }
        }
    }
}

/// Of the frame that this begins with, once it is there: kind, channel, size, content, end.
fn frame_length(said: &[u8]) -> Option<usize> {
    let size = u32::from_be_bytes(said.get(3..7)?.try_into().ok()?);
    let length = 7 + size as usize + 1;
    (said.len() >= length).then_some(length)
}

fn holds_back(way: Way, frame: &[u8]) -> bool {
    match way {
        Way::Undelivering => is_of_a_delivery(frame),
        Way::Unconfirming => is_a_confirm(frame),
        Way::Open | Way::Silent | Way::Cut => false,
    }
}

/// The methods `basic.ack` and `basic.nack`.
fn is_a_confirm(frame: &[u8]) -> bool {
    let methods = [[0, 60, 0, 80], [0, 60, 0, 120]];
    frame[0] == 1 && methods.iter().any(|method| frame[7..].starts_with(method))
}

/// The method `basic.deliver`, or a part of what follows it.
fn is_of_a_delivery(frame: &[u8]) -> bool {
    match frame[0] {
        1 => frame[7..].starts_with(&[0, 60, 0, 60]),
        kind => [2, 3].contains(&kind),
    }
}
