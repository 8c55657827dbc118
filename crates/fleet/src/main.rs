//! `gururmm-fleet`: a simulated fleet for a server that is there already.

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, Parser, Subcommand};
use gururmm_agent::outbox::REPLAY_EVERY;
use gururmm_fleet::agent::Manner;
use gururmm_fleet::demo::{self, Owner};
use gururmm_fleet::floor;
use gururmm_fleet::history::Measured;
use gururmm_fleet::insert;
use gururmm_fleet::load;
use gururmm_fleet::seed;
use gururmm_fleet::wire::Place;
use gururmm_fleet::world::World;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

/// The server's: the floor is measured against it.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Where the database's URL is looked for: it may hold a password.
const DATABASE_URL: &str = "GURURMM_DATABASE_URL";

#[derive(Parser)]
#[command(
    name = "gururmm-fleet",
    version,
    about = "A simulated fleet: thousands of agents with the real protocol"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What everything about the machines follows from
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
    /// How many machines there are
    #[arg(long, global = true, default_value_t = 300)]
    machines: usize,
}

#[derive(Subcommand)]
enum Command {
    /// Write enrolled machines into the database whose owner's URL is in GURURMM_DATABASE_URL
    Seed {
        /// The server's data folder
        #[arg(long)]
        data_dir: PathBuf,
    },
    /// Connect seeded machines until standard input ends; a line of JSON a second says what they did
    Load {
        /// The server's data folder
        #[arg(long)]
        data_dir: PathBuf,
        #[command(flatten)]
        servers: Servers,
        /// The first machine
        #[arg(long, default_value_t = 0)]
        from: usize,
        /// The machine behind the last one [default: all]
        #[arg(long)]
        to: Option<usize>,
        /// Machines that are started in a second
        #[arg(long, default_value_t = load::PER_SECOND)]
        per_second: u32,
        /// Seconds between samples [default: what the server says]
        #[arg(long)]
        interval_seconds: Option<u64>,
        /// Send samples as fast as they are taken, with as many on their way
        #[arg(long)]
        flood: Option<usize>,
        /// Hours for which each has measured without a line: as many as its outbox holds
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=83))]
        backlog_hours: u32,
        /// Sleep at night, travel, lose the line
        #[arg(long)]
        lives: bool,
    },
    /// Be the least that a server can be: take sockets with TLS, answer what keeps them open, and no more; until standard
    /// input ends
    Floor {
        /// The data folder of the server whose certificate is shown
        #[arg(long)]
        data_dir: PathBuf,
        /// Address and port to listen on
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Write a week of seeded machines' samples, packed and into a plain table as well, or read a day of both; one line of
    /// JSON.
    History {
        /// Read, instead of writing: which machines, and whose turn is first
        #[arg(long)]
        read: Option<usize>,
        /// How often each is read, by one connection
        #[arg(long, default_value_t = 1)]
        times: usize,
        /// When the week ended that is read [default: with the last full hour]
        #[arg(long)]
        end: Option<DateTime<Utc>>,
    },
    /// Insert samples into a plain table for some seconds; one line of JSON
    Insert {
        /// Rows of a statement, each of which is committed
        #[arg(long, default_value_t = 500)]
        at_once: usize,
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// Enroll machines with clients and sites of their own and a day of history, and run them until this is interrupted
    Demo {
        #[command(flatten)]
        server: Server,
        /// The partner's owner
        #[arg(long)]
        email: String,
        /// A file with the owner's password
        #[arg(long)]
        password_file: PathBuf,
        /// Where the machines' keys are kept
        #[arg(long)]
        state: PathBuf,
        /// Hours of history
        #[arg(long, default_value_t = 24)]
        history_hours: u32,
    },
}

#[derive(Args)]
struct Server {
    /// The server's URL
    #[arg(long = "server")]
    url: Url,
    /// The server's CA, where it is https
    #[arg(long)]
    ca_file: Option<PathBuf>,
}

#[derive(Args)]
struct Servers {
    /// The server's URL; several where it has several nodes: an agent that one does not take tries the next
    #[arg(long = "server", required = true)]
    urls: Vec<Url>,
    /// The server's CA, where it is https
    #[arg(long)]
    ca_file: Option<PathBuf>,
}

impl Server {
    async fn place(&self) -> anyhow::Result<Place> {
        Place::new(&self.url, self.ca_file.as_deref()).await
    }
}

impl Servers {
    async fn places(&self) -> anyhow::Result<Vec<Place>> {
        let mut places = Vec::with_capacity(self.urls.len());
        for url in &self.urls {
            places.push(Place::new(url, self.ca_file.as_deref()).await?);
        }
        Ok(places)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("[ERROR] {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let world = || World::new(cli.seed, cli.machines);
    match cli.command {
        Command::Seed { data_dir } => seed::seed_first_partner(&database_url()?, &data_dir, &world()).await,
        Command::History { read, times, end } => {
            let measured = Measured::new(&database_url()?, world(), end).await?;
            match read {
                Some(round) => say_json(&measured.read(round, times).await?),
                None => say_json(&(measured.write().await?, measured.end())),
            }
        }
        Command::Insert { at_once, seconds } => {
            let longest = Duration::from_secs(seconds);
            say_json(&insert::insert(&database_url()?, &world(), at_once.max(1), longest).await?)
        }
        Command::Load {
            data_dir,
            servers,
            from,
            to,
            per_second,
            interval_seconds,
            flood,
            backlog_hours,
            lives,
        } => {
            let interval = interval_seconds.map(Duration::from_secs);
            let manner = Manner { lives, interval, flood, replay_every: Some(REPLAY_EVERY) };
            let range = (from, to.unwrap_or(cli.machines));
            let backlog = TimeDelta::hours(i64::from(backlog_hours));
            load::load(&data_dir, world(), range, per_second, servers.places().await?, manner, backlog).await
        }
        Command::Floor { data_dir, listen } => floor::serve(&data_dir, listen).await,
        Command::Demo { server, email, password_file, state, history_hours } => {
            let password = std::fs::read_to_string(&password_file)
                .with_context(|| format!("cannot read {}", password_file.display()))?;
            let owner = Owner { email, password: password.trim_end().to_owned() };
            let history = TimeDelta::hours(i64::from(history_hours));
            demo::demo(server.place().await?, &owner, &state, world(), history, say, stop_signal()?).await
        }
    }
}

fn database_url() -> anyhow::Result<String> {
    std::env::var(DATABASE_URL).with_context(|| format!("{DATABASE_URL} is not set"))
}

fn say_json(what: &impl serde::Serialize) -> anyhow::Result<()> {
    say(&serde_json::to_string(what)?);
    Ok(())
}

/// Ends when a person or the system asks.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[expect(clippy::print_stdout, reason = "for the person who started it")]
fn say(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "a program's last word")]
fn complain(text: &str) {
    eprintln!("{text}");
}
