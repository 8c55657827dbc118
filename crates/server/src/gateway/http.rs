//! The agents' WebSocket route. Not in the OpenAPI document: it is no call for people or their scripts.

use super::arrivals::Arrival;
use super::read_ahead::ReadAhead;
use super::{AgentSession, session};
use crate::agent_router;
use crate::app::AppState;
use crate::auth::credential;
use crate::error::{Code, Error};
use crate::http::request::PeerAddr;
use crate::net::ConnectionTicket;
use axum::Extension;
use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header;
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::get;
use gururmm_protocol::limits::MAX_CONTROL_FRAME_BYTES;
use hyper_util::rt::TokioIo;
use std::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

/// Where agents connect.
pub const SOCKET_PATH: &str = "/api/v1/agent/socket";
/// Names the agent beside its key.
const AGENT_HEADER: &str = "x-gururmm-agent";
/// A server that stops is another one, or back, after this time.
const STOPPING_RETRY_SECONDS: u64 = 5;
/// Read from a socket at once. Small, for there is one per machine, and it keeps as much; the default would be 128 KiB.
const READ_BYTES: usize = 512;

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

/// Comes before [`AgentCaller`]: who cannot be taken in costs the database nothing.
struct Knock(Arrival);

impl FromRequestParts<AppState> for Knock {
    type Rejection = Error;
    async fn from_request_parts(_parts: &mut Parts, app: &AppState) -> Result<Self, Error> {
        if app.gateway.is_stopping() {
            return Err(Error::retry_after(Code::Unavailable, STOPPING_RETRY_SECONDS));
        }
        app.gateway.knock(Instant::now()).map(Self)
    }
}

/// Route of this slice.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().route(SOCKET_PATH, get(connect))
}

async fn connect(
    State(app): State<AppState>,
    Knock(arrival): Knock,
    AgentCaller(mut session): AgentCaller,
    peer: Option<Extension<PeerAddr>>,
    mut request: Request,
) -> Result<Response, Error> {
    let upgrading = hyper::upgrade::on(&mut request);
    let response = create_response_with_body(&request, Body::empty)
        .map_err(|_not_a_websocket| Error::new(Code::UpgradeRequired))?;
    let turn = arrival.turn().await;
    (session.epoch, session.held_by) = app
        .db
        .begin_agent_session(session.tenant_id, session.agent_id, app.bus.node_id())
        .await?
        .ok_or_else(|| Error::new(Code::AgentKeyRefused))?;
    drop(turn);
    let peer = peer.map(|Extension(PeerAddr(peer))| peer);
    let tasks = app.gateway.tasks().clone();
    tasks.spawn(async move {
        // Not upgraded: whoever knocked has gone.
        let Ok(upgraded) = upgrading.await else { return };
        let upgraded = ReadAhead::new(TokioIo::new(upgraded));
        let socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(limits())).await;
        session::run(app, session, socket, (peer, arrival)).await;
    });
    Ok(response)
}

fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MAX_CONTROL_FRAME_BYTES))
        .max_frame_size(Some(MAX_CONTROL_FRAME_BYTES))
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * MAX_CONTROL_FRAME_BYTES)
}
