//! Test fixtures: servers, agents and databases for tests.
