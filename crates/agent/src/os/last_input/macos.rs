//! The agent asks the driver of keyboards and mice, whoever is signed in.

use std::time::Duration;

/// There is nothing to ask here.
#[derive(Debug, Default)]
pub(super) struct Source;

impl Source {
    pub(super) async fn idle(&mut self) -> Option<Duration> {
        None
    }
}
