//! Compiles the .proto files without a system protoc.

use std::{env, error::Error, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    let files = [
        "proto/starling/v1/starling.proto",
        "proto/starling/v1/agent.proto",
        "proto/starling/raft/v1/raft.proto",
        "proto/starling/gossip/v1/gossip.proto",
        "proto/starling/enrol/v1/enrol.proto",
    ];
    let log = [
        "proto/starling/log/v1/record.proto",
        "proto/starling/log/v1/state.proto",
        "proto/starling/log/v1/command.proto",
        "proto/starling/log/v1/policy.proto",
        "proto/starling/log/v1/history.proto",
        "proto/starling/log/v1/report.proto",
    ];
    tonic_prost_build::configure().compile_fds(protox::compile(log, ["proto"])?)?;
    let descriptors = protox::compile(files, ["proto"])?;
    // For the reflection service.
    let path = PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin");
    std::fs::write(path, descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    let ask = protox::compile(["proto/starling/ask/v1/ask.proto"], ["proto"])?;
    tonic_prost_build::configure().compile_fds(ask)?;
    // Others', so our own servers don't show them by reflection.
    let foreign = [
        "proto/podresources/v1/podresources.proto",
        "proto/externalscaler/externalscaler.proto",
    ];
    tonic_prost_build::configure().compile_fds(protox::compile(foreign, ["proto"])?)?;
    println!("cargo::rerun-if-changed=proto");
    Ok(())
}
