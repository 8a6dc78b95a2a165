//! What the tests stand on: databases, the app on a free port, its three doors, fake providers, and
//! what is compared. Proves nothing itself.

pub mod app;
pub mod browser;
pub mod collector;
pub mod contract;
pub mod databases;
pub mod doors;
pub mod fake_models;
pub mod process;
pub mod raw;
pub mod redact;
pub mod redis;
pub mod rest;
pub mod story;
pub mod tools;
pub mod web;
