//! A simulated fleet: thousands of agents in one process, on the real protocol and real TLS. For demonstrations,
//! measurements and chaos; never part of a product.
//!
//! Everything a machine is and does follows from a seed and the time, so that a run can be repeated.

pub mod agent;
pub mod behaviour;
pub mod counts;
pub mod demo;
pub mod enroll;
pub mod floor;
pub mod history;
pub mod insert;
pub mod load;
pub mod machine;
pub mod noise;
pub mod plain;
pub mod seed;
pub mod wire;
pub mod world;
