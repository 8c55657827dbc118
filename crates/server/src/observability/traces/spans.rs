//! Everything that is traced. Attributes are ids, words of closed sets and numbers: never a path, a query, a body or
//! anything else that may hold a secret.

use crate::observability::requests::word;
use axum::http::header::HeaderName;
use axum::http::{HeaderMap, Method, StatusCode};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use uuid::Uuid;

/// Marks these spans, and nothing else.
pub(super) const TARGET: &str = "gururmm_trace";

/// Where W3C Trace Context names the caller's span. The listener lets it through from trusted proxies only.
pub const TRACEPARENT: HeaderName = HeaderName::from_static(PARENT);
const PARENT: &str = "traceparent";

macro_rules! traced {
    ($($argument:tt)*) => { tracing::info_span!(target: TARGET, $($argument)*) };
}

/// A request that is being answered. `route` is the pattern that matched.
pub fn request(method: &Method, route: Option<&str>, id: &str, headers: &HeaderMap) -> Span {
    let method = word(method);
    let span = traced!(
        "request",
        otel.name = %format_args!("{method}{}{}", if route.is_some() { " " } else { "" }, route.unwrap_or_default()),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        gururmm.request_id = id,
    );
    if !span.is_disabled()
        && let Some(parent) = remote_parent(headers)
    {
        // Fails for a span without a layer, which has no parent to be told.
        let _ = span.set_parent(parent);
    }
    span
}

/// How the request of this span ended.
pub fn answered(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}

/// A message of an agent that is being handled.
pub fn agent_message(kind: &'static str, agent_id: Uuid, command_id: Option<Uuid>) -> Span {
    traced!(
        "agent message",
        otel.name = %format_args!("agent message {kind}"),
        otel.kind = "consumer",
        otel.status_code = Empty,
        gururmm.message = kind,
        gururmm.agent_id = %agent_id,
        gururmm.command_id = command_id.map(tracing::field::display),
    )
}

/// A round of work that comes round again.
pub fn job(name: &'static str) -> Span {
    traced!("job", otel.name = %format_args!("job {name}"), otel.status_code = Empty)
}

/// Commands that go to an agent, as far as some wait.
pub fn dispatch(agent_id: Uuid) -> Span {
    traced!("dispatch commands", otel.status_code = Empty, gururmm.agent_id = %agent_id)
}

/// A message about one command that goes to its agent: `command_start` or `command_cancel`.
pub fn command_message(kind: &'static str, agent_id: Uuid, command_id: Uuid) -> Span {
    traced!(
        "command message",
        otel.name = %format_args!("send {kind}"),
        otel.kind = "producer",
        gururmm.message = kind,
        gururmm.agent_id = %agent_id,
        gururmm.command_id = %command_id,
    )
}

/// What this span stands for failed.
pub fn failed(span: &Span) {
    span.record("otel.status_code", "ERROR");
}

/// A transaction of the database, from the wait for a connection to its end.
pub struct Transaction(Span);

impl Transaction {
    /// It is about to begin on this pool.
    pub fn begin(pool: &'static str) -> Self {
        Self(traced!(
            "transaction",
            otel.kind = "client",
            db.system.name = "postgresql",
            gururmm.pool = pool,
            gururmm.committed = Empty,
        ))
    }

    /// Its changes are to stay. Those of a transaction that never says so are rolled back, if it made any.
    pub fn committed(&self) {
        self.0.record("gururmm.committed", true);
    }

    /// For what runs in it.
    pub fn span(&self) -> Span {
        self.0.clone()
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        // A span ends when it was last left.
        self.0.in_scope(|| {});
    }
}

/// The caller's span, if it names one that can be.
fn remote_parent(headers: &HeaderMap) -> Option<Context> {
    struct Only<'a>(&'a str);
    impl Extractor for Only<'_> {
        fn get(&self, key: &str) -> Option<&str> {
            (key == PARENT).then_some(self.0)
        }
        fn keys(&self) -> Vec<&str> {
            vec![PARENT]
        }
    }
    let value = headers.get(TRACEPARENT)?.to_str().ok()?;
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Only(value));
    let is_valid = context.span().span_context().is_valid();
    is_valid.then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(value: &str) -> Option<String> {
        let headers = HeaderMap::from_iter([(TRACEPARENT, value.parse().unwrap())]);
        remote_parent(&headers).map(|context| context.span().span_context().trace_id().to_string())
    }

    #[test]
    fn a_traceparent_that_cannot_be_begins_a_trace_of_its_own() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(parent(&format!("00-{trace}-b7ad6b7169203331-01")).as_deref(), Some(trace));
        let zeros = "0".repeat(32);
        for value in ["", "00", "canary", &format!("00-{zeros}-b7ad6b7169203331-01"), &"9".repeat(4_096)] {
            assert_eq!(parent(value), None, "{value}");
        }
        assert!(remote_parent(&HeaderMap::new()).is_none());
    }
}
