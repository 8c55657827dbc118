//! The private PostgreSQL: the server's own cluster in its data folder, reached over a unix socket only.
//!
//! No other part of the server starts processes. PostgreSQL outlives a server that is killed, and the next one adopts
//! it; only [`Embedded::stop`] ends it. Sign-in is by peer credentials: the operating system's user that runs the
//! server, and nobody else, whatever rights the files have.

mod account;
mod binaries;
mod cluster;
pub mod dump;
mod error;
mod layout;
mod postmaster;
mod settings;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use self::cluster::Cluster;
pub use self::error::EmbeddedError;
pub use self::layout::DataLock;
use self::layout::Layout;
use self::postmaster::{Found, Postmaster};
pub use self::settings::SUPERUSER;

/// The database the server works in.
pub const DATABASE: &str = "gururmm";

const LOG_CHECK_INTERVAL: Duration = Duration::from_secs(60);
/// Waits before each new start of a PostgreSQL that has died; after the last one the server gives up.
const RESTART_WAITS_SECONDS: [u64; 7] = [0, 1, 2, 4, 8, 15, 30];
/// A PostgreSQL that ran for so long is not in a crash loop.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// The running private PostgreSQL of one data folder, and the lock that keeps other servers off it.
///
/// Dropping this leaves PostgreSQL running for the next start; [`Embedded::stop`] ends it.
#[derive(Debug)]
pub struct Embedded {
    endpoint: Endpoint,
    state: watch::Receiver<State>,
    stop: Option<oneshot::Sender<()>>,
    supervisor: JoinHandle<Result<(), EmbeddedError>>,
    _lock: DataLock,
}

#[derive(Debug, Clone)]
enum State {
    Running { pid: u32 },
    Down(Arc<EmbeddedError>),
}

impl Embedded {
    /// Adopts the cluster that runs in the locked data folder, or starts it, made now if there is none yet. It answers
    /// when this returns, and is started again should it die.
    ///
    /// # Errors
    /// Whatever keeps it from running, in a sentence for the operator.
    pub async fn start(lock: DataLock) -> Result<Self, EmbeddedError> {
        let layout = Layout::of(lock.folder())?;
        let endpoint = Endpoint::new(&layout);
        let cluster = Cluster::open(layout).await?;
        let postmaster = cluster.bring_up().await?;
        if let Err(error) = cluster.ensure_database().await {
            if let Err(error) = cluster.shut_down().await {
                tracing::warn!(%error, "PostgreSQL stays behind");
            }
            return Err(error);
        }

        let (publish, state) = watch::channel(State::Running { pid: postmaster.pid() });
        let (stop, stopped) = oneshot::channel();
        let supervisor = tokio::spawn(supervise(cluster, postmaster, publish, stopped));
        Ok(Self { endpoint, state, stop: Some(stop), supervisor, _lock: lock })
    }

