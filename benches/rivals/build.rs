//! Generates what `rest_over_grpc` needs of the contract, the way its own documentation does it:
//! messages by prost, JSON by pbjson, routes by itself.

use prost::Message;
use rest_over_grpc::build::{DescriptorOptions, Generator, ServiceDefinition};
use tonic_prost_build::FileDescriptorSet;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    println!("cargo:rerun-if-changed=../../proto");
    let mut compiler = protox::Compiler::new(["../../proto"])?;
    compiler.include_imports(true).include_source_info(false);
    compiler.open_file("runplane/v1/runs.proto")?;
    let descriptors = compiler.encode_file_descriptor_set();
    let mut files = FileDescriptorSet::decode(descriptors.as_slice())?;
    files.file.retain(|file| !matches!(file.package(), "google.api" | "transcode.v1"));
    tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        .emit_rerun_if_changed(false)
        .btree_map(".")
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "::pbjson_types")
        .compile_fds(files)?;
    // As near to the product's JSON as pbjson comes: only enums are written otherwise.
    pbjson_build::Builder::new()
        .register_descriptors(&descriptors)?
        .btree_map(["."])
        .extern_path(".google.protobuf", "::pbjson_types")
        .preserve_proto_field_names()
        .emit_fields()
        .build(&[".runplane"])?;
    let options = DescriptorOptions::new()
        .package(".runplane")
        .extern_path(".google.protobuf", "::pbjson_types");
    let services = ServiceDefinition::from_fds(&descriptors, &options)?;
    Generator::new()
        .add_all(services)
        .write(std::env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?)?;
    Ok(())
}
