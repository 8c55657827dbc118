//! Running under a service manager that talks to its services: Windows'. systemd and launchd speak in signals.

use crate::os::Unsupported;
use std::pin::Pin;

/// The service's name, for the manager.
pub const NAME: &str = "GuruRMM";

/// Resolves when the service is asked to stop.
pub type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;
/// What a service does until it is asked to stop.
pub type Body = Box<dyn FnOnce(Stop) -> Ending + Send>;

/// How a service's body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As it was asked to.
    Done,
    /// Nothing but a person can help; it is not started again by itself.
    NeedsAPerson,
    /// Badly, with this code; the manager starts it again.
    Failed(u32),
}

/// Why there is no service.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// This system's services are ordinary programs.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The service manager did not start this program.
    #[error("only the service manager can start this")]
    Manager(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Runs `body` as the service, until it ends. To be called by a process that the service manager started.
pub fn host(body: Body) -> Result<(), HostError> {
    #[cfg(windows)]
    return super::windows::service::host(body);
    #[cfg(not(windows))]
    {
        drop(body);
        Err(Unsupported::here("a service is an ordinary program here: use `run`").into())
    }
}
