//! Thousands of clients in one task: an epoll of their own, one buffer that all read with,
//! and no more parsing than counting takes.

mod client;
mod latencies;
mod tally;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::ensure;
use mio::{Events, Interest, Poll, Token};
use tokio::{io::unix::AsyncFd, sync::Notify, task::JoinHandle};

use self::client::Client;
pub use self::tally::Tally;
use super::script::{self, Step};

/// Enough for a socket buffer's usual filling; what is left is read in the next call.
const BUFFER: usize = 64 * 1024;

/// What a client counts as one message.
#[derive(Clone, Copy)]
pub enum Unit {
    Frame,
    /// So many bytes of payload, where a server puts several messages into a frame.
    Bytes(usize),
    /// As [`Self::Bytes`], with newlines between them.
    Line,
    /// A frame with an event of the gateway, also while a script is played. Each client knows
    /// where it is in the log.
    Event,
}

/// How eagerly clients look for more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// For a load side that has its own processor: it goes on looking for a while before it
    /// sleeps. To wake a sleeping reader is work for whoever writes, more than the write
    /// itself: a server whose clients are elsewhere never has it, so it is not measured.
    Eager,
    /// For a load side that shares its processor.
    Sparing,
}

/// Longer than the pause between two events that wait for each other.
const LOOKS_AGAIN_FOR: Duration = Duration::from_micros(500);

/// All go with it when it is dropped.
pub struct Clients {
    shared: Rc<Shared>,
    turning: JoinHandle<()>,
}

struct Shared {
    fd: AsyncFd<OwnedFd>,
    books: RefCell<Books>,
    /// Messages received by all together.
    received: Cell<u64>,
    /// Scripts that were played to their end.
    played: Cell<usize>,
    /// What became of connections that ended: how many, and the first one's reason.
    lost: RefCell<(usize, String)>,
    moved: Notify,
    looks_again_for: Duration,
    worked: Cell<Duration>,
}

struct Books {
    poll: Poll,
    events: Events,
    clients: Vec<Option<Client>>,
    /// Of those whose connection has ended.
    left: BTreeMap<usize, Tally>,
    buffer: Vec<u8>,
    unit: Unit,
    /// When each message was published, while latencies are taken.
    published: Option<Vec<Instant>>,
    latencies: Vec<Duration>,
}

impl Clients {
    pub fn new(unit: Unit, pace: Pace) -> io::Result<Self> {
        let poll = Poll::new()?;
        let books = Books {
            events: Events::with_capacity(1024),
            clients: Vec::new(),
            left: BTreeMap::new(),
            buffer: vec![0; BUFFER],
            unit,
            published: None,
            latencies: Vec::new(),
            poll,
        };
        // Sound, as it owns its descriptor; what replaces it is unsafe.
        #[allow(deprecated)]
        let fd = AsyncFd::new(books.poll.registry().as_fd().try_clone_to_owned()?)?;
        let shared = Rc::new(Shared {
            fd,
            books: RefCell::new(books),
            received: Cell::new(0),
            played: Cell::new(0),
            lost: RefCell::default(),
            moved: Notify::new(),
            looks_again_for: if pace == Pace::Eager { LOOKS_AGAIN_FOR } else { Duration::ZERO },
            worked: Cell::default(),
        });
        let turning = tokio::task::spawn_local(shared.clone().turn_forever());
        Ok(Self { shared, turning })
    }

    /// Connects so many more and plays a script with each, some at once.
    pub async fn open(
        &self,
        server: SocketAddr,
        count: usize,
        at_once: usize,
        script: impl Fn(usize) -> Rc<[Step]>,
    ) -> anyhow::Result<()> {
        let first = self.len();
        self.staggered(count, at_once, |number| {
            self.shared.books.borrow_mut().connect(server, script(first + number))
        })
        .await
    }

    /// Plays a further script with each client, some at once.
    pub async fn play(&self, at_once: usize, script: &Rc<[Step]>) -> anyhow::Result<()> {
        self.staggered(self.len(), at_once, |number| {
            let mut books = self.shared.books.borrow_mut();
            if let Some(client) = &mut books.clients[number] {
                client.play(script.clone())?;
            }
            Ok(())
        })
        .await
    }

    async fn staggered(
        &self,
        count: usize,
        at_once: usize,
        mut start: impl FnMut(usize) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        let before = self.shared.played.get();
        for number in 0..count {
            start(number)?;
            self.until(|| self.shared.played.get() + at_once > before + number).await?;
        }
        self.until(|| self.shared.played.get() == before + count).await
    }

