//! What the build steps share with the tests: a throwaway PostgreSQL, and where the migrations lie.

pub mod cluster;
pub mod migrations;
