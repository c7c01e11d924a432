//! What every listener and every connection of this process needs, whoever it is for.

pub(crate) mod backoff;
pub(crate) mod connection;
pub(crate) mod dial;
pub(crate) mod get;
pub(crate) mod host;
pub(crate) mod inherited;
pub(crate) mod listener;
pub(crate) mod origin;
pub(crate) mod remote;
pub(crate) mod small_http;
pub(crate) mod token;
