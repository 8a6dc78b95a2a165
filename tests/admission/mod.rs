//! What is taken in and what is kept has bounds: runs that wait, the bytes of one run, what a store
//! under load takes, and how long runs are kept.

mod bytes;
mod deleted;
mod load;
mod queue;
mod retention;
