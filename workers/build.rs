//! Writes the protocol's client and server. The .proto file is compiled in Rust, so that no protoc has to be installed.

use std::error::Error;

const PROTOCOL: &str = "proto/acuity/worker/v1/worker.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={PROTOCOL}");
    let descriptors = protox::compile([PROTOCOL], ["proto"])?;
    // Segments are handed on, not copied.
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
