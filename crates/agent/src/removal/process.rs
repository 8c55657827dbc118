//! The process that removes the agent. It was started by an agent that noted the order; whoever else starts it finds no
//! order and ends.

use super::{Failure, LOCK, Note, Stage};
use crate::clock::ServerClock;
use crate::http::{self, Credential};
use crate::identity::{Identity, IdentityError};
use crate::install::{InstallError, Layout};
use crate::state::{RunLock, StateDir, StateError};
use crate::supervisor::{self, StartError};
use crate::transport::Connector;
use gururmm_protocol::UninstallId;
use gururmm_protocol::uninstall::{REPORT_PATH, UninstallReport, UninstallState};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The agent itself looks at the lock now and then.
const LOCKED_WITHIN: Duration = Duration::from_secs(3);
/// How long agent and watchdog may take to end once they are asked to.
const STOPPED_WITHIN: Duration = Duration::from_secs(30);
/// How often it is looked whether something happened.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Pauses between attempts to tell the server: a minute and a half in all. Nothing keeps what is to be told.
const TELL_AGAIN_AFTER: [u64; 6] = [1, 3, 6, 15, 25, 40];

/// Why nothing was removed, or not all.
#[derive(Debug, thiserror::Error)]
pub enum RemovalError {
    /// Nobody ordered it.
    #[error("no server has ordered this agent's removal")]
    NotOrdered,
    /// Another process does it.
    #[error("the removal is under way already")]
    UnderWay,
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// The identity, which is needed to say what came of it.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The way to the server.
    #[error(transparent)]
    Connect(#[from] StartError),
}

impl InstallError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotElevated => "NOT_ELEVATED",
            Self::Io { .. } => "FILES",
            Self::NoServiceManager | Self::ServiceManager { .. } => "SERVICE_MANAGER",
            Self::PackageManager { .. } => "PACKAGE_MANAGER",
            Self::StillRunning => "STILL_RUNNING",
            Self::Unsupported(_) => "UNSUPPORTED",
        }
    }
}

/// Removes the agent whose state folder orders it, and tells the server. Ends well also where the removal failed, when
/// that is noted or told.
pub async fn carry_out(layout: &Layout) -> Result<(), RemovalError> {
    let state = StateDir::open(&layout.state_dir())?;
    let lock = locked(&state, LOCK, LOCKED_WITHIN).await?.ok_or(RemovalError::UnderWay)?;
    let note = Note::load(&state).filter(|note| matches!(note.stage, Stage::Begun { .. }));
    let note = note.ok_or(RemovalError::NotOrdered)?;
    // Everything that telling takes, before it is gone.
    let identity = Identity::load(&state)?;
    let clock = Arc::new(ServerClock::load(&state));
    let connector = supervisor::connector(&state, &identity, Arc::clone(&clock))?;
    let credential = Credential { agent_id: identity.agent_id, key: identity.agent_key };
    let tell = Tell { connector, credential, clock, uninstall_id: note.uninstall_id };
    tracing::info!(uninstall_id = %note.uninstall_id, "the agent is removed from this machine");
    match remove(layout, &state, lock).await {
        Ok(()) => {
            tracing::info!("nothing of the agent is left");
            tell.server(UninstallState::Uninstalled, None).await;
        }
        Err(error) => {
            let failure = Failure::of(error.code(), &error);
            tracing::error!(code = failure.code, error = failure.message, "the agent is not removed");
            let failed = Note { stage: Stage::Failed(failure.clone()), at: tell.clock.now(), ..note };
            if let Err(error) = failed.save(&state) {
                tracing::warn!(%error, "that the removal failed cannot be noted");
            }
            // What is still whole works on.
            layout.revive();
            tell.server(UninstallState::Failed, Some(failure)).await;
        }
    }
    layout.leave_removal();
    Ok(())
}

async fn remove(layout: &Layout, state: &StateDir, lock: RunLock) -> Result<(), InstallError> {
    // First, since it may refuse: then nothing has happened.
    layout.remove_package().await?;
    layout.stop_service()?;
    for name in ["watchdog.lock", "lock"] {
        if !state.path().exists() {
            break;
        }
        let held = locked(state, name, STOPPED_WITHIN).await;
        drop(held.ok().flatten().ok_or(InstallError::StillRunning)?);
    }
    // An open file is in the way of its folder's removal on Windows. Nobody is left who would begin anew.
    drop(lock);
    layout.uninstall()
}

async fn locked(state: &StateDir, name: &str, within: Duration) -> Result<Option<RunLock>, StateError> {
    let until = Instant::now() + within;
    loop {
        match state.lock_named(name)? {
            None if Instant::now() < until => sleep(LOOK_EVERY).await,
            lock => return Ok(lock),
        }
    }
}

/// Tells the server with the key the agent had.
struct Tell {
    connector: Connector,
    credential: Credential,
    clock: Arc<ServerClock>,
    uninstall_id: UninstallId,
}

impl Tell {
    async fn server(&self, state: UninstallState, failure: Option<Failure>) {
        let (error_code, error) = failure.map(|failure| (failure.code, failure.message)).unzip();
        let uninstall_id = self.uninstall_id;
        let mut report = UninstallReport { uninstall_id, state, error_code, error, at: self.clock.now() };
        report.clean();
        for pause in TELL_AGAIN_AFTER {
            let told: Result<serde_json::Value, _> =
                http::post_as(&self.connector, REPORT_PATH, &self.credential, &report).await;
            match told {
                Ok(_) => return,
                Err(http::CallError::Refused { status, code, .. })
                    if (400..500).contains(&status) && status != 429 =>
                {
                    tracing::warn!(status, code, "the server does not want to hear of the removal");
                    return;
                }
                Err(error) => tracing::warn!(%error, "the server cannot be told of the removal yet"),
            }
            sleep(Duration::from_secs(pause)).await;
        }
    }
}
