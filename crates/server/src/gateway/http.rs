//! The agents' WebSocket route. Not in the OpenAPI document: it is no call for people or their scripts.

use super::{AgentSession, session, store};
use crate::agent_router;
use crate::app::AppState;
use crate::auth::credential;
use crate::error::{Code, Error};
use crate::http::request::PeerAddr;
use crate::net::ConnectionTicket;
use axum::Extension;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{FromRequestParts, State, WebSocketUpgrade};
use axum::http::header;
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::get;
use gururmm_protocol::limits::MAX_CONTROL_FRAME_BYTES;
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

/// Where agents connect.
pub const SOCKET_PATH: &str = "/api/v1/agent/socket";
/// Names the agent beside its key.
const AGENT_HEADER: &str = "x-gururmm-agent";
/// Small buffers: there is one socket per machine. The default would be 128 KiB.
const BUFFER_BYTES: usize = 4 * 1024;

/// An agent that proved itself by its own key, in a header beside its id. Its session has no number yet.
pub struct AgentCaller(pub AgentSession);

impl FromRequestParts<AppState> for AgentCaller {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Error> {
        // A browser names its page; an agent has none. A page must never speak as an agent.
        if parts.headers.contains_key(header::ORIGIN) {
            return Err(Error::new(Code::OriginRefused));
        }
        let refused = || Error::new(Code::AgentKeyRefused);
        let key = credential::bearer(&parts.headers).ok().flatten().ok_or_else(refused)?;
        let mut ids = parts.headers.get_all(AGENT_HEADER).iter();
        let (id, second) = (ids.next(), ids.next());
        let agent_id: Uuid = id
            .filter(|_| second.is_none())
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse().ok())
            .ok_or_else(refused)?;
        let session = agent_router::authenticate(app, agent_id, key).await?;
        if let Some(connection) = parts.extensions.get::<ConnectionTicket>() {
            connection.authenticated();
        }
        Ok(Self(session))
    }
}

/// Route of this slice.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().route(SOCKET_PATH, get(connect))
}

async fn connect(
    State(app): State<AppState>,
    AgentCaller(mut session): AgentCaller,
    peer: Option<Extension<PeerAddr>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Error> {
    let upgrade = upgrade.map_err(|_not_a_websocket| Error::new(Code::UpgradeRequired))?;
    if app.gateway.is_stopping() {
        return Err(Error::new(Code::Unavailable));
    }
    (session.epoch, session.held_by) = store::begin_session(&app, &session).await?;
    let peer = peer.map(|Extension(PeerAddr(peer))| peer);
    let tasks = app.gateway.tasks().clone();
    Ok(upgrade
        .max_message_size(MAX_CONTROL_FRAME_BYTES)
        .max_frame_size(MAX_CONTROL_FRAME_BYTES)
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * MAX_CONTROL_FRAME_BYTES)
        .on_upgrade(move |socket| tasks.track_future(session::run(app, session, socket, peer))))
}
