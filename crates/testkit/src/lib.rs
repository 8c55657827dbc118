//! What tests of the server stand on: a database per test, a whole server in process, people and machines to
//! play against it. Never part of anything that ships.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a failure in here is the failure of the test that uses it"
)]

pub mod agent;
pub mod client;
pub mod database;
mod endpoint;
pub mod logs;
pub mod nats;
pub mod packages;
mod postgres;
pub mod repository;
pub mod server;
pub mod socket;
pub mod tunnel;
pub mod world;

pub use agent::TestAgent;
pub use client::{Answer, ApiClient};
pub use database::TestDatabase;
pub use endpoint::Endpoint;
pub use nats::NatsServer;
pub use repository::{Release, Repository};
pub use server::{SeededAgent, TestServer};
pub use socket::TestSocket;
pub use tunnel::{Page, TunnelMachine};

use std::time::Duration;

/// How long anything may take before a test gives up. Generous: it is only ever waited out by a failure.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Asks again and again until `check` has an answer.
///
/// # Panics
/// When there is none within [`PATIENCE`].
pub async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = check().await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
