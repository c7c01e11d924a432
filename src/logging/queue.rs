//! Lines of the log on their way to stderr. Nobody waits for whoever reads them: a thread
//! writes, and what finds no room is counted and lost. Otherwise a pipe that is not read
//! would stop everything that has something to say, health included.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex, MutexGuard};

/// What may wait, in bytes: thousands of lines.
const ROOM: usize = 1 << 20;

/// Lines that were lost are told of when so much room is free again: it is one line more.
const ROOM_TO_TELL: usize = ROOM / 2;

/// Between two attempts to write to a pipe that somebody made non-blocking.
const RETRY: Duration = Duration::from_millis(10);

/// Lines lost since the start of the process.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// See [`DROPPED`].
pub fn dropped_lines() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

#[derive(Clone, Default)]
pub(super) struct Queue(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    /// Of them all.
    bytes: usize,
    /// A line is being written.
    writing: bool,
    /// Lost since that was told.
    dropped: u64,
}

impl Queue {
    /// The thread that writes to `out` ends with the process.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let queue = Self::default();
        let writer = queue.clone();
        thread::Builder::new().name("log".into()).spawn(move || writer.write_to(out))?;
        Ok(queue)
    }

    /// Waits until everything is written, if that is done in time.
    pub(super) fn flush(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut waiting = self.lock();
        while waiting.writing || !waiting.lines.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.0.changed.wait_for(&mut waiting, left);
        }
    }

    fn push(&self, line: &[u8]) {
        let mut waiting = self.lock();
        if waiting.bytes + line.len() > ROOM {
            waiting.dropped += 1;
            DROPPED.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.bytes += line.len();
        waiting.lines.push_back(line.to_vec());
        self.0.changed.notify_all();
    }

    fn write_to(self, mut out: impl Write) {
        loop {
            let mut waiting = self.lock();
            waiting.writing = false;
            self.0.changed.notify_all();
            let line = loop {
                match waiting.lines.pop_front() {
                    Some(line) => break line,
                    None => self.0.changed.wait(&mut waiting),
                }
            };
            waiting.writing = true;
            waiting.bytes -= line.len();
            let has_room = ROOM - waiting.bytes >= ROOM_TO_TELL;
            let dropped = if has_room { std::mem::take(&mut waiting.dropped) } else { 0 };
            drop(waiting);
            write(&mut out, &line);
            if dropped > 0 {
                tracing::error!(
                    dropped,
                    "{dropped} lines of the log were dropped: nobody read them"
                );
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock()
    }
}

/// A line that cannot be written is lost: there is nowhere to say so.
fn write(out: &mut impl Write, mut line: &[u8]) {
    while !line.is_empty() {
        match out.write(line) {
            Ok(0) => return,
            Ok(written) => line = &line[written..],
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY),
            Err(_) => return,
        }
    }
}

/// Takes one line at a time, which is how the log's formatters write.
impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
