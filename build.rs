//! Compiles the gRPC contract and the log's format without `protoc`, and keeps the descriptors
//! for reflection.

use prost::Message;
use std::{env, fs, path::PathBuf};

const PROTOS: [&str; 3] = [
    "proto/myxi/v1/action_handler.proto",
    "proto/myxi/v1/gateway.proto",
    "proto/myxi/v1/log.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out_dir.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .extern_path(".myxi.v1.PushEventsRequest", "::myxi::proto::PushEventsRequest")
        .compile_fds(descriptors)?;
    Ok(())
}
