//! Queue and journal against a model of them: workers that claim, commit, lose answers, die and
//! come back, callers that feed and cancel, and time that passes, in any order; after each step the
//! store says exactly what the model does. And each guard of the store is missed when it is gone.

mod guards;
mod history;
mod reference;
mod steps;
mod system;
