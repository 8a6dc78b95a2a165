//! The probe as the specification of ProtoJSON has it.

pub use generated::*;
pub use service::Prober;

#[expect(
    clippy::allow_attributes,
    reason = "which lints hold in generated code depends on the features"
)]
#[allow(
    dead_code,
    deprecated,
    missing_docs,
    clippy::all,
    clippy::excessive_nesting,
    clippy::too_many_lines
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/standard/mod.rs"));

    pub mod json {
        include!(concat!(env!("OUT_DIR"), "/standard/json.rs"));
    }

    pub mod rest {
        include!(concat!(env!("OUT_DIR"), "/standard/rest.rs"));
    }
}

/// The encoded descriptors of these messages.
pub const DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/standard/descriptors.bin"));

#[expect(clippy::duplicate_mod, reason = "one service for two generated forms of its types")]
#[path = "service.rs"]
mod service;
