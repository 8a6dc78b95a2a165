//! The probe as this API speaks.

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
    include!(concat!(env!("OUT_DIR"), "/probe/mod.rs"));

    pub mod json {
        include!(concat!(env!("OUT_DIR"), "/probe/json.rs"));
    }

    pub mod rest {
        include!(concat!(env!("OUT_DIR"), "/probe/rest.rs"));
    }
}

#[path = "service.rs"]
mod service;
