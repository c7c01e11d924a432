//! The frame around a message: a flag that says whether it is compressed, and its length.

use std::io::{self, Read};

use bytes::{BufMut, Bytes, BytesMut};
use flate2::read::{GzDecoder, ZlibDecoder};
use http::HeaderValue;
use prost::Message;

/// The flag, and 4 bytes of length.
pub(super) const PREFIX: usize = 5;

/// How a reply may be compressed (`grpc-accept-encoding`). Servers with compression switched
/// on use it whether the caller offers it or not.
pub(super) const ACCEPTED: HeaderValue = HeaderValue::from_static("identity,gzip,deflate");

/// Frames a message, not compressed.
pub(super) fn encode(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut body = BytesMut::with_capacity(PREFIX + length);
    body.put_u8(0);
    // A client's message and a session's data are far smaller than 4 GiB.
    body.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    message.encode(&mut body).expect("the buffer grows as needed");
    body.freeze()
}

/// The one message in a reply, of at most `max_size` bytes; says what is wrong with it.
pub(super) fn decode(
    mut reply: Bytes,
    encoding: Option<&HeaderValue>,
    max_size: usize,
) -> Result<Bytes, String> {
    let Some((prefix, message)) = reply.split_first_chunk::<PREFIX>() else {
        return Err("the reply has no message".into());
    };
    let [compressed, length @ ..] = *prefix;
    if usize::try_from(u32::from_be_bytes(length)) != Ok(message.len()) {
        return Err("the reply is not one message of the length it tells".into());
    }
    if compressed == 0 {
        return Ok(reply.split_off(PREFIX));
    }
    let inflated = match encoding.map(HeaderValue::as_bytes) {
        Some(b"gzip") => read(GzDecoder::new(message), max_size),
        Some(b"deflate") => read(ZlibDecoder::new(message), max_size),
        other => {
            let other = other.map(String::from_utf8_lossy);
            return Err(format!("the reply is compressed as {other:?}, which was not offered"));
        }
    };
    match inflated {
        Ok(Some(message)) => Ok(message),
        Ok(None) => Err(too_large(max_size)),
        Err(error) => Err(format!("the reply is not compressed as it says: {error}")),
    }
}

pub(super) fn too_large(max_size: usize) -> String {
    format!("the reply is larger than {max_size} bytes")
}

/// `None` for what is larger.
fn read(inflating: impl Read, max_size: usize) -> io::Result<Option<Bytes>> {
    let mut message = Vec::new();
    inflating.take(max_size as u64 + 1).read_to_end(&mut message)?;
    Ok((message.len() <= max_size).then(|| message.into()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder, write::ZlibEncoder};

    use super::*;

    fn framed(message: &[u8]) -> Bytes {
        let length = u32::try_from(message.len()).expect("short");
        [&[1][..], &length.to_be_bytes(), message].concat().into()
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).expect("into memory");
        encoder.finish().expect("into memory")
    }

    #[test]
    fn what_is_compressed_is_read_up_to_the_limit() {
        let text = vec![b'x'; 100_000];
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(&text).expect("into memory");
        let zlib = zlib.finish().expect("into memory");
        for (name, packed) in [("gzip", gzip(&text)), ("deflate", zlib)] {
            let encoding = HeaderValue::from_static(name);
            let read = |max_size| decode(framed(&packed), Some(&encoding), max_size);
            assert_eq!(read(100_000).expect("of the limit"), text, "{name}");
            assert_eq!(read(99_999), Err(too_large(99_999)), "{name}");
        }
    }

    #[test]
    fn compression_that_was_not_offered_or_is_none_is_an_error() {
        let gzip_said = HeaderValue::from_static("gzip");
        let packed = gzip(b"text");
        let cut = &packed[..packed.len() - 5];
        for (body, encoding, problem) in [
            (framed(b"text"), Some(&gzip_said), "not compressed as it says"),
            (framed(cut), Some(&gzip_said), "not compressed as it says"),
            (framed(&packed), None, "not offered"),
            (framed(&packed), Some(&HeaderValue::from_static("zstd")), "not offered"),
        ] {
            let error = decode(body, encoding, 1_000).expect_err(problem);
            assert!(error.contains(problem), "{error}");
        }
    }
}
