//! What every request passes through: an id, a log line, security headers, a net under panics.

use super::request::{PeerAddr, RequestId, with_request_id};
use crate::app::AppState;
use crate::error::{Cause, Error};
use crate::observability::traces::spans;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::any::Any;
use std::time::Instant;
use tracing::Instrument as _;
use uuid::Uuid;

/// Header that carries the request's id back.
pub const REQUEST_ID_HEADER: &str = "x-request-id";

/// Gives the request an id, runs it under that id, counts it, and writes one log line with the outcome. Paths are
/// told as the route's pattern, so that no id or secret of a URL reaches the log or Prometheus.
pub async fn request_context(State(app): State<AppState>, mut request: Request, next: Next) -> Response {
    let id = Uuid::now_v7().simple().to_string();
    request.extensions_mut().insert(RequestId(id.clone()));
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("-", |path| path.as_str()).to_owned();
    let peer = request.extensions().get::<PeerAddr>().map(|peer| peer.0.to_string());
    let matched = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let traced = spans::request(&method, matched, &id, request.headers());
    let span = tracing::info_span!("request", id = %id);
    let started = Instant::now();
    let answer = with_request_id(id.clone(), next.run(request)).instrument(span.clone());
    let mut response = answer.instrument(traced.clone()).await;
    spans::answered(&traced, response.status());
    let elapsed = started.elapsed();
    app.counters.requests.answered(&method, &route, response.status(), elapsed);
    let elapsed_ms = elapsed.as_millis() as u64;
    let status = response.status().as_u16();
    span.in_scope(|| match response.extensions_mut().remove::<Cause>() {
        Some(Cause(cause)) => {
            let error = anyhow_chain(&cause);
            tracing::error!(%method, route, status, elapsed_ms, peer, error, "request failed");
        }
        None => tracing::debug!(%method, route, status, elapsed_ms, peer, "request"),
    });
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID_HEADER, value);
    }
    response
}

/// Headers that keep browsers from doing what the dashboard never needs.
pub async fn security_headers(State(app): State<AppState>, request: Request, next: Next) -> Response {
    const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
         img-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'";
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut put = |name, value| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    put(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    put(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    put(header::X_FRAME_OPTIONS, "DENY");
    put(header::REFERRER_POLICY, "no-referrer");
    put(header::CACHE_CONTROL, "no-store");
    if app.config.is_secure {
        put(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    response
}

/// A panic in a handler is a bug: 500 with the request id, and the server lives on.
pub fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    Error::internal(anyhow::anyhow!("panic: {message}")).into_response()
}

/// An error with its causes, once, for the log.
fn anyhow_chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
