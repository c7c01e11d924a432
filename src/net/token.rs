//! The bearer tokens of both gRPC sides and of the admin listener.

use std::{fmt, str::FromStr};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use subtle::ConstantTimeEq;

const SCHEME: &str = "Bearer ";

/// Schemes are the same in every case (RFC 9110, 11.1): some clients write `bearer`.
const BEARER: &[u8] = b"bearer";
const BASIC: &[u8] = b"basic";

/// A shared secret that travels as `authorization: Bearer <token>`. Never printed.
#[derive(Clone)]
pub struct BearerToken(HeaderValue);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a token must be visible ASCII without spaces")]
pub struct InvalidToken;

impl FromStr for BearerToken {
    type Err = InvalidToken;

    fn from_str(token: &str) -> Result<Self, InvalidToken> {
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidToken);
        }
        let mut header = HeaderValue::try_from(format!("{SCHEME}{token}")).or(Err(InvalidToken))?;
        header.set_sensitive(true);
        Ok(Self(header))
    }
}

impl BearerToken {
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    /// Whether the headers bear this token.
    pub fn authorizes(&self, headers: &HeaderMap) -> bool {
        credentials(headers, BEARER).is_some_and(|sent| same(sent, self.token()))
    }

    fn token(&self) -> &[u8] {
        &self.0.as_bytes()[SCHEME.len()..]
    }

    /// The same, also where it is the password of HTTP Basic, whatever the user's name: what
    /// a browser sends once its user was asked.
    pub fn authorizes_browser(&self, headers: &HeaderMap) -> bool {
        self.authorizes(headers)
            || basic_password(headers).is_some_and(|sent| same(&sent, self.token()))
    }
}

/// Takes as long for a token that is almost right as for one that is not, so that nobody
/// can find it letter by letter.
fn same(sent: &[u8], ours: &[u8]) -> bool {
    sent.ct_eq(ours).into()
}

/// What follows the name of this scheme, which is in lower case.
fn credentials<'a>(headers: &'a HeaderMap, scheme: &[u8]) -> Option<&'a [u8]> {
    let (given, rest) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(scheme.len())?;
    let rest = rest.strip_prefix(b" ").filter(|_| given.eq_ignore_ascii_case(scheme))?;
    Some(rest.trim_ascii())
}

/// Of `Basic base64(user:password)`; no user's name holds a colon.
fn basic_password(headers: &HeaderMap) -> Option<Vec<u8>> {
    let decoded = BASE64_STANDARD.decode(credentials(headers, BASIC)?).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some(decoded[colon + 1..].to_vec())
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authorized(authorization: &str) -> (bool, bool) {
        let token: BearerToken = "S3cret".parse().expect("a token");
        let headers =
            HeaderMap::from_iter([(AUTHORIZATION, authorization.parse().expect("a header"))]);
        (token.authorizes(&headers), token.authorizes_browser(&headers))
    }

    #[test]
    fn the_schemes_case_does_not_matter_and_the_tokens_does() {
        for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
            assert_eq!(authorized(&format!("{scheme} S3cret")), (true, true), "{scheme}");
            assert_eq!(authorized(&format!("{scheme}  S3cret")), (true, true), "{scheme}");
            assert_eq!(authorized(&format!("{scheme} s3cret")), (false, false), "{scheme}");
        }
        for scheme in ["Basic", "basic", "BASIC"] {
            let sent = BASE64_STANDARD.encode("me:S3cret");
            assert_eq!(authorized(&format!("{scheme} {sent}")), (false, true), "{scheme}");
        }
        for sent in
            ["", "Bearer", "Bearer ", "BearerS3cret", "S3cret", "Bear S3cret", "Token S3cret"]
        {
            assert_eq!(authorized(sent), (false, false), "{sent}");
        }
    }
}
