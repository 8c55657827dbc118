//! Finding detached descendants is not built for this platform yet, and that is said.

use super::{ProcessTree, Severity};
use crate::os::Unsupported;
use std::io;

fn unsupported() -> io::Error {
    let reason = "ending a whole process tree is not built yet";
    io::Error::new(io::ErrorKind::Unsupported, Unsupported::here(reason))
}

pub(super) fn signal(_tree: &ProcessTree, _severity: Severity) -> io::Result<usize> {
    Err(unsupported())
}

pub(super) fn count(_tree: &ProcessTree) -> io::Result<usize> {
    Err(unsupported())
}
