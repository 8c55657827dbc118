//! What the server said while tests ran, and which panics nobody caught: looked through when a server is dropped.

use std::io::Write;
use std::sync::{LazyLock, Mutex, Once, PoisonError};
use std::thread::ThreadId;
use tracing_subscriber::EnvFilter;

/// Only the newest part of a very long log is kept.
const KEPT_BYTES: usize = 8 * 1024 * 1024;

static RECORD: LazyLock<Mutex<Record>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Record {
    log: Vec<u8>,
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
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(
                "debug,gururmm_server=trace,tungstenite=info,tokio_tungstenite=info",
            ))
            .with_ansi(false)
            .with_writer(|| Ear)
            .init();
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

/// From now on the log must not hold this.
pub fn keep_secret(secret: &str) {
    assert!(secret.len() >= 12, "a secret this short would be found by chance");
    let here = std::thread::current().id();
    record(|record| record.secrets.push((here, secret.to_owned())));
}

/// Everything that was logged, for tests that look for something.
pub fn text() -> String {
    record(|record| String::from_utf8_lossy(&record.log).into_owned())
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
    let log = text();
    record(|record| {
        let panics = record.panics.iter().filter(|panic| panic.thread == here || panic.on_worker);
        let panics = panics.map(|panic| format!("a task panicked: {}", panic.message));
        let leaks =
            record.secrets.iter().filter(|(thread, secret)| *thread == here && log.contains(secret.as_str()));
        let leaks =
            leaks.map(|(_, secret)| format!("the log holds a secret that begins with {}", &secret[..6]));
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
        record(|record| {
            record.log.extend_from_slice(bytes);
            if record.log.len() > 2 * KEPT_BYTES {
                record.log.drain(..KEPT_BYTES);
            }
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
