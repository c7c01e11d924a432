//! Connections over HTTP/1.1: the deadlines and the end of each. What is asked over them is
//! for [`Connect`] to answer.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use hyper::{
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tonic::body::Body;

use super::{connect::Connect, connection::CallerConnection};

/// For a request's head, and for the next request after an answer.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Of a request's head, and of what is read of a body at once.
const REQUEST_BUFFER: usize = 16 << 10;

/// Kept no longer than this, so that one whose answers nobody reads frees its place.
const CONNECTION_TIME: Duration = Duration::from_secs(300);

/// What is being answered at a connection's end may take so long.
const FINISH_TIME: Duration = Duration::from_secs(3);

/// Clones serve the same.
#[derive(Clone)]
pub(super) struct Http1 {
    pub connect: Arc<Connect>,
    /// Changes, or is gone, when the listener ends; held by every connection until its own end.
    pub stopping: watch::Receiver<()>,
}

impl Http1 {
    /// In a task of its own. Where it is crowded, a connection is for one request: those who
    /// keep theirs must not keep others out.
    pub(super) fn serve(&self, connection: CallerConnection, crowded: bool) {
        tokio::spawn(self.clone().live(connection, crowded));
    }

    async fn live(self, connection: CallerConnection, crowded: bool) {
        let Self { connect, mut stopping } = self;
        let peer = connection.peer();
        let under_way = Arc::new(AtomicBool::new(false));
        let asked = under_way.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let connect = connect.clone();
            request.extensions_mut().insert(peer);
            let ended = Arc::new(AtomicBool::new(request.body().is_end_stream()));
            let watched = ended.clone();
            let request = request.map(|body| Body::new(Watched { body, ended: watched }));
            let asked = asked.clone();
            asked.store(true, Ordering::Relaxed);
            Box::pin(async move {
                let mut response = connect.answer(request).await;
                // Where a body was not read to its end, nothing can follow: whoever keeps
                // connections is told so.
                if crowded || !ended.load(Ordering::Relaxed) {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(header::CONNECTION, close);
                }
                asked.store(false, Ordering::Relaxed);
                Ok::<_, Infallible>(response)
            })
        });
        let mut serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(REQUEST_BUFFER)
            .serve_connection(TokioIo::new(connection), service);
        let ended = tokio::select! {
            _ = poll_fn(|cx| serving.poll_without_shutdown(cx)) => true,
            _ = stopping.changed() => false,
            () = sleep(CONNECTION_TIME) => false,
        };
        if !ended {
            Pin::new(&mut serving).graceful_shutdown();
            let rest = poll_fn(|cx| serving.poll_without_shutdown(cx));
            // A head that has only begun is waited for by nobody.
            let time = if under_way.load(Ordering::Relaxed) { FINISH_TIME } else { Duration::ZERO };
            let _ = timeout(time, rest).await;
        }
        // All is answered: the listener's end waits for no peer that lingers.
        drop(stopping);
        // Who was refused may be sending still, and must not lose the answer to a reset.
        serving.into_parts().io.into_inner().linger().await;
    }
}

/// A request's body, and whether it was read to its end.
struct Watched {
    body: Incoming,
    ended: Arc<AtomicBool>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() {
            self.ended.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
