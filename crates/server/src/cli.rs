//! The command line of `gururmm-server`.

mod nats;

use crate::admin::{self, AdminCommand};
use crate::database::DatabaseChoice;
use crate::net::TlsMode;
use crate::nodes;
use crate::observability::logs::{self, LogFormat};
use crate::observability::{TraceOptions, Traces};
use crate::recordings;
use crate::serve::{Peers, ServeOptions, Server};
use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;
use nats::NatsArgs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

/// GuruRMM's server.
#[derive(Debug, Parser)]
#[command(name = "gururmm-server", version)]
pub struct Cli {
    /// How the log on standard error is written; RUST_LOG says how much of it.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve(Box<ServeArgs>),
    /// Bring the database up to date, as every start of the server does.
    Migrate(DataArgs),
    /// Do an administrator's work without a browser.
    #[command(subcommand)]
    Admin(Box<AdminCommand>),
    /// Print the OpenAPI document of the API.
    Openapi,
}

/// Where the data is; every command that works on it takes these.
#[derive(Debug, Clone, Args)]
pub struct DataArgs {
    /// Folder of keys and, without a database URL, of the private PostgreSQL.
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// A PostgreSQL of your own, as its owner. Better given in the environment: arguments are visible to others.
    #[arg(long, env = "GURURMM_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,
}

#[derive(Debug, Args)]
struct ServeArgs {
    #[command(flatten)]
    data: DataArgs,
    /// Address and port to listen on.
    #[arg(long, default_value = "127.0.0.1:3001", value_name = "ADDR")]
    listen: SocketAddr,
    /// Address and port of their own for Prometheus: plain HTTP, for whoever can reach it. None by default.
    #[arg(long, value_name = "ADDR")]
    metrics_listen: Option<SocketAddr>,
    /// An OpenTelemetry collector that gets traces, by OTLP over HTTP. Its secrets go into OTEL_EXPORTER_OTLP_HEADERS.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", hide_env_values = true, value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// Which part of the traces is kept, 0 to 1.
    #[arg(long, default_value_t = 1.0, value_parser = ratio, value_name = "RATIO")]
    trace_sample_ratio: f64,
    /// Certificate chain, PEM. Without TLS the server listens on loopback only, or behind a trusted proxy.
    #[arg(long, value_name = "FILE", requires = "tls_key", conflicts_with = "tls_self_signed")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// TLS by the server's own authority: made once, kept in the data folder, pinned by agents.
    #[arg(long)]
    tls_self_signed: bool,
    /// How people and agents reach this server, when it is not the listen address.
    #[arg(long, value_name = "URL")]
    public_url: Option<Url>,
    /// Where recordings of sessions with machines are kept: a folder, or s3://BUCKET/PREFIX, reached as the environment's
    /// AWS_* variables say. By default `recordings` in the data folder. Several servers need one place.
    #[arg(long, env = "GURURMM_RECORDINGS", value_name = "PLACE")]
    recordings: Option<String>,
    /// A file that the heads of the audit log's and the recordings' chains are added to within a minute of moving. It
    /// belongs where whoever reaches this server and its database does not.
    #[arg(long, env = "GURURMM_AUDIT_ANCHOR", value_name = "FILE")]
    audit_anchor: Option<PathBuf>,
    #[command(flatten)]
    nats: NatsArgs,
    /// What people call this server, where there are several. By default what the machine is called.
    #[arg(long, value_name = "NAME", value_parser = node_name)]
    node_name: Option<String>,
    /// A reverse proxy whose forwarding headers are believed; may be given several times.
    #[arg(long = "trusted-proxy", value_name = "CIDR")]
    trusted_proxies: Vec<IpNet>,
    /// The agent binary that new machines download.
    #[arg(long, value_name = "FILE")]
    agent_binary: Option<PathBuf>,
    /// The folder that `./dev dist` built: packages for machines. By default `dist` in the data folder, where that is.
    #[arg(long, value_name = "DIR")]
    dist: Option<PathBuf>,
    /// Like --agent-binary, and a token to enroll this very machine is left in the data folder once the setup is done.
    #[arg(long, value_name = "FILE", conflicts_with = "agent_binary")]
    local_agent: Option<PathBuf>,
}

