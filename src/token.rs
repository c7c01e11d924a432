//! The bearer tokens of both gRPC sides and of the admin listener.

use std::{fmt, str::FromStr};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

const SCHEME: &str = "Bearer ";

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
    pub fn is_borne_by(&self, headers: &HeaderMap) -> bool {
        headers.get(AUTHORIZATION).is_some_and(|sent| same(sent.as_bytes(), self.0.as_bytes()))
    }

    /// The same, also where it is the password of HTTP Basic, whatever the user's name: what
    /// a browser sends once its user was asked.
    pub fn is_borne_by_browser(&self, headers: &HeaderMap) -> bool {
        let password = || basic_password(headers.get(AUTHORIZATION)?);
        self.is_borne_by(headers)
            || password().is_some_and(|sent| same(&sent, &self.0.as_bytes()[SCHEME.len()..]))
    }
}

/// Takes as long for a token that is almost right as for one that is not, so that nobody
/// can find it letter by letter.
fn same(sent: &[u8], ours: &[u8]) -> bool {
    let differences = sent.iter().zip(ours).fold(0, |found, (a, b)| found | (a ^ b));
    sent.len() == ours.len() && std::hint::black_box(differences) == 0
}

/// Of `Basic base64(user:password)`; no user's name holds a colon.
fn basic_password(sent: &HeaderValue) -> Option<Vec<u8>> {
    let (scheme, credentials) = sent.to_str().ok()?.split_once(' ')?;
    let decoded = BASE64_STANDARD.decode(credentials.trim()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    scheme.eq_ignore_ascii_case("Basic").then(|| decoded[colon + 1..].to_vec())
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(…)")
    }
}
