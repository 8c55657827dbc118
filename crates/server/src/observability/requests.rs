//! HTTP requests by method, route and status. Every label comes from a closed set: the methods of HTTP, the routes'
//! patterns, the status codes. Nothing that a caller writes becomes a label.

use axum::http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

/// Upper bounds of the buckets, in seconds.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What was asked and how it went.
#[derive(Debug)]
pub struct Requests {
    answered: Family<Answered, Counter>,
    duration: Family<Asked, Histogram, fn() -> Histogram>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    method: &'static str,
    route: String,
}

impl Default for Requests {
    fn default() -> Self {
        let duration = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        Self { answered: Family::default(), duration }
    }
}

impl Requests {
    /// Counts a request that was answered. `route` is the route's pattern, `-` where none matched.
    pub fn answered(&self, method: &Method, route: &str, status: StatusCode, after: Duration) {
        let (method, route) = (word(method), route.to_owned());
        let asked = Asked { method, route: route.clone() };
        self.duration.get_or_create(&asked).observe(after.as_secs_f64());
        self.answered.get_or_create(&Answered { method, route, status: status.as_u16() }).inc();
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("http_requests", "Requests that were answered", self.answered.clone());
        let help = "Time from a request's headers to its answer's headers";
        registry.register_with_unit("http_request_duration", help, Unit::Seconds, self.duration.clone());
    }
}

/// A method can be any word; only those of HTTP become labels.
pub(super) fn word(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}
