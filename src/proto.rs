//! The generated gRPC types. Only the two edges that speak gRPC use them:
//! `action_handler::grpc` and `gateway_api`.

#![allow(clippy::all, clippy::pedantic, missing_docs)]

tonic::include_proto!("myxi.v1");

/// Both proto files, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
