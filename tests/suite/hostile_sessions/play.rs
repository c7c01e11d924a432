//! Plays one plan against a gateway, and judges what was heard.

use std::{future::pending, io, net::SocketAddr};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    time::sleep,
};

use super::{
    dice::Dice,
    heard::Heard,
    plan::{ALIVE, Expect, IS_ALIVE, Plan, Step},
};
use crate::support::frames::{CLOSE, FIN, PONG, close_payload};

/// What one session said, and what it was told.
pub struct Played {
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub verdict: Result<(), String>,
}

pub async fn play(gateway: SocketAddr, plan: Plan) -> Played {
    match converse(gateway, &plan).await {
        Ok((bytes_in, heard)) => {
            let bytes_out = heard.bytes;
            Played { bytes_in, bytes_out, verdict: judge(&plan.expect, &heard) }
        }
        Err(error) => {
            Played { bytes_in: 0, bytes_out: 0, verdict: Err(format!("no connection: {error}")) }
        }
    }
}

async fn converse(gateway: SocketAddr, plan: &Plan) -> io::Result<(u64, Heard)> {
    let mut stream = TcpStream::connect(gateway).await?;
    stream.set_nodelay(true)?;
    let (heard, hearing) = watch::channel(Heard::default());
    let (reader, writer) = stream.split();
    let mut speaker = Speaker { writer, hearing, sent: 0 };
    let mut reading = Box::pin(read(reader, &heard));
    let gone = {
        let speaking = speaker.speak(plan);
        tokio::pin!(speaking);
        tokio::select! {
            gone = &mut speaking => gone,
            // The gateway has ended it; what is still to be said fails or ends soon.
            () = &mut reading, if plan.reads => speaking.await,
        }
    };
    // Else the end is awaited: every session must have one.
    let over = gone != Gone::No || (plan.expect.is_http() && !heard.borrow().statuses.is_empty());
    if !over && !heard.borrow().ended {
        reading.as_mut().await;
    }
    drop(reading);
    let sent = speaker.sent;
    drop(speaker);
    if gone == Gone::Reset {
        stream.set_zero_linger()?;
    }
    Ok((sent, heard.borrow().clone()))
}

async fn read(mut reader: ReadHalf<'_>, heard: &watch::Sender<Heard>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match reader.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(bytes) => heard.send_modify(|heard| heard.take(&buffer[..bytes])),
        }
    }
    heard.send_modify(|heard| heard.ended = true);
}

#[derive(PartialEq, Eq)]
enum Gone {
    No,
    Left,
    Reset,
}

struct Speaker<'a> {
    writer: WriteHalf<'a>,
    hearing: watch::Receiver<Heard>,
    sent: u64,
}

