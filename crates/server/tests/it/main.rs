//! The server as a whole, from outside: one binary, with files that mirror what they test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "these are tests"
)]

mod admin;
mod agent_socket;
mod audit;
mod commands;
mod dashboard;
mod harness;
mod metrics;
mod openapi;
mod rls_catalogue;
mod session;
mod setup;
mod sites;
mod users;
