//! Two versions of the program on one database: which of them may go on.

/// The change.
pub(super) const STATEMENTS: &[&str] = &[
    // One row: the newest change that a program must know to work with this schema. A change that
    // takes something away, which older programs use, writes its own name here.
    "CREATE TABLE schema_needs (change TEXT NOT NULL)",
    "INSERT INTO schema_needs (change) VALUES ('m0008_upgrades')",
];
