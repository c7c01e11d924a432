//! The types generated from `proto/`, for those who speak with others: the edges
//! `application::grpc` and `gateway_api`, the demo, whose application is at the other end of
//! both, and the log on RabbitMQ, which other programs read and write too.

#![allow(clippy::all, clippy::pedantic, missing_docs, unused_qualifications)]

mod push_events_request;

pub use self::push_events_request::{EVENTS_BYTES_MAX, EVENTS_MAX, PushEventsRequest};

tonic::include_proto!("myxi.v1");

/// All proto files, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
