//! Techs' sessions with a machine: real agents, real shells, over real sockets.

mod bench;
mod terminal;
mod user;