    /// Each sends this message, and again whenever a message came: one on its way at any
    /// time. The answers are counted as messages.
    pub fn repeat(&self, message: &Rc<[u8]>) -> io::Result<()> {
        let mut books = self.shared.books.borrow_mut();
        books.clients.iter_mut().flatten().try_for_each(|client| client.repeat(message.clone()))
    }

    /// Each sends this message once. What comes then is counted.
    pub fn say(&self, message: &[u8]) -> io::Result<()> {
        let mut books = self.shared.books.borrow_mut();
        books.clients.iter_mut().flatten().try_for_each(|client| client.say(message))
    }

    pub fn len(&self) -> usize {
        self.shared.books.borrow().clients.len()
    }

    /// For how long clients have been served: what the load side costs, without the time in
    /// which it looks for more, and without its publishers.
    pub fn worked(&self) -> Duration {
        self.shared.worked.get()
    }

    pub fn received(&self) -> u64 {
        self.shared.received.get()
    }

    /// Waits until all together have received so many messages since the beginning.
    pub async fn have_received(&self, messages: u64) -> anyhow::Result<()> {
        self.until(|| self.received() >= messages).await
    }

    /// Waits for what the clients' progress makes true. A lost connection is an error.
    pub async fn until(&self, reached: impl Fn() -> bool) -> anyhow::Result<()> {
        loop {
            let moved = self.shared.moved.notified();
            self.none_lost()?;
            if reached() {
                return Ok(());
            }
            moved.await;
        }
    }

    pub fn none_lost(&self) -> anyhow::Result<()> {
        let (lost, reason) = &*self.shared.lost.borrow();
        ensure!(*lost == 0, "{lost} connections lost, the first: {reason}");
        Ok(())
    }

    /// How many connections ended by themselves.
    pub fn lost(&self) -> usize {
        self.shared.lost.borrow().0
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.turning.abort();
        // The task, and with it the sockets, would live until the runtime's next turn.
        self.shared.books.borrow_mut().clients.clear();
    }
}

impl Shared {
    async fn turn_forever(self: Rc<Self>) {
        loop {
            let Ok(mut ready) = self.fd.readable().await else { return };
            ready.clear_ready();
            let mut last = Instant::now();
            loop {
                let began = Instant::now();
                let served = self.turn();
                if served > 0 {
                    last = Instant::now();
                    self.worked.set(self.worked.get() + (last - began));
                    self.moved.notify_waiters();
                } else if began - last >= self.looks_again_for {
                    break;
                }
                // Publishers are tasks of the same thread.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Serves whoever is ready, and tells how many were.
    fn turn(&self) -> usize {
        let books = &mut *self.books.borrow_mut();
        if books.poll.poll(&mut books.events, Some(Duration::ZERO)).is_err() {
            return 0;
        }
        let mut served = 0;
        for event in &books.events {
            served += 1;
            let slot = &mut books.clients[event.token().0];
            let Some(client) = slot else { continue };
            let (unit, was_playing) = (books.unit, client.is_playing());
            let before = client.tally.received;
            let outcome = client.serve(&mut books.buffer, unit);
            self.played.set(self.played.get() + usize::from(was_playing && !client.is_playing()));
            let received = client.tally.received;
            self.received.set(self.received.get() + (received - before));
            if let Some(published) = &books.published {
                let now = Instant::now();
                let published = published.iter().take(received as usize);
                let new = published.skip(before as usize);
                books.latencies.extend(new.map(|at| now.duration_since(*at)));
                books.latencies.extend(client.answered(now));
            }
            if let Err(error) = outcome {
                let tally = slot.take().map(|client| client.tally);
                books.left.extend(tally.map(|tally| (event.token().0, tally)));
                let lost = &mut *self.lost.borrow_mut();
                lost.0 += 1;
                if lost.1.is_empty() {
                    lost.1 = error.to_string();
                }
            }
        }
        served
    }
}

impl Books {
    fn connect(&mut self, server: SocketAddr, script: Rc<[Step]>) -> io::Result<()> {
        let number = self.clients.len();
        let mut client = Client::connect(server, number, script::Progress::new(script))?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(client.stream(), Token(number), interest)?;
        self.clients.push(Some(client));
        Ok(())
    }
}
