//! What operators see of the running server: its log, and its figures for Prometheus.

mod counters;
mod exposition;
mod listener;
pub mod logs;
mod requests;

pub use counters::{Counters, Meter};
pub use listener::MetricsListener;
pub use requests::Requests;
