//! What every handler and job works with. Made once at start, shared for ever.

use crate::auth::throttle::PublicLimits;
use crate::bus::Bus;
use crate::commands::Commands;
use crate::config::Config;
use crate::db::Db;
use crate::follow::Follow;
use crate::gateway::{self, Gateway};
use crate::install::Downloads;
use crate::keys::Keys;
use crate::live::{self, Live};
use crate::observability::Counters;
use crate::protocols::Protocols;
use crate::recordings::Recordings;
use crate::telemetry::Telemetry;
use crate::tunnel::{self, Tunnels};
use crate::updates::Updates;
use chrono::{DateTime, Utc};
use std::sync::Arc;

/// The state of axum's router.
pub type AppState = Arc<App>;

/// The server's parts.
pub struct App {
    pub config: Config,
    pub db: Db,
    pub keys: Keys,
    pub bus: Bus,
    /// Agents' sockets.
    pub gateway: Gateway,
    /// Browsers' sockets.
    pub live: Live,
    /// Techs' sessions with machines.
    pub tunnel: Tunnels,
    pub telemetry: Telemetry,
    pub commands: Commands,
    /// The versions that are spoken with agents.
    pub protocols: Protocols,
    /// What is published for agents.
    pub updates: Updates,
    /// Where agents are sent.
    pub follow: Follow,
    pub limits: PublicLimits,
    /// What the slices count while they work.
    pub counters: Counters,
    /// What is handed out to machines.
    pub downloads: Downloads,
    /// Where sessions with machines are recorded.
    pub recordings: Recordings,
    pub started_at: DateTime<Utc>,
}

/// How sockets are kept: agents', pages', and those of sessions with machines.
#[derive(Debug, Clone, Default)]
pub struct Sockets {
    pub gateway: gateway::Settings,
    pub live: live::Settings,
    pub tunnel: tunnel::Settings,
}

impl App {
    /// Puts the parts together, as of now.
    pub fn new(
        config: Config,
        db: Db,
        keys: Keys,
        bus: Bus,
        sockets: Sockets,
        recordings: Recordings,
    ) -> Self {
        Self {
            downloads: Downloads::new(config.agent_binary.clone(), config.dist.clone()),
            protocols: Protocols::default(),
            updates: Updates::new(&config),
            follow: Follow::default(),
            config,
            db,
            keys,
            gateway: Gateway::new(sockets.gateway, bus.clone()),
            bus,
            live: Live::new(sockets.live),
            tunnel: Tunnels::new(sockets.tunnel),
            telemetry: Telemetry::default(),
            commands: Commands::default(),
            limits: PublicLimits::default(),
            counters: Counters::default(),
            recordings,
            started_at: Utc::now(),
        }
    }
}
