//! The running server: what is started, in which order, and how it stops.

use crate::app::{App, AppState, Sockets};
use crate::background::Background;
use crate::bus::{Bus, NatsOptions};
use crate::config::Config;
use crate::database::{Database, DatabaseChoice};
use crate::db::embedded::DataLock;
use crate::db::{Db, PoolSizes};
use crate::keys::{Keys, Purpose, random_token};
use crate::local_agent;
use crate::net::{Limits, ListenConfig, Listener, TlsMode};
use crate::nodes;
use crate::observability::{MetricsListener, SpanCounts};
use crate::recordings::{self, Recordings};
use crate::router;
use crate::served::Served;
use crate::updates;
use anyhow::Context as _;
use chrono::{TimeDelta, Utc};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;
use zeroize::Zeroizing;

/// Where packages are looked for in the data folder.
pub const DIST_FOLDER: &str = "dist";
const SETUP_LINK_LIFETIME: TimeDelta = TimeDelta::hours(24);

/// What `serve` is told.
#[derive(Clone)]
pub struct ServeOptions {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    /// Where Prometheus reads the server's figures, by plain HTTP; `None`: nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// What became of this process's spans, when it is traced.
    pub spans: Option<Arc<SpanCounts>>,
    pub database: DatabaseChoice,
    /// `None`: plain HTTP, on loopback or behind a trusted proxy only.
    pub tls: Option<TlsMode>,
    pub public_url: Option<Url>,
    pub trusted_proxies: Vec<IpNet>,
    pub agent_binary: Option<PathBuf>,
    /// The folder of packages; `None`: `dist` in the data folder.
    pub dist: Option<PathBuf>,
    /// Whether a token for this very machine is left in the data folder once the setup is done.
    pub invites_local_agent: bool,
    /// What people call this server, where there are several; `None`: what the machine is called.
    pub node_name: Option<String>,
    /// How it meets the others, where there are several on one database.
    pub peers: Peers,
    pub sockets: Sockets,
    pub recordings: recordings::Options,
}

/// How a server meets the others of its installation.
#[derive(Clone)]
pub enum Peers {
    /// There are none.
    None,
    Nats(Box<NatsOptions>),
    /// In the process of another one (tests).
    Beside(AppState),
}

/// A running server.
pub struct Server {
    app: AppState,
    database: Database,
    local_addr: SocketAddr,
    metrics_addr: Option<SocketAddr>,
    stopping: CancellationToken,
    listener: JoinHandle<()>,
    metrics: Option<JoinHandle<()>>,
    background: Background,
}

impl Server {
    /// Starts everything; answers when requests are served.
    pub async fn start(options: ServeOptions) -> anyhow::Result<Self> {
        // Before anything is made: of two servers that start on one data folder, one gives up here.
        let lock = DataLock::take(&options.data_dir)?;
        // Before the database: a taken port must not cost its start.
        let listener = Listener::bind(ListenConfig {
            addr: options.listen,
            tls: options.tls.clone(),
            trusted_proxies: options.trusted_proxies.clone(),
            public_url: public_url(&options, options.listen)?,
            limits: Limits::default(),
        })?;
        let metrics = options.metrics_listen.map(MetricsListener::bind).transpose()?;
        let keys = Keys::load_or_create(&options.data_dir)?;
        let database = Database::open(lock, options.database.clone(), &keys).await?;
        let app = match assemble(&options, &listener, keys, &database).await {
            Ok(app) => Arc::new(app),
            Err(error) => {
                database.give_up().await;
                return Err(error);
            }
        };

        updates::census::learn_retired(&app).await?;
        let background = Background::start(&app);
        let stopping = CancellationToken::new();
        if options.invites_local_agent {
            tokio::spawn(invite_local_agent(app.clone()));
        }
        let local_addr = listener.local_addr();
        let metrics_addr = metrics.as_ref().map(MetricsListener::local_addr);
        let metrics = metrics.map(|metrics| {
            tokio::spawn(metrics.serve(app.clone(), listener.gauge(), options.spans, stopping.clone()))
        });
        let listener = tokio::spawn(listener.serve(router::router(app.clone()), stopping.clone()));
        Ok(Self { app, database, local_addr, metrics_addr, stopping, listener, metrics, background })
    }

    /// The server's parts.
    pub fn app(&self) -> &AppState {
        &self.app
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where Prometheus reads, if anywhere.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics_addr
    }

