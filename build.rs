//! Runs the code generator of `proto/codegen`: for the contract, and for what the tests talk to.
//! Takes the viewer of `/docs` out of the crate that carries it.

use std::path::PathBuf;

#[expect(unreachable_pub, reason = "the generator is written as a library")]
#[path = "proto/codegen/mod.rs"]
mod codegen;
#[expect(unreachable_pub, reason = "as above")]
#[path = "services/gateway/openapi/viewer.rs"]
mod viewer;

use codegen::{Failure, Set, Style};

/// Google's suite: how it asks, and the messages that it asks about.
const CONFORMANCE: &[&str] = &[
    "conformance/conformance.proto",
    "google/protobuf/test_messages_proto2.proto",
    "google/protobuf/test_messages_proto3.proto",
];

fn main() {
    let viewer = "services/gateway/openapi/viewer.rs";
    for folder in ["proto", "tests/probe", "tests/conformance/include", viewer] {
        println!("cargo:rerun-if-changed={folder}");
    }
    if let Err(failure) = run() {
        println!("cargo::error={failure}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Failure> {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?);
    viewer::unpack(utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED, &out.join("viewer"))?;
    codegen::generate(&Set {
        folders: &["proto/runplane/v1"],
        files: &["google/rpc/status.proto", "google/rpc/error_details.proto"],
        includes: &["proto"],
        out_dir: out.join("contract"),
        runtime: "crate::gateway::rest",
        root: "crate::proto",
        style: Style::HOUSE,
        scopes_required: true,
    })?;
    let standard = Style { proto_names: false, enum_words: false, defaults: false };
    let probe = &["tests/probe"][..];
    for (name, root, folders, files, style) in [
        ("probe", "crate::probe::house", probe, &[][..], Style::HOUSE),
        ("standard", "crate::probe::standard", probe, &[], standard),
        ("conformance", "crate::conformance", &[], CONFORMANCE, standard),
    ] {
        codegen::generate(&Set {
            folders,
            files,
            includes: &["tests", "proto", "tests/conformance/include"],
            out_dir: out.join(name),
            runtime: "::runplane::gateway::rest",
            root,
            style,
            scopes_required: false,
        })?;
    }
    Ok(())
}
