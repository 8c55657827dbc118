//! GuruRMM's agent: one machine's side of the protocol. The program is in `main.rs`; this library is for its tests.

pub mod aside;
pub mod capabilities;
pub mod clock;
pub mod crash;
pub mod enroll;
pub mod follow;
pub mod http;
pub mod identity;
pub mod install;
pub mod journal;
pub mod logging;
pub mod os;
pub mod outbox;
pub mod removal;
pub mod session;
pub mod state;
pub mod status;
pub mod supervisor;
pub mod transport;
pub mod tunnel;
pub mod update;
pub mod user_activity;
pub mod user_helper;
mod version;
pub mod watchdog;

pub use version::{MARK, ROOM, version};
