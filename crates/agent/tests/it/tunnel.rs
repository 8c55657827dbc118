//! Techs' sessions with a machine: real agents, real shells, over real sockets.

mod bench;
mod files;
mod other_channels;
mod terminal;
mod user;
