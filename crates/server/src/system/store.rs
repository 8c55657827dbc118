//! SQL of this slice.

use super::{StorageKind, TableUse};
use crate::auth::permission::ManagePlatform;
use crate::db::Tx;
use crate::error::Error;

/// Size of the whole database on disk.
pub async fn database_bytes(tx: &mut Tx<ManagePlatform>) -> Result<i64, Error> {
    let bytes = sqlx::query_scalar!(r#"SELECT pg_database_size(current_database()) AS "bytes!""#);
    Ok(bytes.fetch_one(tx.conn()).await?)
}

/// Size of every table with its indexes, the largest first. Takes no right to what is in them. One that is dropped
/// meanwhile has none.
pub async fn tables(tx: &mut Tx<ManagePlatform>) -> Result<Vec<TableUse>, Error> {
    let rows = sqlx::query!(
        r#"SELECT c.relname AS "name!", coalesce(pg_total_relation_size(c.oid), 0) AS "bytes!"
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE n.nspname = 'public' AND c.relkind IN ('r', 'm') ORDER BY 2 DESC, 1"#
    );
    let rows = rows.fetch_all(tx.conn()).await?;
    let tables = rows.into_iter().map(|row| TableUse {
        kind: StorageKind::of(&row.name),
        name: row.name,
        bytes: row.bytes,
    });
    Ok(tables.collect())
}

/// The retention classes of all partners, and how many have each.
pub async fn retention_classes(tx: &mut Tx<ManagePlatform>) -> Result<Vec<(i16, i64)>, Error> {
    let rows =
        sqlx::query!(r#"SELECT retention_days, count(*) AS "partners!" FROM partners GROUP BY 1 ORDER BY 1"#);
    let rows = rows.fetch_all(tx.conn()).await?;
    Ok(rows.into_iter().map(|row| (row.retention_days, row.partners)).collect())
}
