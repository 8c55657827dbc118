//! Making this machine known to a server.

use crate::capabilities::{machine_uid, network, system_info};
use crate::clock::ServerClock;
use crate::follow::Stored;
use crate::http::{CallError, InvalidServerUrl, ServerUrl, post};
use crate::identity::{CA_FILE, Identity, IdentityError, Secret};
use crate::journal::JOURNAL_DIR;
use crate::outbox::store::OUTBOX_DIR;
use crate::state::{StateDir, StateError, remove_all, write_atomic};
use crate::transport::{CaPin, Connector, InvalidPin, TlsSetupError};
use crate::version;
use gururmm_protocol::bootstrap::{EnrollRequest, EnrollResponse, EnrollStatus};
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use zeroize::Zeroizing;

/// Longest enrollment key, in bytes.
const MAX_KEY_BYTES: u64 = 4096;

/// What the installer says.
#[derive(Debug, Clone)]
pub struct EnrollOptions {
    /// `https://host[:port]`.
    pub server: String,
    /// The site's code.
    pub site: String,
    /// The enrollment key.
    pub key: Key,
    /// `sha256:HEX` of the server's own CA.
    pub ca_fingerprint: Option<String>,
    /// Enroll anew although this machine is enrolled.
    pub replace: bool,
}

/// Where the enrollment key is.
#[derive(Clone)]
pub enum Key {
    /// In a file; `-` is standard input.
    File(PathBuf),
    /// Here.
    Given(Zeroizing<String>),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Given(_) => f.write_str("Given"),
        }
    }
}

/// How enrolling went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enrolled {
    /// It was enrolled with this server before; nothing was done.
    Already(Identifier),
    /// It may work at once.
    Active(Identifier),
    /// Someone has to approve it first.
    Pending(Identifier),
}

/// The server's id for the machine.
pub type Identifier = gururmm_protocol::AgentId;

/// Why enrolling failed.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The server's address.
    #[error(transparent)]
    Url(#[from] InvalidServerUrl),
    /// The fingerprint.
    #[error(transparent)]
    Pin(#[from] InvalidPin),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsSetupError),
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// The identity in it.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The machine's own id.
    #[error(transparent)]
    MachineUid(#[from] machine_uid::NoMachineUid),
    /// The key file.
    #[error("the enrollment key cannot be read from {}", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The machine belongs to another server.
    #[error("this machine is enrolled with {0}; give --replace to enroll it anew")]
    OtherServer(String),
    /// The server.
    #[error("the server did not enroll this machine")]
    Call(#[from] CallError),
    /// Without fingerprint, a server with its own CA.
    #[error("the server proved no CA although a fingerprint was given")]
    NothingPinned,
}

/// Enrolls this machine and keeps the identity in `state_dir`.
pub async fn enroll(state_dir: &Path, options: &EnrollOptions) -> Result<Enrolled, EnrollError> {
    let server: ServerUrl = options.server.parse()?;
    let state = StateDir::create(state_dir)?;
    let mut previous = None;
    match Identity::load(&state) {
        Ok(identity) if options.replace => previous = Some(identity.agent_id),
        Ok(identity) if is_known(&state, &identity, &server) => {
            return Ok(Enrolled::Already(identity.agent_id));
        }
        Ok(identity) => return Err(EnrollError::OtherServer(identity.server_url)),
        Err(IdentityError::NotEnrolled | IdentityError::Damaged(_) | IdentityError::NotOfThisMachine(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let key = match &options.key {
        Key::File(path) => read_key(path)?,
        Key::Given(key) => key.clone(),
    };
    let pin = options.ca_fingerprint.as_deref().map(CaPin::fingerprint).transpose()?;
    let (pin, captured) = pin.unzip();
    // What another server told is nothing to this one.
    let clock = Arc::new(ServerClock::default());
    let connector = Connector::new(server.clone(), pin, Arc::clone(&clock))?;
    let request = request(&state, &options.site, &key)?;
    let response: EnrollResponse = post(&connector, "/api/enroll", &request).await?;
    let now = Instant::now();
    clock.set(now, response.server_time);
    let ca_pinned = server.is_tls() && captured.is_some();
    if ca_pinned {
        let ca = captured.and_then(|captured| captured.take()).ok_or(EnrollError::NothingPinned)?;
        let path = state.file(CA_FILE);
        write_atomic(&path, &ca).map_err(|source| StateError::Io { path, source })?;
    }
    if previous.is_some_and(|previous| previous != response.agent_id) {
        // Another machine's commands and samples, as far as this server knows.
        for folder in [JOURNAL_DIR, OUTBOX_DIR] {
            let path = state.file(folder);
            remove_all(&path).map_err(|source| StateError::Io { path, source })?;
        }
    }
    let identity = Identity {
        agent_id: response.agent_id,
        agent_key: Secret::new(response.agent_key),
        server_url: server.to_string(),
        site_code: options.site.clone(),
        enrolled_at: response.server_time,
        ca_pinned,
    };
    Stored::remove(&state)?;
    clock.replace(&state, now);
    identity.save(&state)?;
    Ok(match response.status {
        EnrollStatus::Active => Enrolled::Active(identity.agent_id),
        EnrollStatus::Pending => Enrolled::Pending(identity.agent_id),
    })
}

/// Whether this is the server's address, or was when the machine was enrolled: what is run again by some script is no
/// reason to enroll anew.
fn is_known(state: &StateDir, identity: &Identity, server: &ServerUrl) -> bool {
    let place = Stored::load(state).place.map(|place| place.server_url);
    [Some(identity.server_url.clone()), place].contains(&Some(server.to_string()))
}

fn request(state: &StateDir, site: &str, key: &str) -> Result<EnrollRequest, EnrollError> {
    let identity = machine_uid::read(state)?;
    if identity.machine_uid_source == gururmm_protocol::system::UidSource::OsId {
        tracing::warn!("the hardware's ids cannot be read; a fresh installation would be a new machine");
    }
    let system = system_info::read();
    let mac_addresses = network::read().map(|state| network::mac_addresses(&state)).unwrap_or_default();
    Ok(EnrollRequest {
        site_code: site.to_owned(),
        enrollment_key: key.to_owned(),
        hostname: system.hostname,
        os_type: system.os_type,
        os_version: system.os_version,
        arch: system.arch,
        agent_version: version().to_owned(),
        identity,
        mac_addresses,
    })
}

fn read_key(path: &Path) -> Result<Zeroizing<String>, EnrollError> {
    let mut text = Zeroizing::new(String::new());
    let read = if path == Path::new("-") {
        io::stdin().lock().take(MAX_KEY_BYTES).read_to_string(&mut text)
    } else {
        fs::File::open(path).and_then(|file| file.take(MAX_KEY_BYTES).read_to_string(&mut text))
    };
    let read = read.and_then(|_| match text.trim() {
        "" => Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty")),
        key => Ok(Zeroizing::new(key.to_owned())),
    });
    read.map_err(|source| EnrollError::Key { path: path.to_owned(), source })
}
