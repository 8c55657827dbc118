//! The only way to data: `Db::begin(&Scope<P>) -> Tx<P>`. The pools are private to this module; row-level
//! security stands beneath every query a transaction makes.

mod arrivals;
mod begin;
pub mod embedded;
mod installation;
mod lookups;
mod singleton;
mod text;
mod tx;
pub mod whole;

pub use arrivals::Said;
pub use installation::{ForeignKey, check_authority};
pub use lookups::{AgentLookup, EnrollmentKeyLookup, InvitationLookup, LoginLookup, NodeFigures, SiteLookup};
pub use singleton::Singleton;
pub(crate) use text::{stored_as_text, words};
pub use tx::Tx;

use crate::auth::scope::Lane;
use crate::bus::Bus;
use crate::keys::{Keys, Purpose};
use anyhow::Context as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgConnection};
use std::time::Duration;

/// Role the server works as: owns nothing, bypasses nothing.
pub const APP_ROLE: &str = "gururmm_app";

/// How long a database that accepts a connection and says nothing is waited for.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection that was given back, and answered then, is used again without being asked: asking is a way there and back
/// before everything else.
const TRUSTED_FOR: Duration = Duration::from_millis(500);

/// How many connections each lane may hold.
#[derive(Debug, Clone, Copy)]
pub struct PoolSizes {
    pub operators: u32,
    pub agents: u32,
    pub background: u32,
}

impl Default for PoolSizes {
    fn default() -> Self {
        Self { operators: 12, agents: 12, background: 6 }
    }
}

/// The database, reached as the application role.
pub struct Db {
    operators: PgPool,
    agents: PgPool,
    background: PgPool,
    bus: Bus,
}

/// Facts about one pool, for the status screen.
#[derive(Debug, Clone, Copy)]
pub struct PoolStatus {
    pub name: &'static str,
    pub size: u32,
    pub idle: usize,
}

impl Db {
    /// Connects as the application role.
    pub async fn connect(options: PgConnectOptions, sizes: PoolSizes, bus: Bus) -> anyhow::Result<Self> {
        let options = options
            .application_name("gururmm-server")
            // What it would compile takes milliseconds; compiling takes hundreds, from some seventy thousand machines on.
            .options([("jit", "off")])
            .log_statements(tracing::log::LevelFilter::Off)
            .log_slow_statements(tracing::log::LevelFilter::Warn, Duration::from_secs(1));
        let pool = |most: u32, wait: Duration| {
            PgPoolOptions::new()
                .max_connections(most)
                .acquire_timeout(wait)
                .test_before_acquire(false)
                .before_acquire(|connection, facts| {
                    Box::pin(async move {
                        if facts.idle_for > TRUSTED_FOR {
                            connection.ping().await?;
                        }
                        Ok(true)
                    })
                })
                .connect_lazy_with(options.clone())
        };
        let db = Self {
            operators: pool(sizes.operators, Duration::from_secs(5)),
            agents: pool(sizes.agents, Duration::from_secs(20)),
            background: pool(sizes.background, Duration::from_secs(30)),
            bus,
        };
        db.ping().await.context("cannot reach the database as the application role")?;
        Ok(db)
    }

    /// Answers whether the database answers.
    pub async fn ping(&self) -> Result<(), sqlx::Error> {
        self.operators.execute("SELECT 1").await.map(|_| ())
    }

    /// How full the pools are.
    pub fn pools(&self) -> [PoolStatus; 3] {
        [Lane::Operators, Lane::Agents, Lane::Background].map(|lane| {
            let pool = self.pool(lane);
            PoolStatus { name: lane.as_str(), size: pool.size(), idle: pool.num_idle() }
        })
    }

    /// Closes all connections after what runs on them has ended.
    pub async fn close(&self) {
        tokio::join!(self.operators.close(), self.agents.close(), self.background.close());
    }

    fn pool(&self, lane: Lane) -> &PgPool {
        match lane {
            Lane::Operators => &self.operators,
            Lane::Agents => &self.agents,
            Lane::Background => &self.background,
        }
    }
}

/// Brings the schema up to date as the owner, under sqlx's advisory lock. Answers the owner's connection.
pub async fn migrate(owner: PgConnectOptions) -> anyhow::Result<PgConnection> {
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, owner.connect()).await;
    let connected = connected.context("the database does not answer")?;
    let mut connection = connected.context("cannot connect to the database as its owner")?;
    sqlx::migrate!().run(&mut connection).await.context("the database could not be brought up to date")?;
    Ok(connection)
}

/// The same for an installation: makes sure that the database belongs to these keys, and gives the application role
/// its password when one is needed (a database of one's own over TCP; the private one knows its peers).
pub async fn take_into_use(owner: PgConnectOptions, keys: &Keys, login: AppLogin) -> anyhow::Result<()> {
    let mut connection = migrate(owner).await?;
    installation::check_keys(&mut connection, keys).await?;
    if login == AppLogin::Password {
        give_password(&mut connection, &app_password(keys))
            .await
            .context("cannot set up the application's role")?;
    }
    Ok(())
}

/// Roles belong to the whole cluster: of two who write one at the same moment, one is told so and tries again.
async fn give_password(connection: &mut PgConnection, password: &str) -> Result<(), sqlx::Error> {
    // ALTER ROLE takes no bind parameters; format() quotes.
    let statement: String =
        sqlx::query_scalar("SELECT format('ALTER ROLE gururmm_app LOGIN PASSWORD %L', $1::text)")
            .bind(password)
            .fetch_one(&mut *connection)
            .await?;
    for pause in [10, 40, 160, 640].map(Duration::from_millis) {
        match connection.execute(sqlx::AssertSqlSafe(statement.clone())).await {
            Err(sqlx::Error::Database(error)) if error.message() == "tuple concurrently updated" => {
                tokio::time::sleep(pause).await;
            }
            done => return done.map(|_| ()),
        }
    }
    connection.execute(sqlx::AssertSqlSafe(statement)).await.map(|_| ())
}

/// How the application role proves itself to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppLogin {
    /// By the socket it comes through.
    Peer,
    /// By [`app_password`].
    Password,
}

/// The application role's password on a database of one's own: derived, so that nothing more is stored.
pub fn app_password(keys: &Keys) -> String {
    blake3::Hash::from_bytes(keys.digest(Purpose::DatabasePassword, APP_ROLE)).to_hex().to_string()
}
