//! The body of a POST: a JSON object, and what is told of one that cannot be done. Each
//! field is read by itself, to say which one is wrong.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::Refusal;

pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    let not_json = |what: String| Refusal::bad_request(format!("the body is not JSON: {what}"));
    // An array of the fields would do for the parser.
    if !body.trim_ascii_start().starts_with(b"{") {
        let kind = serde_json::from_slice::<&RawValue>(body);
        return Err(match kind {
            Ok(_) => Refusal::bad_request("the body must be a JSON object"),
            Err(error) => not_json(error.to_string()),
        });
    }
    serde_json::from_slice(body).map_err(|error| not_json(error.to_string()))
}

pub(super) fn required(name: &str, sent: Option<&RawValue>) -> Result<String, Refusal> {
    let missing = || Refusal::bad_request(format!("{name} is missing"));
    text(name, sent.ok_or_else(missing)?)
}

pub(super) fn text(name: &str, sent: &RawValue) -> Result<String, Refusal> {
    serde_json::from_str::<Cow<'_, str>>(sent.get())
        .map(Cow::into_owned)
        .map_err(|_| Refusal::bad_request(format!("{name} must be a string")))
}
