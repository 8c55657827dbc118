//! What operators see of the running server.

mod counters;

pub use counters::{Counters, Meter};
