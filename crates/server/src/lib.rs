//! GuruRMM's server. ARCHITECTURE.md at the root of the repository says how it is laid out and what must hold.

pub mod admin;
pub mod agent_router;
pub mod agents;
pub mod alerts;
pub mod app;
pub mod audit;
pub mod audit_log;
pub mod auth;
pub mod background;
pub mod bus;
pub mod cli;
pub mod commands;
pub mod config;
pub mod dashboard;
pub mod database;
pub mod db;
pub mod enrollment;
pub mod error;
pub mod gateway;
pub mod http;
pub mod install;
pub mod jobs;
pub mod keys;
pub mod local_agent;
pub mod net;
pub mod observability;
pub mod policies;
pub mod router;
pub mod serve;
pub mod setup;
pub mod sign_in;
pub mod telemetry;
pub mod tenancy;
pub mod users;

pub use app::{App, AppState};
pub use error::{Code, Error};
