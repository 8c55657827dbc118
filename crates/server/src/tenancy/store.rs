//! SQL of the hierarchy. Row-level security confines every query to the transaction's partner.

use super::partners::{Partner, RecordingWishes, TreeSite};
use super::sites::{Site, SiteFilter};
use super::{Client, ClientFilter};
use crate::db::Tx;
use crate::error::Error;
use crate::recordings::Afterwards;
use uuid::Uuid;

/// Most clients, and most sites, of one tree: beyond that people use the searchable lists.
const MAX_TREE_ROWS: i64 = 10_000;

pub async fn count_clients<P>(tx: &mut Tx<P>, filter: &ClientFilter<'_>) -> Result<i64, Error> {
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "total!" FROM clients WHERE $1::text IS NULL OR strpos(lower(name), lower($1)) > 0"#,
        filter.search
    );
    Ok(total.fetch_one(tx.conn()).await?)
}

/// Clients by name: those after a place in the list, or the one of an id.
pub async fn list_clients<P>(
    tx: &mut Tx<P>,
    filter: &ClientFilter<'_>,
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
           WHERE ($1::uuid IS NULL OR c.id = $1)
             AND ($2::text IS NULL OR strpos(lower(c.name), lower($2)) > 0)
             AND ($3::text IS NULL OR (lower(c.name), c.id) > ($3, $4))
           GROUP BY c.id ORDER BY lower(c.name), c.id LIMIT $5"#,
        filter.id,
        filter.search,
        after_name,
        after_id,
        limit
    );
    Ok(clients.fetch_all(tx.conn()).await?)
}

pub async fn get_client<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Option<Client>, Error> {
    let filter = ClientFilter { id: Some(id), ..ClientFilter::default() };
    Ok(list_clients(tx, &filter, None, 1).await?.pop())
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

pub struct NewSite<'a> {
    pub id: Uuid,
    pub tenant: Uuid,
    pub client_id: Uuid,
    pub name: &'a str,
    pub code: &'a str,
    pub approval_required: bool,
}

/// False when the code is taken.
pub async fn insert_site<P>(tx: &mut Tx<P>, site: &NewSite<'_>) -> Result<bool, Error> {
    let inserted = sqlx::query!(
        "INSERT INTO sites (id, tenant_id, client_id, name, code, approval_required) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT ON CONSTRAINT sites_code_key DO NOTHING",
        site.id,
        site.tenant,
        site.client_id,
        site.name,
        site.code,
        site.approval_required
    )
    .execute(tx.conn())
    .await?;
    Ok(inserted.rows_affected() == 1)
}

pub async fn count_sites<P>(tx: &mut Tx<P>, filter: &SiteFilter<'_>) -> Result<i64, Error> {
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "total!" FROM sites
           WHERE ($1::text IS NULL OR strpos(lower(name), lower($1)) > 0) AND ($2::uuid IS NULL OR client_id = $2)"#,
        filter.search,
        filter.client_id
    );
    Ok(total.fetch_one(tx.conn()).await?)
}

/// Sites by name: those after a place in the list, or the one of an id.
pub async fn list_sites<P>(
    tx: &mut Tx<P>,
    filter: &SiteFilter<'_>,
    after: Option<(String, Uuid)>,
    limit: i64,
) -> Result<Vec<Site>, Error> {
    let (after_name, after_id) = after.unzip();
    let sites = sqlx::query_as!(
        Site,
        r#"SELECT s.id, s.client_id, c.name AS client_name, s.name, s.code, s.approval_required, s.created_at,
             count(a.id) AS "agents_total!", count(a.id) FILTER (WHERE a.is_connected) AS "agents_online!"
           FROM sites s
           JOIN clients c ON c.id = s.client_id
           LEFT JOIN agent_directory a ON a.site_id = s.id AND a.state = 'active'
           WHERE ($1::uuid IS NULL OR s.id = $1)
             AND ($2::text IS NULL OR strpos(lower(s.name), lower($2)) > 0)
             AND ($3::uuid IS NULL OR s.client_id = $3)
             AND ($4::text IS NULL OR (lower(s.name), s.id) > ($4, $5))
           GROUP BY s.id, c.name ORDER BY lower(s.name), s.id LIMIT $6"#,
        filter.id,
        filter.search,
        filter.client_id,
        after_name,
        after_id,
        limit
    );
    Ok(sites.fetch_all(tx.conn()).await?)
}

pub async fn get_site<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Option<Site>, Error> {
    let filter = SiteFilter { id: Some(id), ..SiteFilter::default() };
    Ok(list_sites(tx, &filter, None, 1).await?.pop())
}

