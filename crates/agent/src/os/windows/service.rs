//! Being a service: what the service manager is told, and what it asks for.
//!
//! The manager calls into this program through C; a panic that crossed that edge would end the process without a
//! word. Here it ends at the edge, after the panic hook has reported it, and the service stops with a failure, which
//! the manager's recovery actions answer.

use crate::os::service::{Body, Ending, HostError, NAME, Stop};
use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::watch;
use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle};
use windows_service::{define_windows_service, service_dispatcher};

/// What runs in this process once the manager calls.
static BODY: Mutex<Option<Body>> = Mutex::new(None);
/// Longest the manager should wait: an agent stops within five seconds.
const STOPS_WITHIN: Duration = Duration::from_secs(8);

/// Said to the manager by a service that panicked; any number but zero starts its recovery actions.
const PANICKED: u32 = 101;

define_windows_service!(entry, main);

/// Runs `body` as the service, until it ends.
pub(crate) fn host(body: Body) -> Result<(), HostError> {
    match BODY.lock() {
        Ok(mut slot) => *slot = Some(body),
        Err(poisoned) => *poisoned.into_inner() = Some(body),
    }
    service_dispatcher::start(NAME, entry).map_err(|error| HostError::Manager(Box::new(error)))
}

fn main(_arguments: Vec<OsString>) {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        if let Err(error) = serve() {
            tracing::error!(%error, "the service manager cannot be spoken to");
        }
    }));
    // `serve` guards its body itself; whatever panics beside it must not reach the manager either.
    drop(outcome);
}

fn serve() -> windows_service::Result<()> {
    let (stop, mut stopped) = watch::channel(false);
    let handle = service_control_handler::register(NAME, move |control| match control {
        ServiceControl::Stop | ServiceControl::Shutdown | ServiceControl::Preshutdown => {
            stop.send_replace(true);
            ServiceControlHandlerResult::NoError
        }
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        _ => ServiceControlHandlerResult::NotImplemented,
    })?;
    tell(handle, ServiceState::Running, ServiceExitCode::NO_ERROR)?;
    let body = match BODY.lock() {
        Ok(mut slot) => slot.take(),
        Err(poisoned) => poisoned.into_inner().take(),
    };
    let asked: Stop = Box::pin(async move {
        // The sender lives in the handler, as long as the process.
        let _ = stopped.wait_for(|stopped| *stopped).await;
        if let Err(error) = tell(handle, ServiceState::StopPending, ServiceExitCode::NO_ERROR) {
            tracing::warn!(%error, "the service manager does not know that the service stops");
        }
    });
    let code = run(body, asked);
    tell(handle, ServiceState::Stopped, code)
}

/// Runs the body; answers what the manager is to know about its end.
fn run(body: Option<Body>, asked: Stop) -> ServiceExitCode {
    let ending = catch_unwind(AssertUnwindSafe(|| body.map_or(Ending::Failed(1), |body| body(asked))));
    match ending {
        // Restarting would not help; what has to be done stands in the log.
        Ok(Ending::Done | Ending::NeedsAPerson) => ServiceExitCode::NO_ERROR,
        Ok(Ending::Failed(code)) => ServiceExitCode::ServiceSpecific(code.max(1)),
        Err(_) => ServiceExitCode::ServiceSpecific(PANICKED),
    }
}

fn tell(
    handle: ServiceStatusHandle,
    state: ServiceState,
    exit_code: ServiceExitCode,
) -> windows_service::Result<()> {
    let is_running = state == ServiceState::Running;
    handle.set_service_status(ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state: state,
        controls_accepted: if is_running {
            ServiceControlAccept::STOP | ServiceControlAccept::SHUTDOWN
        } else {
            ServiceControlAccept::empty()
        },
        exit_code,
        checkpoint: 0,
        wait_hint: if state == ServiceState::StopPending { STOPS_WITHIN } else { Duration::ZERO },
        process_id: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(body: impl FnOnce(Stop) -> Ending + Send + 'static) -> ServiceExitCode {
        run(Some(Box::new(body)), Box::pin(async {}))
    }

    #[test]
    fn a_panic_ends_at_the_edge_and_is_a_failure() {
        let code = end(|_| panic!("a fault of this test's"));
        assert_eq!(code, ServiceExitCode::ServiceSpecific(PANICKED));
    }

    #[test]
    fn only_a_failure_is_answered_by_a_restart() {
        assert_eq!(end(|_| Ending::Done), ServiceExitCode::NO_ERROR);
        assert_eq!(end(|_| Ending::NeedsAPerson), ServiceExitCode::NO_ERROR);
        assert_eq!(end(|_| Ending::Failed(0)), ServiceExitCode::ServiceSpecific(1));
        assert_eq!(run(None, Box::pin(async {})), ServiceExitCode::ServiceSpecific(1));
    }
}
