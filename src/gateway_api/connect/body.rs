//! A request's body: read within its bounds, and decompressed within the same.

use std::{io::Read, time::Duration};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status, body::Body};

use super::head::Head;
use crate::gateway_api::load::Call;

/// From the first look at it to its end.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn read(body: Body, head: &Head, call: &Call) -> Result<Bytes, Status> {
    // One that says so itself need not be read to know.
    if body.size_hint().lower() > head.size_max as u64 {
        return Err(too_large(head));
    }
    let deadline = head.deadline.min(Instant::now() + BODY_TIMEOUT);
    let sent = timeout_at(deadline, Limited::new(body, head.size_max).collect()).await;
    let sent = sent.map_err(|_| Status::deadline_exceeded("the body did not come in time"))?;
    let sent = sent.map_err(|error| match error.downcast::<Status>() {
        // The calls under way hold too much already.
        Ok(status) if status.code() == Code::ResourceExhausted => *status,
        Err(error) if error.is::<LengthLimitError>() => too_large(head),
        Ok(_) | Err(_) => Status::invalid_argument("the body broke off"),
    })?;
    let sent = sent.to_bytes();
    if head.compressed && !sent.is_empty() {
        // Not before: who sends slowly holds no more than was sent.
        call.inflate(sent.len(), head.size_max)?;
        decompress(&sent, head).map(Bytes::from)
    } else {
        Ok(sent)
    }
}

fn decompress(sent: &[u8], head: &Head) -> Result<Vec<u8>, Status> {
    let mut body = Vec::new();
    let one_more = head.size_max as u64 + 1;
    match MultiGzDecoder::new(sent).take(one_more).read_to_end(&mut body) {
        Ok(_) if body.len() > head.size_max => Err(too_large(head)),
        Ok(_) => Ok(body),
        Err(_) => Err(Status::invalid_argument("the body is not compressed with gzip")),
    }
}

/// The code is gRPC's for it.
fn too_large(head: &Head) -> Status {
    let max = head.size_max;
    Status::out_of_range(format!("the body is too large; {max} bytes are the most"))
}