pub async fn update_site<P>(tx: &mut Tx<P>, site: &Site) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE sites SET name = $2, approval_required = $3 WHERE id = $1",
        site.id,
        site.name,
        site.approval_required
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

pub async fn delete_site<P>(tx: &mut Tx<P>, id: Uuid) -> Result<(), Error> {
    sqlx::query!("DELETE FROM sites WHERE id = $1", id).execute(tx.conn()).await?;
    Ok(())
}

pub async fn insert_partner<P>(tx: &mut Tx<P>, id: Uuid, name: &str) -> Result<(), Error> {
    sqlx::query!("INSERT INTO partners (id, name) VALUES ($1, $2)", id, name).execute(tx.conn()).await?;
    Ok(())
}

pub async fn get_partner<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Option<Partner>, Error> {
    let partner = sqlx::query_as!(
        Partner,
        r#"SELECT id, name, retention_days, recordings_are_indexed, recordings_afterwards AS "recordings_afterwards: Afterwards",
             created_at
           FROM partners WHERE id = $1"#,
        id
    );
    Ok(partner.fetch_optional(tx.conn()).await?)
}

pub async fn hold_retention_days<P>(tx: &mut Tx<P>) -> Result<Option<i16>, Error> {
    let tenant = tx.tenant()?;
    let days = sqlx::query_scalar!("SELECT retention_days FROM partners WHERE id = $1 FOR SHARE", tenant);
    Ok(days.fetch_optional(tx.conn()).await?)
}

pub async fn hold_recording_wishes<P>(tx: &mut Tx<P>) -> Result<Option<RecordingWishes>, Error> {
    let tenant = tx.tenant()?;
    let wishes = sqlx::query_as!(
        RecordingWishes,
        r#"SELECT retention_days, recordings_are_indexed AS are_indexed,
             recordings_afterwards AS "afterwards: Afterwards"
           FROM partners WHERE id = $1 FOR SHARE"#,
        tenant
    );
    Ok(wishes.fetch_optional(tx.conn()).await?)
}

pub async fn update_partner<P>(tx: &mut Tx<P>, partner: &Partner) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE partners SET name = $2, retention_days = $3, recordings_are_indexed = $4, recordings_afterwards = $5
         WHERE id = $1",
        partner.id,
        partner.name,
        partner.retention_days,
        partner.recordings_are_indexed,
        partner.recordings_afterwards.as_str()
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

pub async fn tree_clients<P>(tx: &mut Tx<P>) -> Result<Vec<(Uuid, String)>, Error> {
    let rows = sqlx::query!("SELECT id, name FROM clients ORDER BY lower(name), id LIMIT $1", MAX_TREE_ROWS)
        .fetch_all(tx.conn())
        .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.name)).collect())
}

pub async fn tree_sites<P>(tx: &mut Tx<P>) -> Result<Vec<TreeSite>, Error> {
    let sites = list_sites(tx, &SiteFilter::default(), None, MAX_TREE_ROWS).await?;
    Ok(sites.into_iter().map(TreeSite::from).collect())
}

pub async fn all_exist<P>(tx: &mut Tx<P>, client_ids: &[Uuid], site_ids: &[Uuid]) -> Result<bool, Error> {
    let all = sqlx::query_scalar!(
        r#"SELECT NOT EXISTS (SELECT unnest($1::uuid[]) EXCEPT SELECT id FROM clients)
             AND NOT EXISTS (SELECT unnest($2::uuid[]) EXCEPT SELECT id FROM sites) AS "all!""#,
        client_ids,
        site_ids
    );
    Ok(all.fetch_one(tx.conn()).await?)
}

pub async fn count_partners<P>(tx: &mut Tx<P>) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!(r#"SELECT count(*) AS "total!" FROM partners"#).fetch_one(tx.conn()).await?)
}

pub async fn list_partners<P>(
    tx: &mut Tx<P>,
    after: Option<(String, Uuid)>,
    limit: i64,
) -> Result<Vec<Partner>, Error> {
    let (after_name, after_id) = after.unzip();
    let partners = sqlx::query_as!(
        Partner,
        r#"SELECT id, name, retention_days, recordings_are_indexed, recordings_afterwards AS "recordings_afterwards: Afterwards",
             created_at
           FROM partners
           WHERE $1::text IS NULL OR (lower(name), id) > ($1, $2) ORDER BY lower(name), id LIMIT $3"#,
        after_name,
        after_id,
        limit
    );
    Ok(partners.fetch_all(tx.conn()).await?)
}
