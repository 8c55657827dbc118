//! OpenTelemetry traces, for whoever named a collector; nothing at all otherwise. What is traced is a closed list,
//! [`spans`]: the log's spans and lines stay in the log.
//!
//! A request never waits for the collector: ended spans go to a bounded queue, whose thread sends them in batches;
//! what does not fit, or is not taken, is dropped and counted.

mod client;
mod export;
pub mod spans;

pub use export::SpanCounts;

use anyhow::Context as _;
use client::Client;
use export::{Bounded, Watched};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, RetryPolicy, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use std::sync::Arc;
use std::time::Duration;
use tracing_subscriber::layer::{Filter, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Registry, filter};
use url::Url;

/// Names the server in every trace.
const SERVICE: &str = "gururmm-server";
/// How long the end of the server waits for the collector to take what is left.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// Where traces go, and how many of them.
#[derive(Debug, Clone)]
pub struct TraceOptions {
    endpoint: Url,
    sample_ratio: f64,
}

impl TraceOptions {
    /// `endpoint` is the collector's base address; empty or absent: no traces. `sample_ratio`, 0 to 1, is the part of
    /// the traces that begin here which is kept.
    ///
    /// # Errors
    /// When the address is none that spans can be sent to. The sentence never repeats it: it may hold a password.
    pub fn of(endpoint: Option<&str>, sample_ratio: f64) -> anyhow::Result<Option<Self>> {
        let Some(endpoint) = endpoint.filter(|endpoint| !endpoint.is_empty()) else { return Ok(None) };
        let mut url: Url = endpoint.parse().context("the OTLP endpoint is no URL")?;
        anyhow::ensure!(
            matches!(url.scheme(), "http" | "https") && url.has_host(),
            "the OTLP endpoint must be http://HOST:PORT or https://HOST:PORT"
        );
        anyhow::ensure!(
            url.username().is_empty() && url.password().is_none() && url.query().is_none(),
            "the OTLP endpoint must hold no credentials: give them in OTEL_EXPORTER_OTLP_HEADERS"
        );
        url.set_fragment(None);
        let path = format!("{}/v1/traces", url.path().trim_end_matches('/'));
        url.set_path(&path);
        Ok(Some(Self { endpoint: url, sample_ratio }))
    }
}

/// The way of spans to the collector.
pub struct Traces {
    provider: SdkTracerProvider,
    counts: Arc<SpanCounts>,
}

impl Traces {
    /// Gets it ready; nothing is sent before the first span. Call it in a tokio runtime.
    ///
    /// # Errors
    /// When the system's certificates cannot be read, or the standard environment variables of OTLP are not valid.
    pub fn start(options: &TraceOptions) -> anyhow::Result<Self> {
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_endpoint(options.endpoint.as_str())
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(Client::new(options.endpoint.scheme() == "https")?)
            // The next batch comes soon enough; and a thread that pauses could not flush at the end.
            .with_retry_policy(RetryPolicy::disabled())
            .build()
            .context("traces cannot be exported with these settings")?;
        let counts = Arc::<SpanCounts>::default();
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource = Resource::builder().with_attribute(version).with_service_name(SERVICE).build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(options.sample_ratio))))
            .with_span_processor(Bounded::new(Watched::new(exporter, counts.clone()), counts.clone()))
            .build();
        Ok(Self { provider, counts })
    }

    /// For the subscriber of this process.
    pub fn layer(&self) -> impl Layer<Registry> + Send + Sync + use<> {
        layer(&self.provider)
    }

    /// How many spans went, and how many were lost.
    pub fn counts(&self) -> Arc<SpanCounts> {
        self.counts.clone()
    }

    /// Sends what still waits, for two seconds at most. Call it when everything else has ended.
    pub async fn stop(self) {
        let Self { provider, counts } = self;
        // It waits for the exporter's thread, which needs the runtime's meanwhile.
        let flushing = move || provider.shutdown_with_timeout(FLUSH_WITHIN);
        let flushed = tokio::task::spawn_blocking(flushing).await;
        let lost = counts.give_up();
        if lost > 0 {
            tracing::warn!(lost, ?flushed, "the collector did not take the last spans in time");
        }
    }
}

/// Hands what [`spans`] makes to a provider, and nothing else.
pub fn layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + Send + Sync + use<S>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(SERVICE))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(filter::filter_fn(|metadata| is_traced(metadata) && metadata.is_span()))
}

/// Keeps what [`spans`] makes out of a log.
pub fn untraced<S>() -> impl Filter<S> + Clone {
    filter::filter_fn(|metadata: &tracing::Metadata<'_>| !is_traced(metadata))
        .with_max_level_hint(filter::LevelFilter::TRACE)
}

fn is_traced(metadata: &tracing::Metadata<'_>) -> bool {
    metadata.target() == spans::TARGET
}

/// The subscriber of this process: the log, and the traces where there are any.
pub(super) fn subscriber(
    log: Box<dyn Layer<Registry> + Send + Sync>,
    traces: Option<&Traces>,
) -> impl tracing::Subscriber + Send + Sync {
    let traces = traces.map(|traces| traces.layer().boxed());
    Registry::default().with(traces.into_iter().chain([log]).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Result<Option<String>, String> {
        let options = TraceOptions::of(Some(text), 1.0).map_err(|error| format!("{error:#}"));
        options.map(|options| options.map(|options| options.endpoint.to_string()))
    }

    #[test]
    fn an_endpoint_is_a_base_address() {
        for (given, expected) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("https://otlp.example.com/", "https://otlp.example.com/v1/traces"),
            ("https://otlp.example.com/team/", "https://otlp.example.com/team/v1/traces"),
            ("http://[::1]:4318", "http://[::1]:4318/v1/traces"),
        ] {
            assert_eq!(endpoint(given), Ok(Some(expected.to_owned())), "{given}");
        }
        assert_eq!(endpoint(""), Ok(None));
        assert!(TraceOptions::of(None, 1.0).unwrap().is_none());
    }

    #[test]
    fn an_endpoint_with_a_secret_is_refused_without_repeating_it() {
        for given in [
            "https://ada:canary@otlp.example.com",
            "https://canary@otlp.example.com",
            "https://otlp.example.com/?key=canary",
            "ftp://canary",
            "canary",
        ] {
            let error = endpoint(given).unwrap_err();
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
