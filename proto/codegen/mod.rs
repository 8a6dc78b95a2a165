//! The code generator: protobuf files in, Rust out, without protoc. Called by `build.rs` alone;
//! nothing of it is part of the program. It never reads generated code and never writes outside the
//! folder that it is given.

use std::path::{Path, PathBuf};

use prost::Message;
use prost_reflect::DescriptorPool;
use tonic_prost_build::FileDescriptorSet;

pub mod comments;
pub mod json;
pub mod names;
mod openapi;
pub mod options;
mod rest;

/// Why the generator gave up; names the file, method or rule.
pub type Failure = Box<dyn std::error::Error>;

/// What to compile, and where the result will live.
pub struct Set<'a> {
    /// Folders whose `.proto` files, not those below, are compiled.
    pub folders: &'a [&'a str],
    /// Single files, relative to an include folder.
    pub files: &'a [&'a str],
    /// Folders that imports are relative to.
    pub includes: &'a [&'a str],
    /// Where the Rust files go.
    pub out_dir: PathBuf,
    /// Path of the module that the generated code calls, as the including crate sees it.
    pub runtime: &'a str,
    /// Path of the module that includes the result, as the including crate sees it.
    pub root: &'a str,
    /// How JSON looks.
    pub style: Style,
    /// True refuses a method that names no scope.
    pub scopes_required: bool,
}

/// How the generated JSON differs from the ProtoJSON of the standard.
#[derive(Clone, Copy)]
pub struct Style {
    /// Names on output as in the proto file, instead of camelCase.
    pub proto_names: bool,
    /// Enum values as lower-case words without their type's prefix.
    pub enum_words: bool,
    /// Fields without presence are written at their defaults too.
    pub defaults: bool,
}

impl Style {
    /// What this API speaks.
    pub const HOUSE: Self = Self { proto_names: true, enum_words: true, defaults: true };
}

/// What every generator reads: the set, its descriptors, and its services.
pub struct Model<'a> {
    /// What was asked for.
    pub set: &'a Set<'a>,
    /// Descriptors of the files and all their imports, options included.
    pub pool: DescriptorPool,
    /// Services of the files, in order.
    pub services: Vec<options::Service>,
}

/// Writes all code of one set.
pub fn generate(set: &Set) -> Result<(), Failure> {
    std::fs::create_dir_all(&set.out_dir)?;
    let bytes = compile(set)?;
    write(&set.out_dir.join("descriptors.bin"), &bytes)?;
    messages(set, &bytes)?;
    let pool = DescriptorPool::decode(bytes.as_slice())?;
    let services = options::services(&pool, set)?;
    let model = Model { set, pool, services };
    write(&set.out_dir.join("json.rs"), json::generate(&model)?.as_bytes())?;
    let Some(code) = rest::generate(&model)? else { return Ok(()) };
    write(&set.out_dir.join("rest.rs"), code.as_bytes())?;
    write(&set.out_dir.join("openapi.json"), openapi::generate(&model)?.as_bytes())
}

/// Compiles the files to an encoded descriptor set. It stays encoded: decoding it to `prost_types`
/// drops the options.
fn compile(set: &Set) -> Result<Vec<u8>, Failure> {
    let mut compiler = protox::Compiler::new(set.includes)?;
    compiler.include_imports(true).include_source_info(true);
    for file in sources(set)? {
        compiler.open_file(&file).map_err(|error| format!("{}: {error:?}", file.display()))?;
    }
    Ok(compiler.encode_file_descriptor_set())
}

fn sources(set: &Set) -> Result<Vec<PathBuf>, Failure> {
    let mut sources: Vec<PathBuf> = set.files.iter().map(PathBuf::from).collect();
    for folder in set.folders {
        for entry in std::fs::read_dir(folder).map_err(|error| format!("{folder}: {error}"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "proto") {
                sources.push(path);
            }
        }
    }
    sources.sort();
    Ok(sources)
}

/// Files that only carry options: they become no code.
const OPTIONS: [&str; 5] = [
    "google/api/annotations.proto",
    "google/api/field_behavior.proto",
    "google/api/http.proto",
    "google/protobuf/descriptor.proto",
    "transcode/v1/options.proto",
];

/// Generates messages, clients and servers.
fn messages(set: &Set, bytes: &[u8]) -> Result<(), Failure> {
    let mut files = FileDescriptorSet::decode(bytes)?;
    files.file.retain(|file| !OPTIONS.contains(&file.name()));
    tidy_comments(&mut files);
    tonic_prost_build::configure()
        .out_dir(&set.out_dir)
        .include_file("mod.rs")
        .emit_rerun_if_changed(false)
        .btree_map(".")
        // What is passed on as it is shall not be copied.
        .bytes(".google.api.HttpBody.data")
        .build_transport(false)
        .server_mod_attribute(".", "#[cfg(feature = \"server\")]")
        .compile_fds(files)?;
    Ok(())
}

/// Removes comments that are no good documentation: those of copied files, and the linter's
/// directives.
fn tidy_comments(files: &mut FileDescriptorSet) {
    for file in &mut files.file {
        if file.package().starts_with("google.") {
            file.source_code_info = None;
        }
        for location in file.source_code_info.iter_mut().flat_map(|info| &mut info.location) {
            if let Some(comment) = &mut location.leading_comments {
                let lines =
                    comment.lines().filter(|line| !line.trim_start().starts_with("buf:lint:"));
                *comment = lines.collect::<Vec<_>>().join("\n");
            }
        }
    }
}

/// Writes a file unless it holds the same bytes, so that nothing is compiled again in vain.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if std::fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    Ok(std::fs::write(path, bytes)?)
}
