//! Techs' sessions with this machine: what the server sends of them, and the channels in them.

pub mod channel;
pub mod lanes;
