//! The transcoder: route, decode, call, encode, stream. Knows no resource of ours: it could be a crate of its own.

pub mod json;
