//! What every listener and every connection of this process needs, whoever it is for.

pub mod accept;
pub mod backoff;
pub mod dial;
pub mod origin;
pub mod small_http;
pub mod token;