    /// Where to reach the PostgreSQL that another server runs in `data_dir`; `None` when none runs.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn running(data_dir: &Path) -> Result<Option<Endpoint>, EmbeddedError> {
        if !data_dir.exists() {
            return Ok(None);
        }
        let layout = Layout::of(data_dir)?;
        Ok(match Postmaster::find(&layout)? {
            Found::Living(_) => Some(Endpoint::new(&layout)),
            Found::Gone { .. } => None,
        })
    }

    /// Whether `data_dir` holds a cluster, running or not.
    pub fn exists(data_dir: &Path) -> bool {
        Layout::of(data_dir).is_ok_and(|layout| layout.cluster.exists())
    }

    /// Where to reach it.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// As [`Endpoint::owner_url`].
    pub fn owner_url(&self) -> String {
        self.endpoint.owner_url()
    }

    /// As [`Endpoint::connect_options`].
    pub fn connect_options(&self, user: &str) -> PgConnectOptions {
        self.endpoint.connect_options(user)
    }

    /// The process id of the postmaster; 0 once it is down for good.
    pub fn postmaster_pid(&self) -> u32 {
        match *self.state.borrow() {
            State::Running { pid } => pid,
            State::Down(_) => 0,
        }
    }

    /// Ends only when PostgreSQL has died and could not be brought back, with the reason. Until then it is restarted
    /// behind the scenes, and connections fail for as long as that takes.
    pub fn watch(&self) -> impl Future<Output = Arc<EmbeddedError>> + Send + use<> {
        let mut state = self.state.clone();
        async move {
            loop {
                if let State::Down(error) = &*state.borrow_and_update() {
                    return Arc::clone(error);
                }
                if state.changed().await.is_err() {
                    // Stopped on purpose.
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    /// Stops PostgreSQL, within 45 s at the worst: its clients are disconnected, what is committed stays.
    ///
    /// # Errors
    /// When it could not be stopped.
    pub async fn stop(mut self) -> Result<(), EmbeddedError> {
        if let Some(stop) = self.stop.take() {
            // The supervisor may have given up before; then there is nothing left to stop.
            let _ = stop.send(());
        }
        match (&mut self.supervisor).await {
            Ok(result) => result,
            Err(e) => Err(EmbeddedError::io("stop PostgreSQL", std::io::Error::other(e))),
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // Whoever takes the data folder next must not meet our restarts.
        self.supervisor.abort();
    }
}

/// How to connect to a private PostgreSQL. Only the operating system's user that runs the server is let in.
#[derive(Debug, Clone)]
pub struct Endpoint {
    socket: PathBuf,
}

impl Endpoint {
    fn new(layout: &Layout) -> Self {
        Self { socket: layout.socket.clone() }
    }

    /// The superuser's URL, as sqlx and libpq read it; there is no secret in it.
    pub fn owner_url(&self) -> String {
        let socket: String =
            url::form_urlencoded::byte_serialize(self.socket.as_os_str().as_encoded_bytes()).collect();
        // `host` outdoes `localhost`, which a URL with a user must have. A form's `+` for a blank is a plus to libpq.
        format!("postgres://{SUPERUSER}@localhost/{DATABASE}?host={}", socket.replace('+', "%20"))
    }

    /// The options of a connection to [`DATABASE`] as `user`: the superuser or one of the server's roles.
    pub fn connect_options(&self, user: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.socket)
            .port(5432)
            .username(user)
            .database(DATABASE)
    }
}

/// Brings PostgreSQL back whenever it dies, until it is told to stop it or gives up.
async fn supervise(
    cluster: Cluster,
    mut postmaster: Postmaster,
    state: watch::Sender<State>,
    mut stop: oneshot::Receiver<()>,
) -> Result<(), EmbeddedError> {
    let mut failures = 0;
    loop {
        let since = Instant::now();
        loop {
            tokio::select! {
                _ = &mut stop => {
                    postmaster.stop().await?;
                    return cluster.shut_down().await;
                }
                () = postmaster.exited() => break,
                () = sleep(LOG_CHECK_INTERVAL) => cluster.trim_log(),
            }
        }
        if since.elapsed() >= STABLE_AFTER {
            failures = 0;
        }
        tracing::error!(pid = postmaster.pid(), "PostgreSQL has ended, starting it again");
        let restarted = tokio::select! {
            _ = &mut stop => return cluster.shut_down().await,
            restarted = restart(&cluster, &mut failures) => restarted,
        };
        match restarted {
            Ok(restarted) => {
                state.send_replace(State::Running { pid: restarted.pid() });
                postmaster = restarted;
            }
            Err(error) => {
                state.send_replace(State::Down(Arc::new(error)));
                return Ok(());
            }
        }
    }
}

async fn restart(cluster: &Cluster, failures: &mut usize) -> Result<Postmaster, EmbeddedError> {
    let mut last_error = None;
    while let Some(seconds) = RESTART_WAITS_SECONDS.get(*failures) {
        *failures += 1;
        sleep(Duration::from_secs(*seconds)).await;
        match cluster.bring_up().await {
            Ok(postmaster) => return Ok(postmaster),
            Err(error) => {
                tracing::error!(%error, attempt = *failures, "PostgreSQL does not start");
                last_error = Some(error);
            }
        }
    }
    Err(last_error.unwrap_or(EmbeddedError::KeepsDying))
}
