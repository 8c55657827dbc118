//! Who asks: request id and peer address.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use std::convert::Infallible;
use std::net::IpAddr;

tokio::task_local! {
    static REQUEST_ID: String;
}

/// The real peer's address, as the listener determined it (forwarding headers count from trusted proxies only).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddr(pub IpAddr);

/// The id of this request, made by the server.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// Facts about a request that audit and throttling need.
#[derive(Debug, Clone, Default)]
pub struct RequestInfo {
    pub request_id: Option<String>,
    pub peer: Option<IpAddr>,
    /// At most 255 characters.
    pub user_agent: Option<String>,
}

impl RequestInfo {
    /// Reads them from a request.
    pub fn of(parts: &Parts) -> Self {
        Self {
            request_id: parts.extensions.get::<RequestId>().map(|id| id.0.clone()),
            peer: parts.extensions.get::<PeerAddr>().map(|peer| peer.0),
            user_agent: parts
                .headers
                .get(axum::http::header::USER_AGENT)
                .and_then(|value| value.to_str().ok())
                .map(|text| text.chars().take(255).collect()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for RequestInfo {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts))
    }
}

/// Runs a request's future under its id, so that errors can name it.
pub async fn with_request_id<F: Future>(id: String, future: F) -> F::Output {
    REQUEST_ID.scope(id, future).await
}

/// The id of the request being answered, if any.
pub fn current_request_id() -> Option<String> {
    REQUEST_ID.try_with(Clone::clone).ok()
}
