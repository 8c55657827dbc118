//! The server as a whole, from outside: one binary, with files that mirror what they test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "these are tests"
)]

mod admin;
mod agent_life;
mod agent_logs;
mod agent_model;
mod agent_socket;
mod agents;
mod alerts;
mod approvals;
mod audit;
mod audit_chain;
mod authz_matrix;
mod backup;
mod bootstrap;
mod bus;
mod command_model;
mod commands;
mod connections;
mod copies;
mod dashboard;
mod enroll;
mod errors;
mod follow;
mod hang_ups;
mod harness;
mod health;
mod history;
mod hostile_values;
mod ingest;
mod install;
mod jobs;
mod keys;
mod limits;
mod live;
mod long;
mod metric_gaps;
mod metrics;
mod nodes;
mod observability;
mod openapi;
mod overview;
mod policies;
mod process;
mod recordings;
mod retention;
mod rls_catalogue;
mod rolling;
mod rollouts;
mod serve_failures;
mod session;
mod session_recordings;
mod setup;
mod sites;
mod traces;
mod tunnel;
mod tunnel_life;
mod tunnel_nodes;
mod tunnel_process;
mod tunnel_scripts;
mod tunnel_socket;
mod uninstall;
mod updates;
mod users;
mod watchdog;
