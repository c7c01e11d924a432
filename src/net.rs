//! What every listener and every connection of this process needs, whoever it is for.

pub mod backoff;
pub mod connection;
pub mod dial;
pub mod host;
pub mod listener;
pub mod origin;
pub mod small_http;
pub mod token;
