//! How a hub hands over many events at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::{FutureExt, future::poll_immediate};
use myxi::internals::{
    event::{Entry, Event, EventBody, Exchange, Position, Topic},
    hub::{Delivery, Hub, Interest, outbox::Outbox},
    ids::{ReplicaId, SessionIds},
    metrics::Metrics,
    protocol::{Frame, KeyForm},
};

/// In bytes: a share of it holds a batch.
const OUTBOX: usize = 1 << 20;

fn at() -> Position {
    Position::end_of(Entry { offset: 0, hash: 0 })
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct World {
    hub: Hub,
    exchange: Exchange,
    /// Each has written all that it had, and waits.
    outboxes: Vec<Arc<Outbox>>,
    woken: Arc<Woken>,
}

impl World {
    /// Sessions that are subscribed to `k`; a last one alone to `last`, too.
    fn new(sessions: usize, outbox: usize) -> Self {
        let exchange = Exchange::new("widgets").expect("valid");
        let hub = Hub::new(Interest::new([exchange.clone()]), outbox, Arc::new(Metrics::new(&[])));
        let ids = SessionIds::new(ReplicaId::random());
        let outboxes = (0..sessions).map(|_| Outbox::new(ids.next(), outbox)).collect();
        let world = Self { hub, exchange, outboxes, woken: Arc::default() };
        world.outboxes.iter().for_each(|outbox| {
            world.hub.subscribe(&world.topic("k"), KeyForm::String, outbox, None, None);
            outbox.greet([]);
        });
        let last = world.outboxes.last().expect("one");
        world.hub.subscribe(&world.topic("last"), KeyForm::String, last, None, None);
        (0..sessions).for_each(|session| drop(world.written(session)));
        world
    }

    fn topic(&self, key: &str) -> Topic {
        Topic::new(self.exchange.clone(), key).expect("valid")
    }

    fn batch<'a>(&self, keys: impl IntoIterator<Item = &'a str>) -> Vec<Delivery> {
        let delivery = |(number, key): (usize, &str)| {
            let body = EventBody::new("E", &number.to_string()).expect("valid");
            let topic = self.topic(key);
            Delivery::new(Event { topic, body, position: Some(at()), pushed_at: None })
        };
        keys.into_iter().enumerate().map(delivery).collect()
    }

    async fn deliver(&self, batch: &[Delivery]) {
        self.hub.deliver(&self.exchange, batch, Some(at())).await;
    }

    /// Has a session write all that it can.
    fn written(&self, session: usize) -> Vec<Frame> {
        let waker = Waker::from(self.woken.clone());
        let mut frames = Vec::new();
        while let Poll::Ready(Some((frame, _))) =
            self.outboxes[session].poll_frame(&mut Context::from_waker(&waker))
        {
            frames.push(frame);
        }
        frames
    }

    fn queued(&self) -> usize {
        (0..self.outboxes.len()).map(|session| self.written(session).len()).sum()
    }

    async fn wake_all(&self) {
        let mut waking = std::pin::pin!(self.hub.wake());
        for _ in 0..=self.outboxes.len() {
            assert!(poll_immediate(&mut waking).await.is_none());
        }
    }
}

#[tokio::test]
async fn a_batch_is_handed_over_at_once_and_wakes_each_session_once() {
    let world = World::new(100, OUTBOX);
    let keys = (0..60).map(|n| if n % 2 == 0 { "k" } else { "nobody's" }).chain(["last"]);
    let delivered = world.deliver(&world.batch(keys)).now_or_never();
    assert!(delivered.is_some(), "it waits");
    world.wake_all().await;
    assert_eq!(world.woken.0.load(Ordering::Relaxed), 100);
    for session in 0..100 {
        let frames = world.written(session);
        assert_eq!(frames.len(), if session == 99 { 31 } else { 30 });
        let payload = |frame: &Frame| {
            let frame: serde_json::Value = serde_json::from_str(frame).expect("JSON");
            frame["payload"].as_u64().expect("a number")
        };
        assert!(frames.iter().map(payload).is_sorted_by(|a, b| a < b), "{frames:?}");
    }
}

/// What else a runtime has to do is done between the events of a batch.
#[tokio::test]
async fn a_batch_for_thousands_leaves_others_their_turn() {
    const SESSIONS: usize = 3_000;
    const EVENTS: usize = 20;
    let world = World::new(SESSIONS, OUTBOX);
    let batch = world.batch(["k"; EVENTS]);
    let mut delivering = std::pin::pin!(world.deliver(&batch));
    let (mut delivered, mut queued) = (false, 0);
    while !delivered {
        delivered = poll_immediate(&mut delivering).await.is_some();
        let at_once = world.queued();
        assert!((1..=20_000).contains(&at_once), "{at_once} at once");
        queued += at_once;
    }
    assert_eq!(queued, SESSIONS * EVENTS);
}

/// A batch can be more than the smallest outbox holds.
#[tokio::test(start_paused = true)]
async fn a_batch_is_cut_where_the_turns_of_its_sessions_end() {
    let outbox = 4_000;
    let world = World::new(2, outbox);
    let batch = world.batch(["k"; 256]);
    let id = at();
    let frame =
        format!(r#"{{"event":"E","payload":1,"mq":{{"e":"widgets","rk":"k","id":"{id}"}}}}"#);
    let share = outbox / 4 / Outbox::cost(&Frame::from(frame));
    let mut delivering = std::pin::pin!(world.deliver(&batch));
    let mut received = 0;
    loop {
        let delivered = poll_immediate(&mut delivering).await.is_some();
        let frames = world.written(0).len();
        assert!(frames <= share, "{frames} in one turn");
        assert_eq!(world.written(1).len(), frames);
        received += frames;
        if delivered {
            break;
        }
    }
    assert_eq!(received, 256);
}
