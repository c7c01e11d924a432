//! What the calls of one service may hold together, whoever makes them and over however
//! many connections. A call beyond it is refused at once, and may be tried again.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Status, body::Body};

/// What a byte can become at most where it is compressed (gzip, as zlib says of deflate).
const INFLATED_MAX: usize = 1032;

#[derive(Clone)]
pub(super) struct Load {
    calls: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

impl Load {
    pub(super) fn new(calls_max: usize, bytes_max: usize) -> Self {
        let [calls, bytes] = [calls_max, bytes_max].map(|max| Arc::new(Semaphore::new(max)));
        Self { calls, bytes }
    }

    /// `None`: there are as many as there may be.
    pub(super) fn admit(&self) -> Option<Call> {
        let place = self.calls.clone().try_acquire_owned();
        let nothing = self.bytes.clone().try_acquire_many_owned(0);
        match (place, nothing) {
            (Ok(place), Ok(nothing)) => {
                let held = Held { bytes: Mutex::new(nothing), _place: place };
                Some(Call { held: Arc::new(held), budget: self.bytes.clone() })
            }
            _ => None,
        }
    }
}

/// A call under way. It holds its place and what was read of it until both its request and
/// its response are gone.
pub(super) struct Call {
    held: Arc<Held>,
    budget: Arc<Semaphore>,
}

/// Goes with the request to its handler.
#[derive(Clone)]
struct Taken(Arc<Held>);

/// The message, which holds no more than its size from now on: of a compressed one, it was not
/// known before.
pub(super) fn message<M: Message>(request: Request<M>) -> M {
    let (_, extensions, message) = request.into_parts();
    if let Some(Taken(held)) = extensions.get() {
        held.shrink_to(message.encoded_len());
    }
    message
}

struct Held {
    bytes: Mutex<OwnedSemaphorePermit>,
    _place: OwnedSemaphorePermit,
}

impl Held {
    fn take(&self, bytes: usize, budget: &Arc<Semaphore>) -> Result<(), Status> {
        let budget = budget.clone();
        let taken = u32::try_from(bytes).ok().and_then(|n| budget.try_acquire_many_owned(n).ok());
        let taken = taken.ok_or_else(|| {
            Status::resource_exhausted("the calls under way hold too many bytes together")
        })?;
        self.bytes.lock().merge(taken);
        Ok(())
    }

    fn shrink_to(&self, bytes: usize) {
        let mut held = self.bytes.lock();
        let excess = held.num_permits().saturating_sub(bytes);
        drop(held.split(excess));
    }
}

impl Call {
    /// `inflated_max`: what a message may become that is decompressed as it is read.
    pub(super) fn request(
        &self,
        mut request: http::Request<Body>,
        inflated_max: Option<usize>,
    ) -> http::Request<Body> {
        request.extensions_mut().insert(Taken(self.held.clone()));
        let inflated_left = inflated_max.unwrap_or(0);
        let (held, budget) = (self.held.clone(), Some(self.budget.clone()));
        request.map(|body| Body::new(Counted { body, held, budget, inflated_left }))
    }

    /// What was read of a message is about to be decompressed, to `inflated_max` bytes at most.
    pub(super) fn inflate(&self, compressed: usize, inflated_max: usize) -> Result<(), Status> {
        let inflated = compressed.saturating_mul(INFLATED_MAX).min(inflated_max);
        self.held.take(inflated, &self.budget)
    }

    pub(super) fn response(self, body: Body) -> Body {
        Body::new(Counted { body, held: self.held, budget: None, inflated_left: 0 })
    }
}

struct Counted {
    body: Body,
    held: Arc<Held>,
    /// What is read is taken from this.
    budget: Option<Arc<Semaphore>>,
    /// What the rest of a compressed message may still become.
    inflated_left: usize,
}

impl Counted {
    fn take(&mut self, bytes: usize) -> Result<(), Status> {
        let Some(budget) = self.budget.clone() else { return Ok(()) };
        let inflated = (bytes * INFLATED_MAX).min(self.inflated_left);
        self.inflated_left -= inflated;
        self.held.take(bytes + inflated, &budget)
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx)?);
        if let Some(data) = frame.as_ref().and_then(Frame::data_ref) {
            self.take(data.len())?;
        }
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;

    const ROOM: usize = 10 * INFLATED_MAX;

    async fn read(call: &Call, inflated: Option<usize>, bytes: usize) -> Result<usize, Status> {
        let body = Body::new(Full::new(Bytes::from(vec![0; bytes])));
        let request = call.request(http::Request::new(body), inflated);
        Ok(request.into_body().collect().await?.to_bytes().len())
    }

    fn taken(load: &Load) -> usize {
        ROOM - load.bytes.available_permits()
    }

    #[tokio::test]
    async fn a_compressed_byte_counts_as_what_it_may_become_until_that_is_known() {
        let load = Load::new(8, ROOM);
        let plain = load.admit().expect("a place");
        assert_eq!(read(&plain, None, 100).await.expect("room"), 100);
        assert_eq!(taken(&load), 100);
        drop(plain);

        let compressed = load.admit().expect("a place");
        read(&compressed, Some(ROOM), 9).await.expect("room");
        assert_eq!(taken(&load), 9 * (1 + INFLATED_MAX));
        let other = load.admit().expect("a place");
        let refused = read(&other, Some(ROOM), 9).await.expect_err("no room");
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);

        let event = crate::proto::PushEventRequest { event: "Name".into(), ..Default::default() };
        let size = event.encoded_len();
        let mut request = Request::new(event);
        request.extensions_mut().insert(Taken(compressed.held.clone()));
        message(request);
        assert_eq!(taken(&load), size);
        drop(compressed);
        assert_eq!(taken(&load), 0);
    }
}
