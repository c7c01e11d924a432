//! What must hold for every input of each fuzz target. A check panics where it does not.
//! `tests/suite/fuzz_corpus.rs` includes this file and runs the same checks over the corpus.

mod broker_url;
mod bus_event;
mod client_message;
mod exchange_list;
mod forwarded;
mod json;
mod log_batch;
mod origin;
mod websocket;

pub use self::{
    broker_url::broker_url, bus_event::bus_event, client_message::client_message,
    exchange_list::exchange_list, forwarded::forwarded, log_batch::log_batch, origin::origin,
    websocket::websocket,
};

/// Exchange and queue names, routing keys: one line, whoever reads the log.
fn is_one_line(text: &str) -> bool {
    !text.contains(char::is_control)
}

/// Whether `part` is a piece of `whole` itself, not of a copy.
fn is_verbatim(part: impl AsRef<[u8]>, whole: &[u8]) -> bool {
    let part = part.as_ref();
    whole.as_ptr_range().contains(&part.as_ptr()) || part.is_empty()
}
