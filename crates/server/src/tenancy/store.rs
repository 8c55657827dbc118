//! SQL of the hierarchy. Row-level security confines every query to the transaction's partner.

use super::Client;
use crate::db::Tx;
use crate::error::Error;
use uuid::Uuid;

pub async fn count_clients<P>(tx: &mut Tx<P>, search: Option<&str>) -> Result<i64, Error> {
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "total!" FROM clients WHERE $1::text IS NULL OR strpos(lower(name), lower($1)) > 0"#,
        search
    );
    Ok(total.fetch_one(tx.conn()).await?)
}

pub async fn list_clients<P>(
    tx: &mut Tx<P>,
    search: Option<&str>,
    after: Option<(String, Uuid)>,
    limit: i64,
) -> Result<Vec<Client>, Error> {
    let (after_name, after_id) = after.unzip();
    let clients = sqlx::query_as!(
        Client,
        r#"SELECT c.id, c.name, c.created_at,
             (SELECT count(*) FROM sites s WHERE s.client_id = c.id) AS "sites_total!",
             count(a.id) AS "agents_total!", count(a.id) FILTER (WHERE a.is_connected) AS "agents_online!"
           FROM clients c
           LEFT JOIN agent_directory a ON a.client_id = c.id AND a.state = 'active'
           WHERE ($1::text IS NULL OR strpos(lower(c.name), lower($1)) > 0)
             AND ($2::text IS NULL OR (lower(c.name), c.id) > ($2, $3))
           GROUP BY c.id ORDER BY lower(c.name), c.id LIMIT $4"#,
        search,
        after_name,
        after_id,
        limit
    );
    Ok(clients.fetch_all(tx.conn()).await?)
}

pub async fn get_client<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Option<Client>, Error> {
    let client = sqlx::query_as!(
        Client,
        r#"SELECT c.id, c.name, c.created_at,
             (SELECT count(*) FROM sites s WHERE s.client_id = c.id) AS "sites_total!",
             count(a.id) AS "agents_total!", count(a.id) FILTER (WHERE a.is_connected) AS "agents_online!"
           FROM clients c
           LEFT JOIN agent_directory a ON a.client_id = c.id AND a.state = 'active'
           WHERE c.id = $1 GROUP BY c.id"#,
        id
    );
    Ok(client.fetch_optional(tx.conn()).await?)
}

pub async fn insert_client<P>(tx: &mut Tx<P>, id: Uuid, tenant: Uuid, name: &str) -> Result<(), Error> {
    sqlx::query!("INSERT INTO clients (id, tenant_id, name) VALUES ($1, $2, $3)", id, tenant, name)
        .execute(tx.conn())
        .await?;
    Ok(())
}

pub async fn rename_client<P>(tx: &mut Tx<P>, id: Uuid, name: &str) -> Result<(), Error> {
    sqlx::query!("UPDATE clients SET name = $2 WHERE id = $1", id, name).execute(tx.conn()).await?;
    Ok(())
}

pub async fn delete_client<P>(tx: &mut Tx<P>, id: Uuid) -> Result<(), Error> {
    sqlx::query!("DELETE FROM clients WHERE id = $1", id).execute(tx.conn()).await?;
    Ok(())
}
