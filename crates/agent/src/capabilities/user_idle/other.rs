//! Windows and macOS. Their samples name no user yet, so nobody is ever asked here.

use super::Answer;
use crate::aside::Aside;
use crate::os::Unsupported;

#[derive(Debug, Default)]
pub(super) struct Source;

/// There is none to be had.
#[derive(Debug)]
pub(super) enum Screen {}

impl Source {
    pub(super) fn ask(&mut self) -> Option<Aside<Option<Answer>>> {
        let unsupported = Unsupported::here("asking for the user's idle time is not built yet");
        tracing::warn!(%unsupported, "a user's idle time stays unknown");
        None
    }

    pub(super) fn keep(&mut self, screen: Screen) {
        match screen {}
    }
}
