//! From ended spans to the collector: a queue with an end, and an exporter whose state is known.

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Ended spans that may wait for the collector.
const QUEUE: u64 = 4_096;
/// How many of them go in one message at most.
const BATCH: usize = 512;

/// What became of the spans of this process.
#[derive(Debug, Default)]
pub struct SpanCounts {
    waiting: AtomicU64,
    sent: AtomicU64,
    dropped: AtomicU64,
}

impl SpanCounts {
    /// Taken by the collector.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Lost: the queue was full, or the collector did not take them.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Whether there is room for one more, which then counts as waiting.
    fn admit(&self) -> bool {
        let admitted = self.waiting.try_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
            (waiting < QUEUE).then_some(waiting + 1)
        });
        if admitted.is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        admitted.is_ok()
    }

    fn ended(&self, count: u64, is_sent: bool) {
        self.waiting.fetch_sub(count, Ordering::Relaxed);
        let outcome = if is_sent { &self.sent } else { &self.dropped };
        outcome.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts all that waits as dropped; answers how many that were.
    pub(super) fn give_up(&self) -> u64 {
        let waiting = self.waiting.swap(0, Ordering::Relaxed);
        self.dropped.fetch_add(waiting, Ordering::Relaxed);
        waiting
    }
}

/// The SDK's batches behind a queue that counts what it turns away. It never waits.
#[derive(Debug)]
pub(super) struct Bounded {
    batches: BatchSpanProcessor,
    counts: Arc<SpanCounts>,
}

impl Bounded {
    pub(super) fn new(exporter: impl SpanExporter + 'static, counts: Arc<SpanCounts>) -> Self {
        // Larger than what is let in, so that the SDK's own queue never drops without being counted. How long spans
        // are gathered is the standard's OTEL_BSP_SCHEDULE_DELAY, five seconds without it.
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(2 * QUEUE as usize)
            .with_max_export_batch_size(BATCH);
        let batches = BatchSpanProcessor::builder(exporter).with_batch_config(config.build()).build();
        Self { batches, counts }
    }
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.counts.admit() {
            self.batches.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// An exporter that counts, and says once when the collector goes and once when it is back.
#[derive(Debug)]
pub(super) struct Watched<E> {
    exporter: E,
    counts: Arc<SpanCounts>,
    is_down: AtomicBool,
}

impl<E> Watched<E> {
    pub(super) fn new(exporter: E, counts: Arc<SpanCounts>) -> Self {
        Self { exporter, counts, is_down: AtomicBool::new(false) }
    }
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len() as u64;
        let result = self.exporter.export(batch).await;
        self.counts.ended(count, result.is_ok());
        let was_down = self.is_down.swap(result.is_err(), Ordering::Relaxed);
        match &result {
            Err(error) if !was_down => {
                tracing::warn!(%error, "the collector takes no traces; they are dropped until it does");
            }
            Ok(()) if was_down => {
                tracing::info!(dropped = self.counts.dropped(), "the collector takes traces again");
            }
            _ => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.exporter.shutdown()
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::{Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Instant;

    /// A collector that answers nothing until it is let go.
    #[derive(Debug)]
    struct Stuck(Mutex<Receiver<()>>);

    impl SpanExporter for Stuck {
        async fn export(&self, _batch: Vec<SpanData>) -> OTelSdkResult {
            // Blocks until the other end is dropped.
            let _let_go = self.0.lock().unwrap().recv();
            Ok(())
        }
    }

    #[test]
    fn a_collector_that_hangs_costs_spans_but_no_time() {
        let (let_go, stuck) = channel();
        let counts = Arc::<SpanCounts>::default();
        let exporter = Watched::new(Stuck(Mutex::new(stuck)), counts.clone());
        let processor = Bounded::new(exporter, counts.clone());
        let provider = SdkTracerProvider::builder().with_span_processor(processor).build();
        let tracer = provider.tracer("test");
        let started = Instant::now();
        for _ in 0..QUEUE + 100 {
            drop(tracer.start("span"));
        }
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        assert_eq!((counts.dropped(), counts.sent()), (100, 0));
        drop(let_go);
        provider.shutdown().unwrap();
        assert_eq!((counts.dropped(), counts.sent(), counts.give_up()), (100, QUEUE, 0));
    }

    #[test]
    fn what_was_left_behind_counts_as_dropped_once() {
        let counts = SpanCounts::default();
        assert!(counts.admit() && counts.admit() && counts.admit());
        counts.ended(1, true);
        assert_eq!((counts.give_up(), counts.give_up()), (2, 0));
        assert_eq!((counts.sent(), counts.dropped()), (1, 2));
    }
}
