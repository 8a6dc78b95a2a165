//! What the tests stand on. Proves nothing itself.

pub mod fake_models;
