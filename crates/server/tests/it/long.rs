//! What takes minutes, for `./dev test --long` only. `.config/nextest.toml` keeps it out of every other run, and lets
//! nothing run beside it.

mod agent_model;
mod audit;
mod stalled;
mod timing;
