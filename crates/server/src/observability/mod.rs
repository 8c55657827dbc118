//! What operators see of the running server: its log, its figures for Prometheus, and its traces.

mod counters;
mod exposition;
mod listener;
pub mod logs;
mod requests;
pub mod traces;

pub use counters::{Counters, Meter};
pub use listener::MetricsListener;
pub use requests::Requests;
pub use traces::{SpanCounts, TraceOptions, Traces};
