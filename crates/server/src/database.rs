//! Where the data lives: the private PostgreSQL of the data folder, or the one a URL names.

use crate::db::embedded::{DataLock, Embedded, Endpoint, SUPERUSER};
use crate::db::{self, APP_ROLE, AppLogin};
use crate::keys::Keys;
use anyhow::Context as _;
use sqlx::postgres::PgConnectOptions;
use std::path::Path;
use std::str::FromStr as _;

/// Which database to work with.
#[derive(Debug, Clone)]
pub enum DatabaseChoice {
    /// The server's own cluster in its data folder.
    Private,
    /// One that exists; the URL is its owner's.
    Url(String),
    /// One that was migrated already, as its application role (tests).
    Ready(Box<PgConnectOptions>),
}

impl DatabaseChoice {
    /// From the command line's optional URL.
    pub fn of(url: Option<String>) -> Self {
        url.map_or(Self::Private, Self::Url)
    }
}

/// An opened, migrated database. Holds the private cluster where there is one.
pub struct Database {
    private: Option<Embedded>,
    /// The data folder, where no private cluster keeps other servers off it.
    _lock: Option<DataLock>,
    /// How the application role connects.
    pub app: PgConnectOptions,
    /// The owner's URL, for `admin db-url`; absent for [`DatabaseChoice::Ready`].
    pub owner_url: Option<String>,
}

/// A database to restore a backup into.
pub struct Empty {
    /// Its owner's.
    pub url: String,
    private: Option<Embedded>,
    _lock: Option<DataLock>,
}

impl Empty {
    /// Stops the private cluster, if this holds one.
    pub async fn close(self) -> anyhow::Result<()> {
        stop(self.private).await
    }
}

impl Database {
    /// Opens and migrates it, starting or adopting the private cluster of the data folder that `lock` holds.
    pub async fn open(lock: DataLock, choice: DatabaseChoice, keys: &Keys) -> anyhow::Result<Self> {
        match choice {
            DatabaseChoice::Private => {
                let private = Embedded::start(lock).await?;
                let endpoint = private.endpoint().clone();
                Self::of_private(&endpoint, Some(private), keys).await
            }
            DatabaseChoice::Url(url) => Ok(Self { _lock: Some(lock), ..Self::of_url(url, keys).await? }),
            DatabaseChoice::Ready(app) => {
                Ok(Self { private: None, _lock: Some(lock), app: *app, owner_url: None })
            }
        }
    }

    /// The same for a command-line task: works beside a running server, and starts the cluster only when none runs.
    pub async fn open_for_task(data_dir: &Path, choice: DatabaseChoice, keys: &Keys) -> anyhow::Result<Self> {
        match choice {
            DatabaseChoice::Private if let Some(endpoint) = Embedded::running(data_dir)? => {
                Self::of_private(&endpoint, None, keys).await
            }
            DatabaseChoice::Url(url) => Self::of_url(url, keys).await,
            choice => Self::open(DataLock::take(data_dir)?, choice, keys).await,
        }
    }

    /// The database to restore a backup into, before it is migrated: the private one, made now, or the URL's.
    pub async fn empty(lock: DataLock, choice: DatabaseChoice) -> anyhow::Result<Empty> {
        Ok(match choice {
            DatabaseChoice::Private => {
                let private = Embedded::start(lock).await?;
                Empty { url: private.owner_url(), private: Some(private), _lock: None }
            }
            DatabaseChoice::Url(url) => Empty { url, private: None, _lock: Some(lock) },
            DatabaseChoice::Ready(_) => anyhow::bail!("this database has no URL"),
        })
    }

    /// The private cluster's end, should it die for good. Never, where there is none.
    pub async fn failed(&self) -> anyhow::Error {
        match &self.private {
            Some(private) => anyhow::anyhow!("{}", private.watch().await),
            None => std::future::pending().await,
        }
    }

    /// Refuses another certificate authority of one's own than the installation's other servers have.
    pub async fn check_authority(&self, fingerprint: &str) -> anyhow::Result<()> {
        match &self.owner_url {
            Some(url) => db::check_authority(PgConnectOptions::from_str(url)?, fingerprint).await,
            None => Ok(()),
        }
    }

    /// Stops the private cluster, if this holds one.
    pub async fn close(self) -> anyhow::Result<()> {
        stop(self.private).await
    }

    /// The same after a failure, which is what there is to say.
    pub async fn give_up(self) {
        if let Err(error) = self.close().await {
            tracing::warn!(error = format!("{error:#}"), "PostgreSQL stays behind");
        }
    }

    async fn of_private(endpoint: &Endpoint, private: Option<Embedded>, keys: &Keys) -> anyhow::Result<Self> {
        let (app, owner_url) = (endpoint.connect_options(APP_ROLE), Some(endpoint.owner_url()));
        let database = Self { private, _lock: None, app, owner_url };
        match db::take_into_use(endpoint.connect_options(SUPERUSER), keys, AppLogin::Peer).await {
            Ok(()) => Ok(database),
            Err(error) => {
                database.give_up().await;
                Err(error)
            }
        }
    }

    async fn of_url(url: String, keys: &Keys) -> anyhow::Result<Self> {
        let owner =
            PgConnectOptions::from_str(&url).map_err(|_| anyhow::anyhow!("the database URL is not valid"))?;
        let password = db::app_password(keys);
        db::take_into_use(owner.clone(), keys, AppLogin::Password).await?;
        Ok(Self {
            private: None,
            _lock: None,
            app: owner.username(APP_ROLE).password(&password),
            owner_url: Some(url),
        })
    }
}

async fn stop(private: Option<Embedded>) -> anyhow::Result<()> {
    match private {
        Some(private) => private.stop().await.context("PostgreSQL did not stop"),
        None => Ok(()),
    }
}
