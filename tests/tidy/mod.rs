//! The house rules as tests: a rule that nobody runs is no rule. Each names what it found as
//! `path:line`, and each proves on a bad example that it can fail. What clippy can check
//! (functions, parameters, nesting) clippy checks.

mod code;
mod imports;
mod papers;
mod source;
mod supply;
