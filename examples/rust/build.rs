//! Makes the stubs from the contract, without `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../../proto");
    let files = ["myxi/v1/action_handler.proto", "myxi/v1/gateway.proto"];
    let descriptors = protox::compile(files, ["../../proto"])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
