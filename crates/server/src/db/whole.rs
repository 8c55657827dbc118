//! A database as a whole, for its backup: what it is, and an empty one to put it back into.

use super::{CONNECT_TIMEOUT, migrate};
use anyhow::Context as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Executor as _, PgConnection};
use std::str::FromStr as _;

/// What a backup has to know of the database it was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// PostgreSQL's major version.
    pub major: u32,
    /// The role that owns everything; the policies name it.
    pub owner: String,
}

/// Asks the database that `url` names.
///
/// # Errors
/// It does not answer.
pub async fn describe(url: &str) -> anyhow::Result<Description> {
    describe_on(&mut connect(url).await?).await
}

/// Makes an empty database ready to be restored into: the roles are there, which belong to the whole cluster and are not
/// part of a backup, and nothing else is.
///
/// # Errors
/// There is something in it already, or its user may not make roles.
pub async fn prepare_empty(url: &str) -> anyhow::Result<Description> {
    let mut connection = connect(url).await?;
    let tables: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'",
    )
    .fetch_one(&mut connection)
    .await?;
    anyhow::ensure!(tables == 0, "the database is not empty: restore into a new one");
    let description = describe_on(&mut connection).await?;
    // The migrations know which roles there are. What else they make is in the backup, perhaps as an earlier version.
    let mut connection = migrate(PgConnectOptions::from_str(url)?).await?;
    let schemas: Vec<String> = sqlx::query_scalar(
        "SELECT format('DROP SCHEMA %I CASCADE', nspname) FROM pg_namespace
         WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'",
    )
    .fetch_all(&mut connection)
    .await?;
    for statement in schemas {
        connection.execute(sqlx::AssertSqlSafe(statement)).await?;
    }
    // As PostgreSQL makes it in a new database: what a backup does not mention is as it was there.
    connection
        .execute(
            "CREATE SCHEMA public AUTHORIZATION pg_database_owner;
             GRANT USAGE ON SCHEMA public TO PUBLIC;
             COMMENT ON SCHEMA public IS 'standard public schema'",
        )
        .await?;
    // Made for the roles by the first migration; the backup brings it along.
    let defaults: Vec<String> = sqlx::query_scalar(
        "SELECT format('ALTER DEFAULT PRIVILEGES FOR ROLE %I GRANT EXECUTE ON FUNCTIONS TO PUBLIC', rolname)
         FROM pg_default_acl d JOIN pg_roles r ON r.oid = d.defaclrole
         WHERE defaclobjtype = 'f' AND defaclnamespace = 0",
    )
    .fetch_all(&mut connection)
    .await?;
    for statement in defaults {
        connection.execute(sqlx::AssertSqlSafe(statement)).await?;
    }
    Ok(description)
}

/// The newest migration that this program knows.
pub fn schema_version() -> i64 {
    sqlx::migrate!().iter().map(|migration| migration.version).max().unwrap_or_default()
}

async fn connect(url: &str) -> anyhow::Result<PgConnection> {
    let options =
        PgConnectOptions::from_str(url).map_err(|_| anyhow::anyhow!("the database URL is not valid"))?;
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, options.connect()).await;
    connected.context("the database does not answer")?.context("cannot connect to the database as its owner")
}

async fn describe_on(connection: &mut PgConnection) -> anyhow::Result<Description> {
    let (number, owner): (i32, String) =
        sqlx::query_as("SELECT current_setting('server_version_num')::int, current_user::text")
            .fetch_one(connection)
            .await?;
    Ok(Description { major: (number / 10_000).unsigned_abs(), owner })
}
