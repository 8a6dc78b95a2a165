//! What the tests stand on: the app on a free port with a database of its own, its three doors, and
//! what is compared.

pub(crate) mod contract;
pub mod databases;
pub mod doors;
mod raw;
pub mod redact;
pub mod rest;
pub(crate) mod web;
