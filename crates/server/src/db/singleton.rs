//! Work that must not run twice at a time, over all servers of one database.

use super::Db;
use crate::error::Error;
use sqlx::{Connection as _, PgConnection};

/// The right to do one piece of background work now; held by a connection, so it ends with it at the latest.
pub struct Singleton {
    connection: PgConnection,
    name: &'static str,
}

impl Db {
    /// Takes the lock of this name; `None` while someone else holds it.
    pub async fn singleton(&self, name: &'static str) -> Result<Option<Singleton>, Error> {
        let mut connection = self.background.acquire().await?;
        let taken = sqlx::query_scalar!(
            r#"SELECT pg_try_advisory_lock(hashtext('gururmm.job'), hashtext($1)) AS "taken!""#,
            name
        )
        .fetch_one(&mut *connection)
        .await?;
        // Out of the pool: a job that dies must not leave a locked connection behind in it.
        Ok(taken.then(|| Singleton { connection: connection.detach(), name }))
    }
}

impl Singleton {
    /// Gives it back. Dropped without this, the connection is closed, which gives it back too.
    pub async fn release(mut self) -> Result<(), Error> {
        sqlx::query!("SELECT pg_advisory_unlock(hashtext('gururmm.job'), hashtext($1))", self.name)
            .fetch_one(&mut self.connection)
            .await?;
        Ok(self.connection.close().await?)
    }
}
