//! From the wire to a call: one port, three dialects.

pub mod rest;
