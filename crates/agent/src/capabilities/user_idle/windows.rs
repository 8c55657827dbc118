//! The session manager itself tells a remote session's idle time. What is typed at the console only a program inside that
//! session can see, which a service is not.

use super::Answer;
use crate::aside::Aside;
use crate::os::Unsupported;

#[derive(Debug, Default)]
pub(super) struct Source {
    is_said: bool,
}

/// There is none to be had.
#[derive(Debug)]
pub(super) enum Screen {}

impl Source {
    pub(super) fn ask(&mut self) -> Option<Aside<Option<Answer>>> {
        if !self.is_said {
            self.is_said = true;
            let reason = "only a program in the user's own session can see the last input";
            tracing::warn!(unsupported = %Unsupported::here(reason), "a user's idle time stays unknown");
        }
        None
    }

    pub(super) fn keep(&mut self, screen: Screen) {
        match screen {}
    }
}
