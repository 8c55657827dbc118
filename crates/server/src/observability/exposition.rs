//! The server's figures in the text format of OpenMetrics, which Prometheus reads.

use super::traces::SpanCounts;
use crate::app::App;
use crate::net::ConnectionGauge;
use crate::telemetry::history::Lag;
use chrono::{DateTime, Utc};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::time::Instant;

/// Media type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolState {
    pool: &'static str,
    state: &'static str,
}

/// All figures as they are now; those of the database where it says them. The registry is made anew for every reading: most figures are read where they are
/// kept, and the few that are counted here are shared with it.
pub fn render(
    app: &App,
    connections: &ConnectionGauge,
    spans: Option<&SpanCounts>,
    lag: Option<&Lag>,
) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix("gururmm");
    server(app, &mut registry);
    agents(app, &mut registry);
    if let Some(lag) = lag {
        history(lag, Utc::now(), &mut registry);
    }
    app.counters.requests.register(&mut registry);
    registry.register("database_connections", "Connections to the database", pools(app));
    listener(connections, &mut registry);
    if let Some(spans) = spans {
        traces(spans, &mut registry);
    }
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

fn server(app: &App, registry: &mut Registry) {
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The running build", build);
    let uptime = (Utc::now() - app.started_at).num_seconds().max(0);
    registry.register_with_unit("uptime", "Time since the start", Unit::Seconds, ConstGauge::new(uptime));
    let browsers = ConstGauge::new(app.live.open_sockets());
    registry.register("browsers", "Open live sockets of browsers", browsers);
}

fn agents(app: &App, registry: &mut Registry) {
    let connected = ConstGauge::new(app.gateway.connected_count());
    registry.register("connected_agents", "Agents with a session", connected);
    let door = app.gateway.door(Instant::now());
    let room = ConstGauge::new(i64::try_from(door.room).unwrap_or(i64::MAX));
    registry.register("agents_room", "Agents that may be connected", room);
    let turned_away = ConstCounter::new(door.turned_away);
    registry.register("agents_turned_away", "Agents that were told to come again later", turned_away);
    let stored = ConstCounter::new(app.counters.samples_stored.total());
    registry.register("samples_stored", "Samples of agents that were stored", stored);
    let too_old = ConstCounter::new(app.counters.samples_too_old.total());
    registry.register("samples_too_old", "Samples of agents that were too old to be stored", too_old);
    for (name, help, meter) in [
        ("history_hours_packed", "Hours of machines that were packed", &app.counters.hours_packed),
        ("history_samples_packed", "Samples that were packed", &app.counters.samples_packed),
        ("history_samples_thinned", "Samples beyond what is kept of an hour", &app.counters.samples_thinned),
    ] {
        registry.register(name, help, ConstCounter::new(meter.total()));
    }
    let ingest = &app.telemetry.ingest;
    registry.register(
        "ingest_queue_depth",
        "Samples that wait to be stored",
        ConstGauge::new(ingest.depth()),
    );
    registry.register_with_unit(
        "ingest_lag",
        "Age of the oldest sample of the last batch when it was stored",
        Unit::Seconds,
        ConstGauge::new(ingest.lag().as_secs_f64()),
    );
    let hosted = ConstGauge::new(app.tunnel.hosted());
    registry.register(
        "tunnel_sessions_hosted",
        "Techs' sessions with machines that this server holds",
        hosted,
    );
    for (name, help, meter) in [
        ("tunnel_to_machines", "Bytes in channels to machines", &app.counters.tunnel_bytes_to_machines),
        ("tunnel_from_machines", "Bytes in channels from machines", &app.counters.tunnel_bytes_from_machines),
    ] {
        registry.register_with_unit(name, help, Unit::Bytes, ConstCounter::new(meter.total()));
    }
    let ended = Family::<State, Counter>::default();
    for (status, count) in app.commands.reached.all().filter(|(status, _)| status.is_final()) {
        ended.get_or_create(&State { state: status.as_str() }).inc_by(count);
    }
    registry.register("commands_ended", "Commands that came to a final state", ended);
}

fn history(lag: &Lag, now: DateTime<Utc>, registry: &mut Registry) {
    registry.register(
        "history_hours_waiting",
        "Hours of machines that wait to be packed, of all servers",
        ConstGauge::new(lag.hours_waiting),
    );
    if let Some(since) = lag.since() {
        registry.register_with_unit(
            "history_lag",
            "Time since when history may be behind, of all servers",
            Unit::Seconds,
            ConstGauge::new((now - since).num_seconds().max(0)),
        );
    }
}

fn pools(app: &App) -> Family<PoolState, Gauge> {
    let family = Family::<PoolState, Gauge>::default();
    for pool in app.db.pools() {
        let idle = i64::try_from(pool.idle).unwrap_or(i64::MAX);
        let used = i64::from(pool.size).saturating_sub(idle).max(0);
        for (state, count) in [("idle", idle), ("used", used)] {
            family.get_or_create(&PoolState { pool: pool.name, state }).set(count);
        }
    }
    family
}

fn listener(connections: &ConnectionGauge, registry: &mut Registry) {
    let counts = connections.counts();
    registry.register("connections_open", "Open connections of all clients", ConstGauge::new(counts.open));
    let strangers = ConstGauge::new(counts.unauthenticated);
    registry.register("connections_unauthenticated", "Those that have not shown who they are", strangers);
    let refused = ConstCounter::new(counts.refused);
    registry.register("connections_refused", "Connections that were turned away", refused);
}

fn traces(spans: &SpanCounts, registry: &mut Registry) {
    let (sent, dropped) = (ConstCounter::new(spans.sent()), ConstCounter::new(spans.dropped()));
    registry.register("spans_sent", "Spans of traces that the collector took", sent);
    registry.register("spans_dropped", "Spans that were lost: too many, or not taken", dropped);
}
