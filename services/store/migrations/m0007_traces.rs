//! Traces: whoever creates a run is known to those who drive it.

/// The change.
pub(super) const STATEMENTS: &[&str] = &[
    // The span of the call that created the run, as W3C writes it; none: nothing was traced.
    "ALTER TABLE runs ADD COLUMN traceparent TEXT",
];
