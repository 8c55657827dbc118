//! The session manager itself tells a remote session's idle time. What is typed at the console only a program inside that
//! session can see, which a service is not: the user's helper is.

use super::Answer;
use crate::aside::Aside;

#[derive(Debug, Default)]
pub(super) struct Source;

/// There is none to be had.
#[derive(Debug)]
pub(super) enum Screen {}

impl Source {
    pub(super) fn ask(&mut self) -> Option<Aside<Option<Answer>>> {
        None
    }

    pub(super) fn keep(&mut self, screen: Screen) {
        match screen {}
    }
}
