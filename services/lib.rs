//! Runplane: the open, self-hosted platform API for AI agents. This file is the table of contents;
//! ARCHITECTURE.md is the map.

pub mod proto;

#[cfg(feature = "server")]
pub mod agents;
#[cfg(feature = "server")]
pub mod cache;
#[cfg(feature = "server")]
pub mod commands;
#[cfg(feature = "server")]
pub mod demo;
#[cfg(feature = "server")]
pub mod engine;
#[cfg(feature = "server")]
pub mod gateway;
#[cfg(feature = "server")]
pub mod kernel;
#[cfg(feature = "server")]
pub mod keys;
#[cfg(feature = "server")]
pub mod messages;
#[cfg(feature = "server")]
pub mod organisations;
#[cfg(feature = "server")]
pub mod projects;
#[cfg(feature = "server")]
pub mod runs;
#[cfg(feature = "server")]
pub mod runtime;
#[cfg(feature = "server")]
pub mod serve;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "server")]
pub mod upkeep;
