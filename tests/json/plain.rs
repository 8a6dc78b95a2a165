//! The messages of `tests/probe/json.proto`, generated without the options of the house.

pub(super) use generated::*;

#[expect(
    clippy::allow_attributes,
    reason = "which lints hold in generated code depends on the generators"
)]
#[allow(missing_docs, unreachable_pub, dead_code, clippy::all, clippy::too_many_lines)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/plain/mod.rs"));

    pub mod json {
        include!(concat!(env!("OUT_DIR"), "/plain/json.rs"));
    }
}

/// The encoded descriptors of these messages.
pub(super) const DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/plain/descriptors.bin"));
