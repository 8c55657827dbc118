//! The ticket, and the browsers' WebSocket route. The socket is not in the OpenAPI document: it is no call.

use super::{Ticket, session_of_ticket, socket};
use crate::app::{App, AppState};
use crate::auth::Scope;
use crate::auth::credential::{Admitted, SESSION_PREFIX, SessionKind, bearer};
use crate::auth::permission::OwnAccount;
use crate::error::{Code, Error};
use crate::http::Json;
use crate::keys::Purpose;
use crate::net::{ConnectionTicket, Scheme, upgrade_origin_allowed};
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{State, WebSocketUpgrade};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The protocol both sides speak.
const PROTOCOL: &str = "gururmm.live.v1";
/// What carries the ticket: the one header of an upgrade that a page can set.
const TICKET_PROTOCOL: &str = "ticket.";
/// Browsers send little.
const MAX_MESSAGE_BYTES: usize = 4 * 1024;
const BUFFER_BYTES: usize = 4 * 1024;

/// Routes of this slice.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(ticket)).route("/api/v1/live", get(connect))
}

/// Get a ticket for the live socket.
///
/// It is good for half a minute and for one socket, and travels as a WebSocket subprotocol, never in the URL.
#[utoipa::path(post, path = "/api/v1/live/ticket", tag = "live", responses((status = 200, body = Ticket)))]
async fn ticket(State(app): State<AppState>, scope: Scope<OwnAccount>) -> Result<Json<Ticket>, Error> {
    super::ticket(&app, &scope).await.map(Json)
}

async fn connect(
    State(app): State<AppState>,
    parts: Parts,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Error> {
    check_origin(&app, &parts)?;
    let digest = |ticket: &str| app.keys.digest(Purpose::LiveTicket, ticket);
    let admitted = admit(&app, &parts.headers, digest).await?;
    if let Some(connection) = parts.extensions.get::<ConnectionTicket>() {
        connection.authenticated();
    }
    let upgrade = upgrade.map_err(|_not_a_websocket| Error::new(Code::UpgradeRequired))?;
    if app.live.stopping.is_cancelled() {
        return Err(Error::new(Code::Unavailable));
    }
    let seat = app.live.seat(admitted.session.session_id)?;
    let tasks = app.live.tasks.clone();
    Ok(upgrade
        .protocols([PROTOCOL])
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES)
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(1024 * 1024)
        .on_upgrade(move |socket| {
            tasks.track_future(async move {
                socket::run(app, admitted, socket).await;
                drop(seat);
            })
        }))
}

/// Before anything else, however the server is deployed: only its own pages may open a socket.
pub fn check_origin(app: &App, parts: &Parts) -> Result<(), Error> {
    let scheme = parts.extensions.get::<Scheme>().copied().unwrap_or(match app.config.is_secure {
        true => Scheme::Https,
        false => Scheme::Http,
    });
    match upgrade_origin_allowed(&parts.headers, scheme, &app.config.public_url) {
        true => Ok(()),
        false => Err(Error::new(Code::OriginRefused)),
    }
}

/// By ticket, or for scripts by their bearer token. The session cookie, which a browser sends from any page, opens
/// nothing here. `digest` is that of tickets for this socket.
pub async fn admit(
    app: &App,
    headers: &HeaderMap,
    digest: impl Fn(&str) -> [u8; 32],
) -> Result<Admitted, Error> {
    let unauthenticated = || Error::new(Code::Unauthenticated);
    if let Some(token) = bearer(headers)? {
        if !token.starts_with(SESSION_PREFIX) || token.len() > 128 {
            return Err(unauthenticated());
        }
        let token_digest = app.keys.digest(Purpose::SessionToken, token).to_vec();
        let session = app.db.lookup_session(&token_digest).await?.ok_or_else(unauthenticated)?;
        return match session.kind {
            SessionKind::Api => Ok(Admitted { token_digest, session }),
            SessionKind::Dashboard => Err(unauthenticated()),
        };
    }
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let ticket = offered
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .find_map(|protocol| protocol.trim().strip_prefix(TICKET_PROTOCOL))
        .filter(|ticket| ticket.len() <= 128)
        .ok_or_else(unauthenticated)?;
    session_of_ticket(app, &digest(ticket)).await
}
