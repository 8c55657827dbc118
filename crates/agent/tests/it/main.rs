//! The agent against a server of the test's own, over real sockets, with real processes.
#![cfg(target_os = "linux")]

mod commands;
mod harness;
mod lifecycle;
