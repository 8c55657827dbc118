//! The figures have a port of their own, so that they are never reachable where people and agents are.

use super::exposition::{CONTENT_TYPE, render};
use super::traces::SpanCounts;
use crate::app::AppState;
use crate::error::Error;
use crate::net::{ConnectionGauge, Limits, ListenConfig, Listener};
use crate::telemetry::history;
use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use url::Url;

/// Scrapers are few.
const CONNECTIONS: usize = 64;

/// Scrapers wait some ten seconds for all figures.
const DATABASE_ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// An open port that serves `/metrics` and nothing else, by plain HTTP.
pub struct MetricsListener(Listener);

#[derive(Clone)]
struct Observed {
    app: AppState,
    connections: ConnectionGauge,
    spans: Option<Arc<SpanCounts>>,
}

impl MetricsListener {
    /// Opens the port. Whoever can reach it may read it.
    pub fn bind(addr: SocketAddr) -> anyhow::Result<Self> {
        // No secret goes over it, so plain HTTP may leave this machine when the operator names such an address.
        let anyone = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
        let limits = Limits {
            connections: CONNECTIONS,
            unauthenticated: CONNECTIONS,
            unauthenticated_per_peer: CONNECTIONS,
            ..Limits::default()
        };
        let trusted_proxies = if addr.ip().is_loopback() { Vec::new() } else { anyone.into() };
        let public_url = Url::parse(&format!("http://{addr}")).context("the metrics address makes no URL")?;
        let listener = Listener::bind(ListenConfig { addr, tls: None, trusted_proxies, public_url, limits });
        Ok(Self(listener.context("the metrics have no port")?))
    }

    /// The address with its real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.0.local_addr()
    }

    /// Serves the figures until `shutdown`. `connections` are those of the server's main port; `spans` are there when
    /// the server is traced.
    pub async fn serve(
        self,
        app: AppState,
        connections: ConnectionGauge,
        spans: Option<Arc<SpanCounts>>,
        shutdown: CancellationToken,
    ) {
        let router = Router::new()
            .route("/metrics", get(metrics))
            .fallback(|| async { StatusCode::NOT_FOUND })
            .with_state(Observed { app, connections, spans });
        self.0.serve(router, shutdown).await;
    }
}

async fn metrics(State(observed): State<Observed>) -> Result<impl IntoResponse, Error> {
    // A database that does not answer takes no other figure with it.
    let lag = timeout(DATABASE_ANSWERS_WITHIN, history::lag_of_all(&observed.app)).await;
    let lag = lag.ok().and_then(Result::ok);
    let text = render(&observed.app, &observed.connections, observed.spans.as_deref(), lag.as_ref());
    let text = text.map_err(Error::internal)?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text))
}
