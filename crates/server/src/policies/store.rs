//! SQL of policies. Every level's settings are one JSON object; a level without a row says nothing.

use super::catalogue::Settings;
use super::{Level, Policy, Source, Target};
use crate::db::{Tx, stored_as_text};
use crate::error::Error;
use serde_json::Value;
use uuid::Uuid;

stored_as_text!(Level);

/// The settings of one level, as they take part in a merge.
pub struct Layer {
    pub level: Level,
    pub client_id: Option<Uuid>,
    pub site_id: Option<Uuid>,
    pub agent_id: Option<Uuid>,
    pub tenant_id: Option<Uuid>,
    pub settings: Settings,
    pub name: Option<String>,
}

/// An agent and where it stands.
pub struct AgentPlace {
    pub id: Uuid,
    pub client_id: Uuid,
    pub site_id: Uuid,
}

impl Layer {
    /// Whether it holds for an agent of the same partner.
    pub fn covers(&self, agent: &AgentPlace) -> bool {
        match self.level {
            Level::Platform | Level::Partner => true,
            Level::Client => self.client_id == Some(agent.client_id),
            Level::Site => self.site_id == Some(agent.site_id),
            Level::Agent => self.agent_id == Some(agent.id),
        }
    }

    /// Whether it is the target's own.
    pub fn is_of(&self, target: &Target) -> bool {
        self.level == target.level && self.id().unwrap_or_default() == target.id
    }

    /// Whose it is, for people.
    pub fn source(&self) -> Source {
        Source { scope: self.level.into(), id: self.id(), name: self.name.clone() }
    }

    fn id(&self) -> Option<Uuid> {
        match self.level {
            Level::Platform => None,
            Level::Partner => self.tenant_id,
            Level::Client => self.client_id,
            Level::Site => self.site_id,
            Level::Agent => self.agent_id,
        }
    }
}

struct LayerRow {
    level: Level,
    client_id: Option<Uuid>,
    site_id: Option<Uuid>,
    agent_id: Option<Uuid>,
    tenant_id: Option<Uuid>,
    settings: Value,
    name: Option<String>,
}

impl From<LayerRow> for Layer {
    fn from(row: LayerRow) -> Self {
        let LayerRow { level, client_id, site_id, agent_id, tenant_id, settings, name } = row;
        Self { level, client_id, site_id, agent_id, tenant_id, settings: object(settings), name }
    }
}

/// What stands at these ids, if the transaction's person sees it.
pub async fn target<P>(tx: &mut Tx<P>, level: Level, id: Uuid) -> Result<Option<Target>, Error> {
    let row = sqlx::query!(
        r#"SELECT name AS "name!", client_id, site_id FROM (
             SELECT 'partner' AS level, id, name, NULL::uuid AS client_id, NULL::uuid AS site_id
               FROM partner_directory
             UNION ALL SELECT 'client', id, name, id, NULL::uuid FROM client_directory
             UNION ALL SELECT 'site', id, name, client_id, id FROM site_directory
             UNION ALL SELECT 'agent', id, hostname, client_id, site_id FROM agent_directory WHERE state <> 'rejected'
           ) AS places WHERE level = $1 AND id = $2"#,
        level.as_str(),
        id
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(row.map(|row| Target { level, id, name: row.name, client_id: row.client_id, site_id: row.site_id }))
}

pub async fn get<P>(tx: &mut Tx<P>, target: &Target) -> Result<Policy, Error> {
    let (tenant, client, site, agent) = columns(tx, target)?;
    let row = sqlx::query!(
        r#"SELECT p.settings, p.updated_at, u.name AS "updated_by_name?"
           FROM policies p LEFT JOIN people u ON u.id = p.updated_by
           WHERE p.tenant_id IS NOT DISTINCT FROM $1 AND p.client_id IS NOT DISTINCT FROM $2
             AND p.site_id IS NOT DISTINCT FROM $3 AND p.agent_id IS NOT DISTINCT FROM $4"#,
        tenant,
        client,
        site,
        agent
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(match row {
        Some(row) => Policy {
            settings: object(row.settings),
            updated_at: Some(row.updated_at),
            updated_by_name: row.updated_by_name,
        },
        None => Policy { settings: Settings::new(), updated_at: None, updated_by_name: None },
    })
}

/// The settings that stand, which nobody else changes until commit.
pub async fn lock<P>(tx: &mut Tx<P>, target: &Target) -> Result<Settings, Error> {
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
        format!("policy:{}:{}", target.level.as_str(), target.id)
    )
    .fetch_one(tx.conn())
    .await?;
    get(tx, target).await.map(|policy| policy.settings)
}

