//! What `gururmm-agent status` says: the identity, and a small file the running agent keeps up to date.

use crate::follow::Stored;
use crate::identity::{Identity, IdentityError};
use crate::state::{StateDir, StateError, write_atomic_unsynced};
use chrono::{DateTime, SecondsFormat, Utc};
use gururmm_protocol::AgentId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use uuid::Uuid;

const FILE: &str = "status.json";

/// What the running agent tells about itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RuntimeStatus {
    /// Whether the server welcomed the current connection.
    pub connected: bool,
    /// Since when that is so, or not.
    pub since: Option<DateTime<Utc>>,
    /// Why there was no connection, the last time.
    pub last_error: Option<String>,
    /// Version of the server, once it told.
    pub server_version: Option<String>,
    /// Commands whose end the server does not have.
    pub pending_commands: usize,
    /// The run this is about, as the watchdog named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Uuid>,
}

/// Everything `status --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// Version of this program.
    pub agent_version: &'static str,
    /// Newest protocol version it speaks.
    pub protocol_version: String,
    /// Whether this machine is enrolled.
    pub enrolled: bool,
    /// Whether an agent runs on this state folder now.
    pub running: bool,
    /// The server's id for this machine.
    pub agent_id: Option<AgentId>,
    /// Its server.
    pub server_url: Option<String>,
    /// Its site.
    pub site_code: Option<String>,
    /// What the running agent says; of an agent that stopped, only its last error.
    #[serde(flatten)]
    pub runtime: RuntimeStatus,
}

impl RuntimeStatus {
    /// Whether the run the watchdog named so is connected.
    pub fn is_connected(state: &StateDir, run: Uuid) -> bool {
        let read =
            fs::read(state.file(FILE)).ok().and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        read.is_some_and(|status| status.connected && status.run == Some(run))
    }

    /// Leaves it for `status` to read.
    pub fn write(&self, state: &StateDir) {
        let written = serde_json::to_vec(self)
            .map_err(std::io::Error::from)
            .and_then(|bytes| write_atomic_unsynced(&state.file(FILE), &bytes));
        if let Err(error) = written {
            tracing::warn!(%error, "the status file cannot be written");
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let yes_no = |yes| if yes { "yes" } else { "no" };
        let runtime = &self.runtime;
        writeln!(f, "version    {} (protocol {})", self.agent_version, self.protocol_version)?;
        match (&self.agent_id, &self.server_url) {
            (Some(id), Some(server)) => writeln!(f, "enrolled   as {id} with {server}")?,
            _ => writeln!(f, "enrolled   no")?,
        }
        writeln!(f, "running    {}", yes_no(self.running))?;
        write!(f, "connected  {}", yes_no(runtime.connected))?;
        if let Some(since) = runtime.since {
            write!(f, " since {}", since.to_rfc3339_opts(SecondsFormat::Secs, true))?;
        }
        write!(f, "\npending    {} commands", runtime.pending_commands)?;
        runtime.last_error.as_ref().map_or(Ok(()), |error| write!(f, "\nerror      {error}"))
    }
}

/// Reads the status from outside the running agent.
pub fn read(path: &std::path::Path) -> Result<Status, StateError> {
    let mut status = Status {
        agent_version: crate::version(),
        protocol_version: gururmm_protocol::SUPPORTED.last().map(ToString::to_string).unwrap_or_default(),
        enrolled: false,
        running: false,
        agent_id: None,
        server_url: None,
        site_code: None,
        runtime: RuntimeStatus::default(),
    };
    let state = match StateDir::open(path) {
        Ok(state) => state,
        Err(StateError::Missing(_)) => return Ok(status),
        Err(error) => return Err(error),
    };
    match Identity::load(&state) {
        Ok(identity) => {
            status.enrolled = true;
            status.agent_id = Some(identity.agent_id);
            let place = Stored::load(&state).place.map(|place| place.server_url);
            status.server_url = Some(place.unwrap_or(identity.server_url));
            status.site_code = Some(identity.site_code);
        }
        Err(IdentityError::State(error)) => return Err(error),
        Err(error) => status.runtime.last_error = Some(error.to_string()),
    }
    status.running = state.lock()?.is_none();
    if let Ok(bytes) = fs::read(state.file(FILE))
        && let Ok(runtime) = serde_json::from_slice::<RuntimeStatus>(&bytes)
    {
        status.runtime = runtime;
        // A killed agent cannot say that it is gone.
        status.runtime.connected &= status.running;
    }
    Ok(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_was_killed_is_not_connected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        assert!(!read(&path).unwrap().enrolled);
        let state = StateDir::create(&path).unwrap();
        RuntimeStatus { connected: true, ..RuntimeStatus::default() }.write(&state);
        let lock = state.lock().unwrap();
        assert!(read(&path).unwrap().runtime.connected);
        drop(lock);
        let status = read(&path).unwrap();
        assert!(!status.running && !status.runtime.connected);
    }
}