    /// A fresh one-time setup link; `None` once someone has an account. Every call makes the link before void.
    pub async fn setup_link(&self) -> anyhow::Result<Option<Zeroizing<String>>> {
        if !self.app.db.setup_is_open().await? {
            return Ok(None);
        }
        let token = random_token("gsu_");
        let digest = self.app.keys.digest(Purpose::SetupToken, &token);
        self.app.db.setup_put_token(&digest, SETUP_LINK_LIFETIME).await?;
        // In the fragment: it never reaches a log or a proxy.
        let base = self.app.config.public_url.as_str().trim_end_matches('/');
        Ok(Some(Zeroizing::new(format!("{base}/setup#token={}", token.as_str()))))
    }

    /// Ends only when the server cannot go on, with the reason.
    pub async fn failed(&mut self) -> anyhow::Error {
        tokio::select! {
            error = self.database.failed() => error,
            ended = &mut self.listener => anyhow::anyhow!("the listener ended: {ended:?}"),
        }
    }

    /// Stops in order: no new requests, agents told, what runs ends, database closed.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stopping.cancel();
        self.background.stop(&self.app).await;
        if !self.listener.is_finished() {
            self.listener.await.context("the listener failed")?;
        }
        if let Some(metrics) = self.metrics {
            metrics.await.context("the metrics' listener failed")?;
        }
        self.app.db.close().await;
        self.database.close().await
    }
}

/// The server's parts, on a database that is up to date.
async fn assemble(
    options: &ServeOptions,
    listener: &Listener,
    keys: Keys,
    database: &Database,
) -> anyhow::Result<App> {
    if let (Peers::Nats(_), Some(fingerprint)) = (&options.peers, listener.ca_fingerprint()) {
        database.check_authority(&fingerprint).await?;
    }
    let node_id = nodes::identity(&options.data_dir)?;
    let bus = match &options.peers {
        Peers::None => Bus::in_process(node_id),
        Peers::Nats(nats) => Bus::over_nats(node_id, nats).await?,
        Peers::Beside(other) => {
            other.bus.beside(node_id).context("the other one meets nobody in its process")?
        }
    };
    let db = Db::connect(database.app.clone(), PoolSizes::default(), bus.clone()).await?;
    let now = Utc::now();
    db.ensure_metric_partitions(now - TimeDelta::days(2), now + TimeDelta::days(3)).await?;
    let config = config(options, listener)?;
    db.node_started(node_id, &config.node_name, nodes::word(bus.reach())).await?;
    if let Err(error) = Served::remember(&config, options.recordings.place.as_deref()) {
        tracing::warn!(error = format!("{error:#}"), "admin commands will not know this server's address");
    }
    let recordings = Recordings::open(options.recordings.clone(), &options.data_dir)?;
    let mut sockets = options.sockets.clone();
    sockets.gateway.room = sockets.gateway.room.min(listener.room_for_agents());
    Ok(App::new(config, db, keys, bus, sockets, recordings))
}

async fn invite_local_agent(app: AppState) {
    if let Err(error) = local_agent::invite(app).await {
        tracing::error!(error = format!("{error:#}"), "no token could be left for this machine's agent");
    }
}

/// How the server is reached when nobody says otherwise: where it listens, or by the machine's name where that is
/// every address.
fn public_url(options: &ServeOptions, addr: SocketAddr) -> anyhow::Result<Url> {
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    if let Some(url) = &options.public_url {
        return Ok(url.clone());
    }
    let host = match addr.ip() {
        ip if ip.is_unspecified() => nodes::machine_name(),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    Url::parse(&format!("{scheme}://{host}:{}", addr.port()))
        .with_context(|| format!("{host} makes no URL; say with --public-url how this server is reached"))
}

fn config(options: &ServeOptions, listener: &Listener) -> anyhow::Result<Config> {
    let public_url = public_url(options, listener.local_addr())?;
    Ok(Config {
        data_dir: options.data_dir.clone(),
        listen: listener.local_addr(),
        node_name: options.node_name.clone().unwrap_or_else(nodes::machine_name),
        is_secure: public_url.scheme() == "https",
        public_url,
        trusted_proxies: options.trusted_proxies.clone(),
        ca_fingerprint: listener.ca_fingerprint(),
        agent_binary: options.agent_binary.clone(),
        dist: options.dist.clone().unwrap_or_else(|| options.data_dir.join(DIST_FOLDER)),
        is_served: true,
    })
}
