//! Runs the code generator of `proto/codegen`: once for the contract, twice for the probe that the
//! tests talk to.

use std::path::PathBuf;

#[expect(unreachable_pub, reason = "the generator is written as a library")]
#[path = "proto/codegen/mod.rs"]
mod codegen;

use codegen::{Failure, Set, Style};

fn main() {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=tests/probe");
    if let Err(failure) = run() {
        println!("cargo::error={failure}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Failure> {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?);
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
    for (name, root, style) in [
        ("probe", "crate::probe::house", Style::HOUSE),
        ("standard", "crate::probe::standard", standard),
    ] {
        codegen::generate(&Set {
            folders: &["tests/probe"],
            files: &[],
            includes: &["tests", "proto"],
            out_dir: out.join(name),
            runtime: "::runplane::gateway::rest",
            root,
            style,
            scopes_required: false,
        })?;
    }
    Ok(())
}
