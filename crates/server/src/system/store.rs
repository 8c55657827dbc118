//! SQL of this slice.

use crate::auth::permission::ManagePlatform;
use crate::db::Tx;
use crate::error::Error;

/// Size of the whole database on disk.
pub async fn database_bytes(tx: &mut Tx<ManagePlatform>) -> Result<i64, Error> {
    let bytes = sqlx::query_scalar!(r#"SELECT pg_database_size(current_database()) AS "bytes!""#);
    Ok(bytes.fetch_one(tx.conn()).await?)
}
