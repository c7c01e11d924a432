//! What the calls of one service may hold together, whoever makes them and over however
//! many connections. A call beyond it is refused at once, and may be tried again.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, body::Body};

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

struct Held {
    bytes: Mutex<OwnedSemaphorePermit>,
    _place: OwnedSemaphorePermit,
}

impl Call {
    pub(super) fn request(&self, body: Body) -> Body {
        Body::new(Counted { body, held: self.held.clone(), budget: Some(self.budget.clone()) })
    }

    pub(super) fn response(self, body: Body) -> Body {
        Body::new(Counted { body, held: self.held, budget: None })
    }
}

struct Counted {
    body: Body,
    held: Arc<Held>,
    /// What is read is taken from this.
    budget: Option<Arc<Semaphore>>,
}

impl Counted {
    fn take(&self, bytes: usize) -> Result<(), Status> {
        let Some(budget) = self.budget.clone() else { return Ok(()) };
        let taken = u32::try_from(bytes).ok().and_then(|n| budget.try_acquire_many_owned(n).ok());
        let taken = taken.ok_or_else(|| {
            Status::resource_exhausted("the calls under way hold too many bytes together")
        })?;
        self.held.bytes.lock().unwrap_or_else(PoisonError::into_inner).merge(taken);
        Ok(())
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