impl Speaker<'_> {
    /// All steps, and the proof of life where one is expected. A socket that takes no more
    /// is no failure: what was heard is judged.
    async fn speak(&mut self, plan: &Plan) -> Gone {
        let mut waiting = Vec::new();
        for step in &plan.steps {
            if let Step::Send(bytes) = step {
                waiting.extend(bytes);
                if plan.pieces.is_none() {
                    continue;
                }
            }
            self.send(&mut waiting, plan.pieces).await;
            match step {
                Step::Send(_) => {}
                Step::Pause(time) => sleep(*time).await,
                Step::Hear(beginning) => {
                    self.answer_pings_until(|heard| heard.says(beginning)).await;
                }
                Step::HalfClose => drop(self.writer.shutdown().await),
                Step::Leave => return Gone::Left,
                Step::Reset => return Gone::Reset,
            }
        }
        if plan.expect.is_alive() {
            let mut dice = Dice::new(self.sent, 0);
            waiting.extend(dice.message(ALIVE));
            self.send(&mut waiting, plan.pieces).await;
            self.answer_pings_until(|heard| heard.says(IS_ALIVE)).await;
            waiting.extend(dice.frame(FIN | CLOSE, &close_payload(1000, b"")));
        }
        self.send(&mut waiting, plan.pieces).await;
        if plan.expect.is_http() {
            let _ = self.hearing.wait_for(|heard| !heard.statuses.is_empty() || heard.ended).await;
        } else if plan.reads && !plan.expect.is_alive() {
            if let Expect::Closes(_) = plan.expect {
                self.answer_pings_until(|_| false).await;
            }
            if plan.answers_close {
                let _ = self.hearing.wait_for(Heard::is_over).await;
                let answer = close_payload(1000, b"");
                let mut answer = Dice::new(self.sent, 1).frame(FIN | CLOSE, &answer);
                self.send(&mut answer, None).await;
            }
        }
        Gone::No
    }

    async fn send(&mut self, bytes: &mut Vec<u8>, pieces: Option<u64>) {
        let bytes = std::mem::take(bytes);
        let mut dice = pieces.map(|seed| SmallRng::seed_from_u64(seed ^ bytes.len() as u64));
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            // At most some dozen writes, however long it is.
            let piece = dice.as_mut().map_or(rest.len(), |dice| {
                dice.random_range(1..=rest.len()).max(bytes.len() / 16).min(rest.len())
            });
            let (now, later) = rest.split_at(piece);
            if self.writer.write_all(now).await.is_err() {
                return;
            }
            self.sent += now.len() as u64;
            rest = later;
        }
    }

    /// However long it takes, or until nothing comes any more.
    async fn answer_pings_until(&mut self, over: impl Fn(&Heard) -> bool) {
        let mut hearing = self.hearing.clone();
        let mut answered = 0;
        let answering = async {
            loop {
                let pinged = hearing.wait_for(|heard| heard.pings > answered).await;
                let Ok(pings) = pinged.map(|heard| heard.pings) else { return pending().await };
                let pong = Dice::new(pings as u64, 2).frame(FIN | PONG, b"");
                if self.writer.write_all(&pong).await.is_err() {
                    return pending().await;
                }
                answered = pings;
                self.sent += pong.len() as u64;
            }
        };
        tokio::select! {
            _ = self.hearing.wait_for(|heard| heard.is_over() || over(heard)) => {}
            () = answering => {}
        }
    }
}

fn judge(expect: &Expect, heard: &Heard) -> Result<(), String> {
    if let Some(problem) = &heard.malformed {
        return Err(format!("it sent what is no frame: {problem}"));
    }
    let upgraded = heard.statuses.contains(&101);
    let first = heard.statuses.first().copied();
    let closed_with = heard.close.unwrap_or_default();
    let holds = match expect {
        Expect::Status(statuses) => first.is_some_and(|status| statuses.contains(&status)),
        Expect::NoUpgrade => !upgraded && first.is_none_or(|status| (400..500).contains(&status)),
        Expect::Replies(replies) => is_alive(heard) && are(replies, &heard.texts),
        Expect::Alive => is_alive(heard),
        Expect::Closes(codes) => upgraded && codes.contains(&closed_with),
        Expect::AliveOrCloses(code) => is_alive(heard) || (upgraded && closed_with == *code),
        Expect::Ends => heard.ended,
        Expect::Unheard => true,
    };
    if holds { Ok(()) } else { Err(format!("expected {}, heard {heard}", shown(expect))) }
}

fn is_alive(heard: &Heard) -> bool {
    heard.texts.last().is_some_and(|text| text.starts_with(IS_ALIVE)) && heard.close == Some(1000)
}

/// Between the greeting and the proof of life.
fn are(replies: &[String], texts: &[String]) -> bool {
    let [_, between @ .., _] = texts else { return false };
    between.len() == replies.len()
        && between.iter().zip(replies).all(|(text, reply)| text.starts_with(reply.as_str()))
}

fn shown(expect: &Expect) -> String {
    format!("{expect:?}").chars().take(400).collect()
}
