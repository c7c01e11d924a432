//! The generated gRPC types, for those who speak gRPC alone: the edges
//! `application::grpc` and `gateway_api`, and the demo, whose application is at the
//! other end of both.

#![allow(clippy::all, clippy::pedantic, missing_docs)]

tonic::include_proto!("myxi.v1");

/// Both proto files, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
