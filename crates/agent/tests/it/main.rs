//! The agent against a server of the test's own, over real sockets, with real processes.
#![cfg(target_os = "linux")]

mod binary;
mod commands;
mod harness;
mod hostile;
mod lifecycle;
mod tls;
