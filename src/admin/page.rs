//! The console: one page, in the binary, that asks nobody but this listener.

use http::{StatusCode, header, header::HeaderValue};

use super::answer::{Answer, fresh};

/// It loads what is served here and connects as a client to wherever its user says.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      img-src 'self' data:; connect-src 'self' ws: wss:; frame-ancestors 'none'; \
                      base-uri 'none'; form-action 'none'";

const FILES: [(&str, &str, &[u8]); 3] = [
    ("/", "text/html; charset=utf-8", include_bytes!("page/index.html")),
    ("/console.js", "text/javascript; charset=utf-8", include_bytes!("page/console.js")),
    ("/console.css", "text/css; charset=utf-8", include_bytes!("page/console.css")),
];

/// One of its files.
pub fn file(path: &str) -> Option<Answer> {
    let (_, content_type, bytes) = FILES.iter().find(|(at, ..)| *at == path)?;
    let mut answer = fresh(StatusCode::OK, content_type, *bytes);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Some(answer)
}