impl Cli {
    /// Does what was asked for.
    pub async fn run(self) -> anyhow::Result<()> {
        let traces = match &self.command {
            Command::Serve(args) => {
                let options = TraceOptions::of(args.otlp_endpoint.as_deref(), args.trace_sample_ratio)?;
                options.as_ref().map(Traces::start).transpose()?
            }
            _ => None,
        };
        logs::start(self.log_format, traces.as_ref())?;
        match self.command {
            Command::Serve(args) => {
                let served = serve(*args, traces.as_ref()).await;
                if let Some(traces) = traces {
                    traces.stop().await;
                }
                served
            }
            Command::Migrate(data) => admin::migrate(data).await,
            Command::Admin(command) => admin::run(*command).await,
            Command::Openapi => {
                let document =
                    crate::router::openapi().to_pretty_json().context("the document is not valid")?;
                print(&document)
            }
        }
    }
}

/// A name that fits into a list.
fn node_name(text: &str) -> Result<String, &'static str> {
    let name = text.trim();
    let is_good = (1..=64).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if is_good { Ok(name.to_owned()) } else { Err("must be 1 to 64 characters") }
}

/// A part of the whole.
fn ratio(text: &str) -> Result<f64, &'static str> {
    let ratio = text.parse::<f64>().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or("must be a number from 0 to 1")
}

async fn serve(args: ServeArgs, traces: Option<&Traces>) -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let tls = match (args.tls_cert, args.tls_key) {
        (Some(certificate), Some(key)) => Some(TlsMode::Files { certificate, key }),
        _ if args.tls_self_signed => Some(TlsMode::SelfSigned { keys_dir: args.data.data_dir.join("keys") }),
        _ => None,
    };
    if let Some(dist) = args.dist.as_deref() {
        anyhow::ensure!(dist.is_dir(), "--dist: {} is not a folder", dist.display());
    }
    let name = args.node_name.clone().unwrap_or_else(nodes::machine_name);
    let nats = args.nats.options(&name, |variable| std::env::var(variable).ok())?;
    anyhow::ensure!(
        nats.is_none() || args.data.database_url.is_some(),
        "--nats: servers that meet there work on one database, so this one needs --database-url"
    );
    let options = ServeOptions {
        node_name: args.node_name,
        peers: nats.map_or(Peers::None, |nats| Peers::Nats(Box::new(nats))),
        data_dir: args.data.data_dir,
        listen: args.listen,
        metrics_listen: args.metrics_listen,
        spans: traces.map(Traces::counts),
        database: DatabaseChoice::of(args.data.database_url),
        tls,
        public_url: args.public_url,
        trusted_proxies: args.trusted_proxies,
        invites_local_agent: args.local_agent.is_some(),
        agent_binary: args.local_agent.or(args.agent_binary),
        dist: args.dist,
        sockets: crate::app::Sockets::default(),
        recordings: recordings::Options {
            place: args.recordings,
            anchor: args.audit_anchor,
            ..recordings::Options::default()
        },
    };
    let mut server = tokio::select! {
        started = Server::start(options) => started?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    print(&format!("[OK] GuruRMM serves {}", server.app().config.public_url))?;
    if let Some(link) = server.setup_link().await? {
        print(&format!("setup link: {}", link.as_str()))?;
    }
    tokio::select! {
        error = server.failed() => {
            tracing::error!(%error, "the server cannot go on");
            server.stop().await?;
            Err(error)
        }
        _ = interrupt.recv() => server.stop().await,
        _ = terminate.recv() => server.stop().await,
    }
}

/// Writes a line for people or scripts to standard output.
pub fn print(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("cannot write to standard output")
}
