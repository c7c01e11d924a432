//! Clients that come, do a little and leave, in every way in which clients leave.

use std::{rc::Rc, time::Duration};

use anyhow::{bail, ensure};
use rand::{Rng, rngs::SmallRng};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::watch,
    time::sleep,
};

use super::{EVERYBODY, World, note, residents, soon, told};
use crate::{
    application::SENT_AWAY,
    client::{Client, Counts, Gone, connect, upgrade_request},
    load::{EXCHANGE, frames},
};

const PAUSE_SECONDS: std::ops::Range<f64> = 0.05..0.3;

const TEXT: u8 = 1;
const TOO_LARGE: usize = 65 * 1024;

pub async fn live(world: Rc<World>, number: usize, mut stop: watch::Receiver<bool>) {
    let mut dice = World::dice(1_000_000 + number);
    // What is pushed to these is nobody's expectation.
    let counts = Rc::new(Counts::default());
    let mut way = number;
    loop {
        let pause = Duration::from_secs_f64(dice.random_range(PAUSE_SECONDS));
        tokio::select! {
            () = sleep(pause) => {}
            () = told(&mut stop) => return,
        }
        // The port with which a client closed first stays taken for a minute.
        let came = come_and_leave(&world, number, way % WAYS.len(), &counts, &mut dice).await;
        note(&world, &format!("a client that leaves by {:?}", WAYS[way % WAYS.len()]), came);
        world.churned.set(world.churned.get() + 1);
        way += 1;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Closes and waits for the answer.
    Close,
    /// Just ends the connection.
    End,
    /// Resets it.
    Reset,
    /// Sends no more, then reads to the end.
    HalfClose,
    /// Ends it within a frame.
    WithinFrame,
    /// Resets it while much is on its way to it.
    WhileReceiving,
    /// Asks the application to be closed.
    SentAway,
    TooLarge,
    NotUtf8,
    /// Never begins the handshake.
    NoHandshake,
    WithinHandshake,
    /// Asks for a page.
    WrongPath,
}

const WAYS: [Way; 12] = [
    Way::Close,
    Way::End,
    Way::Reset,
    Way::HalfClose,
    Way::WithinFrame,
    Way::WhileReceiving,
    Way::SentAway,
    Way::TooLarge,
    Way::NotUtf8,
    Way::NoHandshake,
    Way::WithinHandshake,
    Way::WrongPath,
];

async fn come_and_leave(
    world: &World,
    number: usize,
    way: usize,
    counts: &Rc<Counts>,
    dice: &mut SmallRng,
) -> anyhow::Result<()> {
    let way = WAYS[way];
    if let Way::NoHandshake | Way::WithinHandshake | Way::WrongPath = way {
        return soon("no session", without_session(world, number, way)).await;
    }
    let mut client = soon("connect", Client::connect(world.server, number, counts.clone())).await?;
    soon("authenticate", client.authenticate()).await?;
    let keys = [EVERYBODY.into(), format!("passer-by-{}", dice.random_range(0..1000))];
    soon("subscribe", client.subscribe(&keys)).await?;
    for _ in 0..dice.random_range(0..3) {
        residents::act(&mut client, dice).await?;
    }
    if dice.random_bool(0.5) {
        let payload = json!({"exchange": EXCHANGE, "routing_keys": keys});
        let reply = soon("unsubscribe", client.act("Unsubscribe", &payload)).await?;
        ensure!(reply.event == "Unsubscribed", "{reply:?}");
    }
    soon("leave", leave(client, way)).await
}

async fn leave(mut client: Client, way: Way) -> anyhow::Result<()> {
    let closed = match way {
        Way::Close => return Ok(client.close().await?),
        Way::Reset => return Ok(client.stream().set_zero_linger()?),
        Way::HalfClose => {
            client.stream().shutdown().await?;
            return match to_the_end(&mut client).await {
                Gone::Connection(_) | Gone::Closed(_) => Ok(()),
                gone => Err(gone.into()),
            };
        }
        Way::WithinFrame => {
            let frame = frames::frame(TEXT, &[b'x'; 100]);
            return Ok(client.stream().write_all(&frame[..50]).await?);
        }
        Way::WhileReceiving => {
            let echo = json!({"action": "Echo", "payload": {"text": "x".repeat(60_000)}});
            for _ in 0..3 {
                client.say(&echo.to_string()).await?;
            }
            return Ok(client.stream().set_zero_linger()?);
        }
        Way::SentAway => {
            client.say(r#"{"action":"SendAway"}"#).await?;
            SENT_AWAY
        }
        Way::TooLarge => {
            client.say(&"x".repeat(TOO_LARGE)).await?;
            1009
        }
        Way::NotUtf8 => {
            client.stream().write_all(&frames::frame(TEXT, &[0xff])).await?;
            1007
        }
        _ => return Ok(()),
    };
    match to_the_end(&mut client).await {
        Gone::Closed(code) if code == closed => Ok(()),
        gone => bail!("not closed with {closed}: {gone}"),
    }
}

async fn to_the_end(client: &mut Client) -> Gone {
    loop {
        if let Err(gone) = client.next().await {
            return gone;
        }
    }
}

/// The gateway's side of a connection that never becomes a session.
async fn without_session(world: &World, number: usize, way: Way) -> anyhow::Result<()> {
    let mut stream = connect(world.server, number).await?;
    let request = upgrade_request(world.server);
    match way {
        Way::WithinHandshake => stream.write_all(&request.as_bytes()[..40]).await?,
        Way::WrongPath => {
            let request = request.replacen("GET / ", "GET /nothing ", 1);
            stream.write_all(request.as_bytes()).await?;
            let mut answer = vec![0; 12];
            stream.read_exact(&mut answer).await?;
            ensure!(answer == b"HTTP/1.1 404", "{}", String::from_utf8_lossy(&answer));
        }
        _ => {}
    }
    Ok(())
}
