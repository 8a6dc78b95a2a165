//! Runplane: the open, self-hosted platform API for AI agents. This file is the table of contents; ARCHITECTURE.md is the map.

pub mod proto;

#[cfg(feature = "server")]
pub mod cache;
#[cfg(feature = "server")]
pub mod engine;
#[cfg(feature = "server")]
pub mod gateway;
#[cfg(feature = "server")]
pub mod kernel;
#[cfg(feature = "server")]
pub mod store;
