//! Why something about files could not be done, as the tech is told.

use gururmm_protocol::tunnel::{ChannelEnd, ChannelError, ErrorCode};
use std::io::{self, ErrorKind};

/// An error on its way to the tech.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub ChannelError);

/// What most of this module returns.
pub type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    pub(super) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self(ChannelError::new(code, detail))
    }

    pub(super) fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// The same, with what it is about before it: for work on many entries.
    pub(super) fn at(mut self, name: &str) -> Self {
        self.0.detail = format!("{name}: {}", self.0.detail);
        self
    }
}

impl From<ChannelError> for Fault {
    fn from(error: ChannelError) -> Self {
        Self(error)
    }
}

impl From<Fault> for ChannelEnd {
    fn from(fault: Fault) -> Self {
        fault.0.into()
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        let code = code(&error);
        let detail = match code {
            ErrorCode::NotAllowed => LEADS_OUT.to_owned(),
            ErrorCode::NotFound => "There is nothing there.".to_owned(),
            ErrorCode::AlreadyExists => "There is something of that name already.".to_owned(),
            ErrorCode::NotAFolder => "It is not a folder.".to_owned(),
            ErrorCode::IsAFolder => "It is a folder.".to_owned(),
            ErrorCode::NotEmpty => "The folder is not empty.".to_owned(),
            ErrorCode::NoSpace => "The disk is full.".to_owned(),
            _ => format!("The system says: {error}."),
        };
        Self::new(code, detail)
    }
}

/// Why a path is refused under a policy that confines.
pub(super) const LEADS_OUT: &str = "It is not in a folder that the policy allows.";

fn code(error: &io::Error) -> ErrorCode {
    match error.kind() {
        ErrorKind::NotFound => ErrorCode::NotFound,
        // That is how cap-std says that a path led out.
        ErrorKind::PermissionDenied if error.raw_os_error().is_none() => ErrorCode::NotAllowed,
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => ErrorCode::PermissionDenied,
        ErrorKind::AlreadyExists => ErrorCode::AlreadyExists,
        ErrorKind::NotADirectory => ErrorCode::NotAFolder,
        ErrorKind::IsADirectory => ErrorCode::IsAFolder,
        ErrorKind::DirectoryNotEmpty => ErrorCode::NotEmpty,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => ErrorCode::NoSpace,
        ErrorKind::FileTooLarge => ErrorCode::TooLarge,
        ErrorKind::Unsupported => ErrorCode::Unsupported,
        ErrorKind::InvalidInput | ErrorKind::InvalidFilename => ErrorCode::Invalid,
        _ => ErrorCode::Failed,
    }
}
