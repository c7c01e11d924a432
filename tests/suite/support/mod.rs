//! What the tests share.

pub mod handler;
pub mod raw;
