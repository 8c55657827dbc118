//! What the server said and traced while tests ran, and which panics nobody caught: looked through when a server is dropped.

use gururmm_server::observability::traces;
use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, Span, SpanData, SpanProcessor};
use std::io::Write;
use std::sync::{LazyLock, Mutex, Once, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;
use tracing_subscriber::filter::{EnvFilter, FilterExt as _};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Only the newest part of a very long log is kept.
const KEPT_BYTES: usize = 8 * 1024 * 1024;

static RECORD: LazyLock<Mutex<Record>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Record {
    log: Vec<u8>,
    /// Ended spans, one a line.
    spans: Vec<u8>,
    secrets: Vec<(ThreadId, String)>,
    panics: Vec<Panic>,
}

struct Panic {
    thread: ThreadId,
    on_worker: bool,
    message: String,
}

/// Begins to listen; once is enough.
pub(crate) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let filter = EnvFilter::new("debug,gururmm_server=trace,tungstenite=info,tokio_tungstenite=info");
        let log = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(|| Ear);
        let provider = SdkTracerProvider::builder().with_span_processor(Eye).build();
        tracing_subscriber::registry()
            .with(traces::layer(&provider))
            .with(log.with_filter(filter.and(traces::untraced())))
            .init();
        // Whose end would be the end of the tracing.
        std::mem::forget(provider);
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            let on_worker = thread.name().is_some_and(|name| name.starts_with("tokio"));
            let message = panic.to_string();
            record(|record| record.panics.push(Panic { thread: thread.id(), on_worker, message }));
            usual(panic);
        }));
    });
}

/// From now on neither the log nor a trace may hold this.
pub fn keep_secret(secret: &str) {
    assert!(secret.len() >= 12, "a secret this short would be found by chance");
    let here = std::thread::current().id();
    record(|record| record.secrets.push((here, secret.to_owned())));
}

/// Everything that was logged, for tests that look for something.
pub fn text() -> String {
    record(|record| String::from_utf8_lossy(&record.log).into_owned())
}

/// Every span that ended, for tests that look for something.
pub fn spans() -> String {
    record(|record| String::from_utf8_lossy(&record.spans).into_owned())
}

/// The end of the log, shown beside a failure.
pub(crate) fn tail() -> String {
    let text = text();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// What a test that went well must not leave behind.
pub(crate) fn complaints() -> Vec<String> {
    let here = std::thread::current().id();
    let (log, spans) = (text(), spans());
    record(|record| {
        let panics = record.panics.iter().filter(|panic| panic.thread == here || panic.on_worker);
        let panics = panics.map(|panic| format!("a task panicked: {}", panic.message));
        let secrets = record.secrets.iter().filter(|(thread, _)| *thread == here);
        let leaks = secrets.flat_map(|(_, secret)| {
            let places = [("the log", &log), ("a trace", &spans)];
            let held = places.into_iter().filter(move |(_, text)| text.contains(secret.as_str()));
            held.map(move |(place, _)| format!("{place} holds a secret that begins with {}", &secret[..6]))
        });
        let caught = log.lines().filter(|line| line.contains("panic: ")).map(str::to_owned);
        panics.chain(leaks).chain(caught).collect()
    })
}

/// Forgets the panics of this thread, for a test that caused one on purpose.
pub fn forgive_panics() {
    let here = std::thread::current().id();
    record(|record| record.panics.retain(|panic| panic.thread != here));
}

fn record<T>(work: impl FnOnce(&mut Record) -> T) -> T {
    work(&mut RECORD.lock().unwrap_or_else(PoisonError::into_inner))
}

struct Ear;

impl Write for Ear {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        record(|record| keep(&mut record.log, bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Sees every span that ends.
#[derive(Debug)]
struct Eye;

impl SpanProcessor for Eye {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        record(|record| keep(&mut record.spans, format!("{span:?}\n").as_bytes()));
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

fn keep(record: &mut Vec<u8>, bytes: &[u8]) {
    record.extend_from_slice(bytes);
    if record.len() > 2 * KEPT_BYTES {
        record.drain(..KEPT_BYTES);
    }
}
