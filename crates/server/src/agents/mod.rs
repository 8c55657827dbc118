//! Agents: the machines under management.

mod admission;
mod credential;
mod store;

pub use admission::{
    Admission, Admitted, Conflict, Entrance, Newcomer, PendingReason, admit, report_conflict,
};
pub use credential::{AgentIdentity, authenticate};
