//! The console: one page, in the binary, that asks nobody but this listener.

use http::{
    StatusCode,
    header::{self, HeaderValue},
};

use super::answer::{Answer, fresh};

/// It loads what is served here and connects as a client to wherever its user says.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      img-src 'self' data:; connect-src 'self' ws: wss:; frame-ancestors 'none'; \
                      base-uri 'none'; form-action 'none'";

/// Path, content type, and what is there.
type File = (&'static str, &'static str, &'static [u8]);

macro_rules! script {
    ($name:literal) => {
        (
            concat!("/", $name),
            "text/javascript; charset=utf-8",
            include_bytes!(concat!("page/", $name)),
        )
    };
}

const FILES: &[File] = &[
    ("/", "text/html; charset=utf-8", include_bytes!("page/index.html")),
    ("/console.css", "text/css; charset=utf-8", include_bytes!("page/console.css")),
    script!("api.js"),
    script!("client.js"),
    script!("close.js"),
    script!("console.js"),
    script!("dom.js"),
    script!("format.js"),
    script!("lines.js"),
    script!("plots.js"),
    script!("push.js"),
    script!("recent.js"),
    script!("resumes.js"),
    script!("status.js"),
    script!("tables.js"),
    script!("tail.js"),
    script!("verdict.js"),
];

/// One of its files.
pub(super) fn file(path: &str) -> Option<Answer> {
    let (_, content_type, bytes) = FILES.iter().find(|(at, ..)| *at == path)?;
    let mut answer = fresh(StatusCode::OK, content_type, *bytes);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Some(answer)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use super::*;

    #[test]
    fn every_file_of_the_page_is_served() {
        let folder = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/admin/page"));
        let names = folder.expect("a folder").map(|entry| entry.expect("an entry").file_name());
        let there: BTreeSet<_> =
            names.map(|name| format!("/{}", name.display()).replace("/index.html", "/")).collect();
        let served: BTreeSet<_> = FILES.iter().map(|(path, ..)| path.to_string()).collect();
        assert_eq!(served, there);
    }
}