/// Merges settings into what stands; null clears.
pub async fn write<P>(tx: &mut Tx<P>, target: &Target, settings: &Settings) -> Result<(), Error> {
    let (tenant, client, site, agent) = columns(tx, target)?;
    let person = tx.actor().user_id();
    sqlx::query!(
        "INSERT INTO policies AS p (id, tenant_id, scope, client_id, site_id, agent_id, settings, updated_by)
         VALUES ($1, $2, $3, $4, $5, $6, jsonb_strip_nulls($7), $8)
         ON CONFLICT ON CONSTRAINT policies_target_key DO UPDATE SET
           settings = jsonb_strip_nulls(p.settings || $7), updated_at = now(), updated_by = $8",
        Uuid::now_v7(),
        tenant,
        target.level.as_str(),
        client,
        site,
        agent,
        Value::Object(settings.clone()),
        person
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// The layers that hold for an agent, most general first; `None` when it is not seen.
pub async fn layers_of<P>(tx: &mut Tx<P>, agent_id: Uuid) -> Result<Option<Vec<Layer>>, Error> {
    let seen = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM agent_directory WHERE id = $1 AND state <> 'rejected') AS "seen!""#,
        agent_id
    );
    if !seen.fetch_one(tx.conn()).await? {
        return Ok(None);
    }
    let rows = sqlx::query_as!(
        LayerRow,
        r#"SELECT p.scope AS "level: Level", p.client_id, p.site_id, p.agent_id, p.tenant_id, p.settings,
             CASE p.scope WHEN 'partner' THEN t.name WHEN 'client' THEN s.client_name WHEN 'site' THEN s.name
               WHEN 'agent' THEN a.hostname END AS name
           FROM agent_directory a
           JOIN site_directory s ON s.id = a.site_id
           JOIN partner_directory t ON t.id = a.tenant_id
           JOIN policies p ON p.scope = 'platform'
             OR (p.tenant_id = a.tenant_id AND (p.scope = 'partner' OR (p.scope = 'client' AND p.client_id = a.client_id)
               OR (p.scope = 'site' AND p.site_id = a.site_id) OR (p.scope = 'agent' AND p.agent_id = a.id)))
           WHERE a.id = $1
           ORDER BY array_position(ARRAY['platform', 'partner', 'client', 'site', 'agent'], p.scope)"#,
        agent_id
    );
    Ok(Some(rows.fetch_all(tx.conn()).await?.into_iter().map(Layer::from).collect()))
}

/// Every layer of the partner and the platform's, most general first.
pub async fn all_layers<P>(tx: &mut Tx<P>) -> Result<Vec<Layer>, Error> {
    let rows = sqlx::query_as!(
        LayerRow,
        r#"SELECT scope AS "level: Level", client_id, site_id, agent_id, tenant_id, settings, NULL::text AS name
           FROM policies
           ORDER BY array_position(ARRAY['platform', 'partner', 'client', 'site', 'agent'], scope)"#
    );
    Ok(rows.fetch_all(tx.conn()).await?.into_iter().map(Layer::from).collect())
}

/// Agents below the target.
pub async fn agents_below<P>(tx: &mut Tx<P>, target: &Target) -> Result<Vec<AgentPlace>, Error> {
    let agents = sqlx::query_as!(
        AgentPlace,
        r#"SELECT id AS "id!", client_id AS "client_id!", site_id AS "site_id!" FROM agent_directory
           WHERE state = 'active' AND ($1 IN ('platform', 'partner') OR ($1 = 'client' AND client_id = $2)
             OR ($1 = 'site' AND site_id = $2) OR ($1 = 'agent' AND id = $2))"#,
        target.level.as_str(),
        target.id
    );
    Ok(agents.fetch_all(tx.conn()).await?)
}

type Columns = (Option<Uuid>, Option<Uuid>, Option<Uuid>, Option<Uuid>);

/// The columns a target's row is found by: partner, client, site, agent.
fn columns<P>(tx: &Tx<P>, target: &Target) -> Result<Columns, Error> {
    let tenant = |tx: &Tx<P>| tx.tenant().map(Some);
    Ok(match target.level {
        Level::Platform => (None, None, None, None),
        Level::Partner => (tenant(tx)?, None, None, None),
        Level::Client => (tenant(tx)?, target.client_id, None, None),
        Level::Site => (tenant(tx)?, target.client_id, target.site_id, None),
        Level::Agent => (tenant(tx)?, None, None, Some(target.id)),
    })
}

pub fn object(settings: Value) -> Settings {
    match settings {
        Value::Object(settings) => settings,
        _ => Settings::new(),
    }
}
