//! Who this machine is to its server: its id and its key, kept in the state folder.

use crate::os;
use crate::state::{StateDir, StateError, write_atomic};
use chrono::{DateTime, Utc};
use gururmm_protocol::AgentId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::io;
use zeroize::{Zeroize, Zeroizing};

const FILE: &str = "identity.json";
/// The server's own CA as it was pinned at enrollment, DER.
pub const CA_FILE: &str = "ca.der";

/// A secret that is wiped when dropped and never shown.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret over.
    pub fn new(secret: String) -> Self {
        Self(secret)
    }

    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// What enrollment gave this machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Identity {
    /// The server's id for this machine.
    pub agent_id: AgentId,
    /// The machine's own key, `cak_…`.
    pub agent_key: Secret,
    /// `https://host[:port]`.
    pub server_url: String,
    /// The site it enrolled into.
    pub site_code: String,
    /// When, by the server's clock.
    pub enrolled_at: DateTime<Utc>,
    /// Whether only the server's own CA is trusted (it stands in [`CA_FILE`]).
    pub ca_pinned: bool,
}

/// Why the identity cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The folder holds none.
    #[error("this machine is not enrolled")]
    NotEnrolled,
    /// The file is not what the agent wrote.
    #[error("{FILE} is damaged: enroll this machine again")]
    Damaged(#[source] serde_json::Error),
    /// The file was written on another machine, or this one's system was installed anew.
    #[error("the key in {FILE} cannot be read on this machine: enroll it again")]
    NotOfThisMachine(#[source] io::Error),
    /// The folder or a file in it cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Identity {
    /// Reads the identity; refuses a file of another account.
    pub fn load(state: &StateDir) -> Result<Self, IdentityError> {
        let path = state.file(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(IdentityError::NotEnrolled),
            Err(source) => return Err(StateError::Io { path, source }.into()),
        };
        os::check_private(&path)?;
        let mut identity: Self = serde_json::from_slice(&bytes).map_err(IdentityError::Damaged)?;
        let key = os::reveal_secret(identity.agent_key.expose(), &identity.purpose())
            .map_err(IdentityError::NotOfThisMachine)?;
        identity.agent_key = Secret::new(key.as_str().to_owned());
        Ok(identity)
    }

    /// Writes the identity in one step. Its key is protected as the system can.
    pub fn save(&self, state: &StateDir) -> Result<(), StateError> {
        let path = state.file(FILE);
        let written = os::protect_secret(self.agent_key.expose(), &self.purpose()).and_then(|key| {
            let protected = Self { agent_key: Secret::new(key), ..self.clone() };
            let bytes =
                serde_json::to_vec_pretty(&protected).map(Zeroizing::new).map_err(io::Error::other)?;
            write_atomic(&path, &bytes)
        });
        written.map_err(|source| StateError::Io { path, source })
    }

    /// What the key is protected for: one agent's is not taken for another's.
    fn purpose(&self) -> String {
        format!("key of agent {}", self.agent_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            agent_id: AgentId::new(),
            agent_key: Secret::new("cak_example".into()),
            server_url: "https://rmm.example.com".into(),
            site_code: "ACME-1".into(),
            enrolled_at: Utc::now(),
            ca_pinned: false,
        }
    }

    #[test]
    fn the_second_start_reads_what_the_first_one_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(&dir.path().join("s")).unwrap();
        assert!(matches!(Identity::load(&state), Err(IdentityError::NotEnrolled)));
        let written = identity();
        written.save(&state).unwrap();
        let read = Identity::load(&StateDir::open(state.path()).unwrap()).unwrap();
        assert_eq!(read.agent_id, written.agent_id);
        assert_eq!(read.agent_key.expose(), "cak_example");
    }

    #[test]
    fn the_key_is_never_shown_by_debug() {
        assert!(!format!("{:?}", identity()).contains("cak_"));
    }

    #[test]
    fn a_damaged_file_is_said_and_its_text_is_not_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(&dir.path().join("s")).unwrap();
        fs::write(state.file(FILE), b"{\"agent_key\":\"cak_example\"").unwrap();
        let error = Identity::load(&state).unwrap_err();
        assert!(matches!(error, IdentityError::Damaged(_)));
        assert!(!format!("{error:?}").contains("cak_"));
    }
}
