//! From a request's credential to a session. API clients send `Authorization: Bearer gst_…`, the dashboard an
//! HttpOnly cookie plus, for anything that changes something, the CSRF token. Each kind is good for its own
//! way in only, and none is ever taken from the URL.

use super::permission::Role;
use super::scope::Confinement;
use crate::app::App;
use crate::error::{Code, Error};
use crate::keys::Purpose;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use chrono::{DateTime, Utc};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

/// Prefix of session tokens.
pub const SESSION_PREFIX: &str = "gst_";
/// Header of the CSRF token.
pub const CSRF_HEADER: &str = "x-csrf-token";

/// A live session with what its person may do.
#[derive(Debug, Clone)]
pub struct Session {
    pub session_id: Uuid,
    pub user_id: Uuid,
    pub user_name: String,
    pub kind: SessionKind,
    pub tenant_id: Option<Uuid>,
    pub is_platform_admin: bool,
    pub role: Option<Role>,
    pub confinement: Confinement,
    pub expires_at: DateTime<Utc>,
    pub last_used_at: DateTime<Utc>,
}

/// Who was let in, and how to ask later whether that still holds.
#[derive(Debug, Clone)]
pub struct Admitted {
    pub token_digest: Vec<u8>,
    pub session: Session,
}

/// How a session's token travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKind {
    /// In a cookie.
    Dashboard,
    /// In the `Authorization` header.
    Api,
}

impl SessionKind {
    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dashboard => "dashboard",
            Self::Api => "api",
        }
    }
}

/// The session of a request, or 401. Checks CSRF for cookie sessions.
pub async fn authenticate(app: &App, parts: &Parts) -> Result<Session, Error> {
    admitted(app, parts).await.map(|admitted| admitted.session)
}

/// [`authenticate`], for what takes so long that it is asked again whether the session still lives.
pub async fn admitted(app: &App, parts: &Parts) -> Result<Admitted, Error> {
    let unauthenticated = || Error::new(Code::Unauthenticated);
    let (token, kind) = match bearer(&parts.headers)? {
        Some(token) => (token, SessionKind::Api),
        None => (cookie(app, &parts.headers).ok_or_else(unauthenticated)?, SessionKind::Dashboard),
    };
    if !token.starts_with(SESSION_PREFIX) || token.len() > 128 {
        return Err(unauthenticated());
    }
    let digest = app.keys.digest(Purpose::SessionToken, token);
    let session = app.db.lookup_session(&digest).await?.ok_or_else(unauthenticated)?;
    if session.kind != kind {
        return Err(unauthenticated());
    }
    let changes = !matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    if kind == SessionKind::Dashboard && changes {
        check_csrf(app, &parts.headers, session.session_id)?;
    }
    if let Some(connection) = parts.extensions.get::<crate::net::ConnectionTicket>() {
        connection.authenticated();
    }
    if Utc::now() - session.last_used_at > chrono::TimeDelta::minutes(1) {
        app.db.touch_session(session.session_id, session.user_id).await?;
    }
    Ok(Admitted { token_digest: digest.to_vec(), session })
}

/// The token a dashboard must send along with what it changes. Derived from the session, so nothing is stored.
pub fn csrf_token(app: &App, session_id: Uuid) -> String {
    blake3::Hash::from_bytes(app.keys.digest(Purpose::CsrfToken, &session_id.to_string()))
        .to_hex()
        .to_string()
}

/// Name of the session cookie; `__Host-` makes browsers insist on Secure and no Domain.
pub fn cookie_name(app: &App) -> &'static str {
    if app.config.is_secure { "__Host-gururmm_session" } else { "gururmm_session" }
}

/// `Set-Cookie` for a new session, or with an empty token to remove it.
pub fn set_cookie(app: &App, token: &str, max_age_seconds: i64) -> String {
    let secure = if app.config.is_secure { "; Secure" } else { "" };
    format!(
        "{}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={max_age_seconds}{secure}",
        cookie_name(app)
    )
}

fn check_csrf(app: &App, headers: &HeaderMap, session_id: Uuid) -> Result<(), Error> {
    let expected = csrf_token(app, session_id);
    let given = headers.get(CSRF_HEADER).map(|value| value.as_bytes()).unwrap_or_default();
    match bool::from(expected.as_bytes().ct_eq(given)) {
        true => Ok(()),
        false => Err(Error::new(Code::CsrfFailed)),
    }
}

/// The bearer token; an `Authorization` header of any other shape, or a second one, is 401, not ignored.
pub fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::new(Code::Unauthenticated));
    }
    value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
        .map(|(_, token)| Some(token))
        .ok_or_else(|| Error::new(Code::Unauthenticated))
}

fn cookie<'h>(app: &App, headers: &'h HeaderMap) -> Option<&'h str> {
    let name = cookie_name(app);
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}
