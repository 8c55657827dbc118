//! From nothing to an open socket: who the server is, what it wants, and what its refusal means.

use super::StartError;
use crate::capabilities::system_info;
use crate::capabilities::virtualization::VirtualizationWatch;
use crate::clock::ServerClock;
use crate::follow::{Place, Stored, way_to};
use crate::http::{CallError, post};
use crate::identity::Identity;
use crate::os::OS_TYPE;
use crate::session::backoff::Setback;
use crate::state::StateDir;
use crate::transport::{ConnectError, Connector, Socket, TakeFrame};
use crate::version;
use gururmm_protocol::SUPPORTED;
use gururmm_protocol::bootstrap::{BootstrapAction, HelloRequest, HelloResponse};
use gururmm_protocol::system::SystemInfo;
use gururmm_protocol::to_server::Hello;
use gururmm_protocol::update::{UpdateAbility, UpdateOrder};
use gururmm_protocol::virtualization::Virtualization;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Where the socket is when the server does not say.
const DEFAULT_SOCKET_PATH: &str = "/api/v1/agent/socket";
/// How long a busy server is left alone when it does not say.
const BUSY: Duration = Duration::from_secs(10);

pub(super) type Connecting = Pin<Box<dyn Future<Output = Result<Opened, Failed>> + Send>>;

pub(super) struct Opened {
    pub socket: Socket,
    pub socket_path: String,
    /// What this machine is, as far as it is known.
    pub virtualization: Option<Virtualization>,
}

pub(super) struct Failed {
    pub setback: Setback,
    pub reason: String,
    /// The server answered and refused: it is asked again where its socket is.
    pub forget_path: bool,
    /// What the server wants this agent to become before it takes it.
    pub wanted: Option<Wanted>,
}

/// Another version than this one.
pub(super) enum Wanted {
    Newer(UpdateOrder),
    Older,
}

/// The way to the server of this identity, where it is to be found now.
pub fn connector(
    state: &StateDir,
    identity: &Identity,
    clock: Arc<ServerClock>,
) -> Result<Connector, StartError> {
    connector_to(state, identity, Stored::load(state).place.as_ref(), clock)
}

/// The way to one of the places where the server is, was, or may be.
pub(super) fn connector_to(
    state: &StateDir,
    identity: &Identity,
    place: Option<&Place>,
    clock: Arc<ServerClock>,
) -> Result<Connector, StartError> {
    let (server_url, pin) = way_to(state, identity, place)?;
    Ok(Connector::new(server_url.parse()?, pin, clock)?)
}

/// Opens the socket; the server is asked where it is unless that is known.
pub(super) fn open(
    connector: Connector,
    identity: Identity,
    socket_path: Option<String>,
    virtualization: Arc<VirtualizationWatch>,
    take_frame: TakeFrame,
) -> Connecting {
    Box::pin(async move {
        let socket_path = match socket_path {
            Some(path) => path,
            None => ask(&connector, &identity).await?,
        };
        let key = identity.agent_key.expose();
        let opening = connector.open_socket(&socket_path, identity.agent_id, key, take_frame);
        let (socket, virtualization) = tokio::join!(opening, virtualization.look());
        Ok(Opened { socket: socket?, socket_path, virtualization })
    })
}

async fn ask(connector: &Connector, identity: &Identity) -> Result<String, Failed> {
    let newest = SUPPORTED.last().copied();
    let Some(protocol_version) = newest else { return Ok(DEFAULT_SOCKET_PATH.into()) };
    let hello = HelloRequest {
        agent_version: version().to_owned(),
        protocol_version,
        os_type: OS_TYPE,
        arch: std::env::consts::ARCH.to_owned(),
        agent_id: Some(identity.agent_id),
    };
    match post::<HelloResponse>(connector, "/api/v1/bootstrap/hello", &hello).await {
        Ok(answer) => match answer.action {
            BootstrapAction::Connect | BootstrapAction::Other if answer.socket_path.starts_with('/') => {
                Ok(answer.socket_path)
            }
            BootstrapAction::Connect | BootstrapAction::Other => Ok(DEFAULT_SOCKET_PATH.into()),
            BootstrapAction::Upgrade => Err(Failed {
                wanted: answer.update.map(Wanted::Newer),
                ..Failed::refused("the server asks for a newer agent")
            }),
            BootstrapAction::DowngradeRequired => Err(Failed {
                wanted: Some(Wanted::Older),
                ..Failed::refused("the server is older than this agent")
            }),
        },
        // Whatever it has against the hello, the socket itself may work.
        Err(CallError::Refused { status, .. }) if !matches!(status, 429 | 500..) => {
            Ok(DEFAULT_SOCKET_PATH.into())
        }
        Err(CallError::Refused { status, code, .. }) => {
            Err(ConnectError::Refused { status, code: Some(code), retry_after_seconds: None }.into())
        }
        Err(CallError::Connect(error)) => Err(error.into()),
        Err(error) => {
            Err(Failed { setback: Setback::Lost, reason: chain(&error), forget_path: false, wanted: None })
        }
    }
}

impl Failed {
    fn refused(reason: &str) -> Self {
        Self { setback: Setback::Refused, reason: reason.to_owned(), forget_path: true, wanted: None }
    }
}

impl From<ConnectError> for Failed {
    fn from(error: ConnectError) -> Self {
        let (setback, forget_path) = match &error {
            ConnectError::Refused { status, code, retry_after_seconds } => {
                let wait = retry_after_seconds.map(|seconds| Duration::from_secs(seconds.into()));
                let setback = match (*status, code.as_deref(), wait) {
                    (403, Some("AGENT_PENDING"), _) => Setback::Pending,
                    (401 | 403, ..) => Setback::Refused,
                    (429 | 503, _, wait) => Setback::Busy { at_least: wait.unwrap_or(BUSY) },
                    _ => Setback::Lost,
                };
                // Who is only busy is where it was.
                (setback, !matches!(setback, Setback::Busy { .. }))
            }
            _ => (Setback::Lost, false),
        };
        Self { setback, reason: chain(&error), forget_path, wanted: None }
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl super::Supervisor {
    /// Read anew for every connection: names and systems change while an agent runs.
    pub(super) fn hello(&self, update: UpdateAbility, virtualization: Option<Virtualization>) -> Hello {
        Hello {
            protocols: Vec::new(),
            agent_version: version().to_owned(),
            system: SystemInfo { virtualization: virtualization.map(Box::new), ..system_info::read() },
            identity: self.machine.clone(),
            commands: Vec::new(),
            update: Some(update),
            tunnels: self.tunnels.kept(),
        }
    }
}
