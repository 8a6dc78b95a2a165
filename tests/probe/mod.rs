//! The probe: a service that answers with what it was asked, generated from `probe.proto` as the
//! contract is from its own files: once in the style of the house, once as ProtoJSON has it. The
//! tests of the transcoder and of the codec talk to it; nothing here knows the product.

#![expect(clippy::unwrap_used, unreachable_pub, reason = "tests")]

pub mod house;
pub mod standard;

pub use house::*;
