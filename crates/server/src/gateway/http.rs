//! The agents' WebSocket route. Not in the OpenAPI document: it is no call for people or their scripts.

use super::arrivals::Arrival;
use super::websocket::WebSocket;
use super::{AgentSession, session, store};
use crate::agent_router;
use crate::app::AppState;
use crate::auth::credential;
use crate::error::{Code, Error};
use crate::http::request::PeerAddr;
use crate::net::ConnectionTicket;
use axum::Extension;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{FromRequestParts, OptionalFromRequestParts, State, WebSocketUpgrade};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gururmm_protocol::limits::MAX_CONTROL_FRAME_BYTES;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::time::Instant;
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

/// Where agents connect.
pub const SOCKET_PATH: &str = "/api/v1/agent/socket";
/// Names the agent beside its key.
const AGENT_HEADER: &str = "x-gururmm-agent";
/// A server that stops is another one, or back, after this time.
const STOPPING_RETRY_SECONDS: u64 = 5;

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
        app.gateway.arrivals.knock(Instant::now()).map(Self)
    }
}

/// The connection, once it has become a socket. To be extracted before axum's own, which takes it.
struct Upgrading(OnUpgrade);

impl OptionalFromRequestParts<AppState> for Upgrading {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _app: &AppState) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get::<OnUpgrade>().cloned().map(Self))
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
    headers: HeaderMap,
    upgrading: Option<Upgrading>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Error> {
    // What it asks for is checked by axum; the socket is ours, for there is one per machine.
    drop(upgrade.map_err(|_not_a_websocket| Error::new(Code::UpgradeRequired))?);
    let upgrading = upgrading.ok_or_else(|| Error::new(Code::UpgradeRequired))?.0;
    let accept = headers.get(header::SEC_WEBSOCKET_KEY).map(accept);
    let accept = accept.ok_or_else(|| Error::new(Code::UpgradeRequired))?;
    let turn = arrival.turn().await;
    (session.epoch, session.held_by) = store::begin_session(&app, &session).await?;
    drop(turn);
    let peer = peer.map(|Extension(PeerAddr(peer))| peer);
    let tasks = app.gateway.tasks().clone();
    tasks.spawn(async move {
        // Not upgraded: whoever knocked has gone.
        let Ok(upgraded) = upgrading.await else { return };
        let socket = WebSocket::new(TokioIo::new(upgraded), MAX_CONTROL_FRAME_BYTES);
        session::run(app, session, socket, (peer, arrival)).await;
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

/// The answer that only a WebSocket server gives to this key (RFC 6455, 4.2.2).
fn accept(key: &HeaderValue) -> HeaderValue {
    const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let mut digest = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key.as_bytes());
    digest.update(GUID);
    let text = STANDARD.encode(digest.finish());
    // Base64 is always a header's value.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_answered_as_the_rfc_does() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept(&key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
