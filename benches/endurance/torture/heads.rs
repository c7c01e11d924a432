//! Where a log begins, asked when somebody was told that it does not reach back to where they
//! stood: the broker's word against the gateway's. A log is cut at its head and nowhere else, so
//! what it still has a moment later it had then.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use futures_util::StreamExt;
use lapin::{
    Channel,
    message::Delivery,
    options::BasicAckOptions,
    types::{AMQPValue, FieldTable},
};
use tokio::{
    task::spawn_local,
    time::{Instant, sleep, timeout},
};

use super::{World, faults::as_operator};

const PREFETCH: u16 = 1_000;

/// Entries in which a marker should be found.
const LOOKED_AT: usize = 20_000;

/// For one entry: behind the last there is none.
const QUIET: Duration = Duration::from_secs(3);

/// For all looks together, at the end.
const DEADLINE: Duration = Duration::from_secs(180);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The offset of the first entry, if there is any that can be read,
    pub first: Option<u64>,
    /// and of the first marker. A position is held against what follows one.
    pub marker: Option<u64>,
}

/// Looks that have not begun, by exchange: whoever is told meanwhile shares them.
#[derive(Default)]
pub struct Heads(RefCell<BTreeMap<&'static str, usize>>);

/// Answers the number of a look at this log that begins from now on.
pub fn look(world: &Rc<World>, exchange: &'static str) -> usize {
    if let Some(waiting) = world.heads.0.borrow().get(exchange) {
        return *waiting;
    }
    let number = {
        let mut books = world.books.borrow_mut();
        books.heads.push(None);
        books.heads.len() - 1
    };
    world.heads.0.borrow_mut().insert(exchange, number);
    spawn_local(begin(world.clone(), exchange, number));
    number
}

/// Until all that was asked is answered.
pub async fn all_known(world: &World) {
    let began = Instant::now();
    while world.books.borrow().heads.iter().any(Option::is_none) && began.elapsed() < DEADLINE {
        sleep(Duration::from_millis(50)).await;
    }
}

async fn begin(world: Rc<World>, exchange: &'static str, number: usize) {
    let broker = world.broker.read().await;
    world.heads.0.borrow_mut().remove(exchange);
    let log = format!("myxi.log.{exchange}");
    let head = as_operator(broker.node(0), async |channel| read(channel, &log).await).await;
    let mut books = world.books.borrow_mut();
    let head = head.unwrap_or_else(|error| {
        books.surprise(format!("the head of {log} is not known: {error:#}"));
        Head { first: None, marker: None }
    });
    books.heads[number] = Some(head);
}

async fn read(channel: Channel, log: &str) -> lapin::Result<Head> {
    channel.basic_qos(PREFETCH, Default::default()).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-stream-offset".into(), AMQPValue::LongString("first".into()));
    let consuming = channel.basic_consume(log.into(), "".into(), Default::default(), arguments);
    let mut entries = consuming.await?;
    let mut head = Head { first: None, marker: None };
    for _ in 0..LOOKED_AT {
        let Ok(Some(entry)) = timeout(QUIET, entries.next()).await else { break };
        let entry = match entry {
            // An entry that the broker cannot read, either.
            Err(error) if error.to_string().contains("INTERNAL-ERROR") => break,
            entry => entry?,
        };
        let _ = entry.ack(BasicAckOptions::default()).await;
        let at = offset(&entry);
        head.first = head.first.or(at);
        if entry.properties.kind().as_ref().is_some_and(|kind| kind.as_str() == "myxi.marker") {
            head.marker = at;
            break;
        }
    }
    Ok(head)
}

fn offset(entry: &Delivery) -> Option<u64> {
    match entry.properties.headers().as_ref()?.inner().get("x-stream-offset")? {
        AMQPValue::LongLongInt(offset) => u64::try_from(*offset).ok(),
        _ => None,
    }
}
