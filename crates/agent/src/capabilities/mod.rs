//! What the agent can do on a machine. Each part has a file per system where the systems differ.

pub mod channels;
pub mod commands;
pub mod events;
pub mod files;
pub mod forward;
pub mod machine_uid;
pub mod metrics;
pub mod network;
pub mod processes;
pub mod public_ip;
pub mod registry;
pub mod sensors;
pub mod services;
pub mod system_info;
pub mod terminal;
pub mod tool;
pub mod user_idle;
pub mod virtualization;
