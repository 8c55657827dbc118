//! What is read or written before a partner is known. Each goes through one of the functions of migration
//! 0003 and later ones, which run as the owner and answer ids, digests and little else. This list is the whole list.

use super::Db;
use super::begin::begin;
use crate::auth::Scope;
use crate::auth::credential::{Session, SessionKind};
use crate::auth::permission::Role;
use crate::auth::scope::{Confinement, Lane};
use crate::chain::Head;
use crate::error::Error;
use crate::follow::Standing;
use chrono::{DateTime, TimeDelta, Utc};
use ipnet::IpNet;
use sqlx::AssertSqlSafe;
use sqlx::postgres::types::PgInterval;
use uuid::Uuid;

/// What sign-in needs of an account.
pub struct LoginLookup {
    pub user_id: Uuid,
    /// Absent while the invitation is open.
    pub password_hash: Option<String>,
    pub is_active: bool,
}

/// Whose invitation a token is.
pub struct InvitationLookup {
    pub invitation_id: Uuid,
    pub tenant_id: Uuid,
    pub user_id: Uuid,
}

/// The key an enrollment names, not yet verified.
pub struct EnrollmentKeyLookup {
    pub key_id: Uuid,
    pub tenant_id: Uuid,
    pub client_id: Uuid,
    pub site_id: Uuid,
    pub key_hash: String,
    pub approval_required: bool,
}

/// Where a site code points.
pub struct SiteLookup {
    pub tenant_id: Uuid,
    pub client_id: Uuid,
    pub site_id: Uuid,
}

/// An agent's credential and place.
pub struct AgentLookup {
    pub tenant_id: Uuid,
    pub client_id: Uuid,
    pub site_id: Uuid,
    pub num: i64,
    pub state: String,
    pub key_digest: Vec<u8>,
    pub digest_key_id: String,
    pub retention_days: i16,
}

/// How a node does.
#[derive(Debug, Clone, Copy, Default)]
pub struct NodeFigures {
    pub agents: i64,
    pub browsers: i64,
    pub samples_per_minute: i64,
    pub queue_depth: i64,
    pub lag_ms: i64,
}

impl Db {
    /// Protocol versions that are not spoken any more.
    pub async fn retired_protocols(&self) -> Result<Vec<String>, Error> {
        let retired = sqlx::query_scalar!(r#"SELECT version AS "version!" FROM list_retired_protocols()"#);
        Ok(retired.fetch_all(&self.background).await?)
    }

    /// The record that sends agents elsewhere, if one stands.
    pub(crate) async fn standing_follow_record(&self) -> Result<Option<Standing>, Error> {
        let standing = sqlx::query_as!(
            Standing,
            r#"SELECT serial AS "serial!", server_url AS "server_url!", ca_fingerprint, not_before AS "not_before!",
                 expires_at AS "expires_at!", record AS "record!", signature AS "signature!", set_at AS "set_at!",
                 set_by AS "set_by!" FROM standing_follow_record()"#
        );
        Ok(standing.fetch_optional(&self.background).await?)
    }

    /// Whether nobody has an account yet.
    pub async fn setup_is_open(&self) -> Result<bool, Error> {
        Ok(sqlx::query_scalar!(r#"SELECT setup_is_open() AS "open!""#).fetch_one(&self.operators).await?)
    }

    /// Puts the one setup token in place; nothing once setup is over.
    pub async fn setup_put_token(&self, digest: &[u8], lifetime: TimeDelta) -> Result<(), Error> {
        sqlx::query!("SELECT setup_put_token($1, $2)", digest, interval(lifetime))
            .execute(&self.operators)
            .await?;
        Ok(())
    }

    /// Whether the token would be taken now.
    pub async fn setup_token_is_valid(&self, digest: &[u8]) -> Result<bool, Error> {
        let valid = sqlx::query_scalar!(r#"SELECT setup_token_is_valid($1) AS "valid!""#, digest);
        Ok(valid.fetch_one(&self.operators).await?)
    }

    /// The account behind an e-mail address, for sign-in.
    pub async fn lookup_login(&self, email: &str) -> Result<Option<LoginLookup>, Error> {
        let row = sqlx::query!(
            r#"SELECT user_id AS "user_id!", password_hash, status AS "status!" FROM lookup_login($1)"#,
            email
        )
        .fetch_optional(&self.operators)
        .await?;
        Ok(row.map(|row| LoginLookup {
            user_id: row.user_id,
            password_hash: row.password_hash,
            is_active: row.status == "active",
        }))
    }

    /// The live session of a token's digest.
    pub async fn lookup_session(&self, digest: &[u8]) -> Result<Option<Session>, Error> {
        let row = sqlx::query!(
            r#"SELECT session_id AS "session_id!", user_id AS "user_id!", user_name AS "user_name!", kind AS "kind!",
                 tenant_id, is_platform_admin AS "is_platform_admin!", role, client_ids AS "client_ids!",
                 site_ids AS "site_ids!", parent_client_ids AS "parent_client_ids!", expires_at AS "expires_at!",
                 last_used_at AS "last_used_at!"
               FROM lookup_session($1)"#,
            digest
        )
        .fetch_optional(&self.operators)
        .await?;
        Ok(row.map(|row| Session {
            session_id: row.session_id,
            user_id: row.user_id,
            user_name: row.user_name,
            kind: if row.kind == SessionKind::Api.as_str() {
                SessionKind::Api
            } else {
                SessionKind::Dashboard
            },
            tenant_id: row.tenant_id,
            is_platform_admin: row.is_platform_admin,
            role: row.role.as_deref().and_then(Role::parse),
            confinement: Confinement {
                client_ids: row.client_ids,
                site_ids: row.site_ids,
                parent_client_ids: row.parent_client_ids,
            },
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
        }))
    }

    /// Notes that a session was used, which lets it live on: 12 idle hours and 7 days in all for the dashboard's, 30
    /// idle days and a year in all for the API's.
    pub async fn touch_session(&self, session_id: Uuid, user_id: Uuid) -> Result<(), Error> {
        // An id, and nothing else.
        let statement = format!("SELECT set_config('app.user_id', '{user_id}', true); BEGIN");
        let mut tx = begin(&self.operators, AssertSqlSafe(statement)).await?;
        sqlx::query!(
            "UPDATE sessions SET last_used_at = now(), expires_at = CASE kind
               WHEN 'dashboard' THEN least(now() + interval '12 hours', created_at + interval '7 days')
               ELSE least(now() + interval '30 days', created_at + interval '365 days') END
             WHERE id = $1",
            session_id
        )
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// Puts a single-use ticket for a browser's WebSocket in place.
    pub async fn put_live_ticket<P>(
        &self,
        scope: &Scope<P>,
        digest: &[u8],
        lifetime: TimeDelta,
    ) -> Result<(), Error> {
        sqlx::query!("SELECT put_live_ticket($1, $2, $3)", digest, scope.session_id, interval(lifetime))
            .execute(&self.operators)
            .await?;
        Ok(())
    }

    /// Takes a ticket; the answer is its session, if that still lives, with the digest to look it up again by.
    pub async fn take_live_ticket(&self, digest: &[u8]) -> Result<Option<(Vec<u8>, Session)>, Error> {
        let token_digest =
            sqlx::query_scalar!("SELECT take_live_ticket($1)", digest).fetch_one(&self.operators).await?;
        match token_digest {
            Some(token_digest) => {
                Ok(self.lookup_session(&token_digest).await?.map(|session| (token_digest, session)))
            }
            None => Ok(None),
        }
    }

    /// The open invitation of a token's digest.
    pub async fn lookup_invitation(&self, digest: &[u8]) -> Result<Option<InvitationLookup>, Error> {
        let invitation = sqlx::query_as!(
            InvitationLookup,
            r#"SELECT invitation_id AS "invitation_id!", tenant_id AS "tenant_id!", user_id AS "user_id!"
               FROM lookup_invitation($1)"#,
            digest
        );
        Ok(invitation.fetch_optional(&self.operators).await?)
    }

    /// The account of an address, whichever partner it belongs to.
    pub async fn lookup_user_by_email(&self, email: &str) -> Result<Option<Uuid>, Error> {
        Ok(sqlx::query_scalar!("SELECT lookup_user_by_email($1)", email).fetch_one(&self.operators).await?)
    }

    /// The key a machine says it enrolls with.
    pub async fn lookup_enrollment_key(
        &self,
        site_code: &str,
        version: i32,
    ) -> Result<Option<EnrollmentKeyLookup>, Error> {
        let key = sqlx::query_as!(
            EnrollmentKeyLookup,
            r#"SELECT key_id AS "key_id!", tenant_id AS "tenant_id!", client_id AS "client_id!", site_id AS "site_id!",
                 key_hash AS "key_hash!", approval_required AS "approval_required!"
               FROM lookup_enrollment_key($1, $2)"#,
            site_code,
            version
        );
        Ok(key.fetch_optional(&self.agents).await?)
    }

    /// The site of a code.
    pub async fn lookup_site(&self, site_code: &str) -> Result<Option<SiteLookup>, Error> {
        let site = sqlx::query_as!(
            SiteLookup,
            r#"SELECT tenant_id AS "tenant_id!", client_id AS "client_id!", site_id AS "site_id!" FROM lookup_site($1)"#,
            site_code
        );
        Ok(site.fetch_optional(&self.agents).await?)
    }

    /// The credential of an agent that is neither revoked nor of a suspended partner.
    pub async fn lookup_agent(&self, agent_id: Uuid) -> Result<Option<AgentLookup>, Error> {
        let agent = sqlx::query_as!(
            AgentLookup,
            r#"SELECT tenant_id AS "tenant_id!", client_id AS "client_id!", site_id AS "site_id!", num AS "num!",
                 state AS "state!", key_digest AS "key_digest!", digest_key_id AS "digest_key_id!",
                 retention_days AS "retention_days!"
               FROM lookup_agent($1)"#,
            agent_id
        );
        Ok(agent.fetch_optional(&self.agents).await?)
    }

    /// The agent that another id turned out to be.
    pub async fn lookup_agent_alias(&self, alias: Uuid) -> Result<Option<Uuid>, Error> {
        Ok(sqlx::query_scalar!("SELECT lookup_agent_alias($1)", alias).fetch_one(&self.agents).await?)
    }

    /// All partners, for background work that goes through them one at a time.
    pub async fn list_tenants(&self) -> Result<Vec<Uuid>, Error> {
        Ok(sqlx::query_scalar!(r#"SELECT list_tenants() AS "id!""#).fetch_all(&self.background).await?)
    }

    /// How far every chain of entries is.
    pub async fn chain_heads(&self) -> Result<Vec<Head>, Error> {
        let heads = sqlx::query_as!(
            Head,
            r#"SELECT chain AS "chain!", tenant_id AS "tenant!", seq AS "seq!", hash AS "hash!" FROM chain_heads()"#
        );
        Ok(heads.fetch_all(&self.background).await?)
    }

    /// This node starts: nobody is connected to it yet, whatever it left behind.
    pub async fn node_started(&self, node_id: Uuid, name: &str, reach: &str) -> Result<(), Error> {
        let version = env!("CARGO_PKG_VERSION");
        sqlx::query!("SELECT node_started($1, $2, $3, $4)", node_id, name, version, reach)
            .execute(&self.background)
            .await?;
        Ok(())
    }

    /// This node lives, and how it does. `true`: the others had given it up, and said that its agents were offline; `None`:
    /// nobody knows it any more.
    pub async fn node_lives(
        &self,
        node_id: Uuid,
        reach: &str,
        figures: NodeFigures,
    ) -> Result<Option<bool>, Error> {
        let NodeFigures { agents, browsers, samples_per_minute, queue_depth, lag_ms } = figures;
        let lives = sqlx::query_scalar!(
            "SELECT node_lives($1, $2, $3, $4, $5, $6, $7)",
            node_id,
            reach,
            agents,
            browsers,
            samples_per_minute,
            queue_depth,
            lag_ms
        );
        Ok(lives.fetch_one(&self.background).await?)
    }

    /// This node stops in order.
    pub async fn node_stopped(&self, node_id: Uuid) -> Result<(), Error> {
        sqlx::query!("SELECT node_stopped($1)", node_id).execute(&self.background).await?;
        Ok(())
    }

    /// Gives up nodes that were silent for so long. Answers partners and nodes for whom agents are still said to be
    /// connected to a node that is gone.
    pub async fn give_up_nodes(&self, silent_for: TimeDelta) -> Result<Vec<(Uuid, Uuid)>, Error> {
        let left = sqlx::query!(
            r#"SELECT tenant_id AS "tenant_id!", node_id AS "node_id!" FROM give_up_nodes($1)"#,
            interval(silent_for)
        );
        let left = left.fetch_all(&self.background).await?;
        Ok(left.into_iter().map(|left| (left.tenant_id, left.node_id)).collect())
    }

    /// Which of these agents' sessions, by their epochs, are not the living ones.
    pub async fn stale_sessions(&self, agent_ids: &[Uuid], epochs: &[i64]) -> Result<Vec<Uuid>, Error> {
        let stale = sqlx::query_scalar!(r#"SELECT stale_sessions($1, $2) AS "agent_id!""#, agent_ids, epochs);
        Ok(stale.fetch_all(&self.background).await?)
    }

    /// Removes what nobody will ask for again.
    pub async fn prune_expired(&self) -> Result<(), Error> {
        sqlx::query!("SELECT prune_expired()").execute(&self.background).await?;
        Ok(())
    }

    /// Makes partitions for a span of time; answers how many were missing.
    pub async fn ensure_metric_partitions(
        &self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<i32, Error> {
        let made = sqlx::query_scalar!(r#"SELECT ensure_metric_partitions($1, $2) AS "made!""#, from, to);
        Ok(made.fetch_one(&self.background).await?)
    }

    /// Drops partitions past their retention; answers how many.
    pub async fn drop_expired_metric_partitions(&self, now: DateTime<Utc>) -> Result<i32, Error> {
        let dropped = sqlx::query_scalar!(r#"SELECT drop_expired_metric_partitions($1) AS "dropped!""#, now);
        Ok(dropped.fetch_one(&self.background).await?)
    }

    /// Counts a failure against a key; answers until when it is locked, if it is.
    pub async fn throttle_failure(
        &self,
        key: &[u8],
        most: i32,
        window: TimeDelta,
        lock: TimeDelta,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let until = sqlx::query_scalar!(
            "SELECT throttle_failure($1, $2, $3, $4)",
            key,
            most,
            interval(window),
            interval(lock)
        );
        Ok(until.fetch_one(&self.operators).await?)
    }

    /// Until when a key is locked, if it is.
    pub async fn throttle_locked_until(&self, key: &[u8]) -> Result<Option<DateTime<Utc>>, Error> {
        Ok(sqlx::query_scalar!("SELECT throttle_locked_until($1)", key).fetch_one(&self.operators).await?)
    }

    /// Whether this person signed in from this network lately.
    pub async fn knows_place(&self, user_id: Uuid, network: IpNet) -> Result<bool, Error> {
        let known = sqlx::query_scalar!(
            r#"SELECT knows_place($1, ($2::text)::inet) AS "known!""#,
            user_id,
            network.to_string()
        );
        Ok(known.fetch_one(&self.operators).await?)
    }

    /// Forgets a key's failures.
    pub async fn throttle_clear(&self, key: &[u8]) -> Result<(), Error> {
        sqlx::query!("SELECT throttle_clear($1)", key).execute(&self.operators).await?;
        Ok(())
    }

    /// A connection for ingest: INSERT-only rights, rows of many partners. The caller takes each row's partner
    /// from the authenticated session.
    pub async fn begin_ingest(&self) -> Result<sqlx::Transaction<'static, sqlx::Postgres>, Error> {
        Ok(begin(self.pool(Lane::Agents), "SET LOCAL ROLE gururmm_ingest; BEGIN").await?)
    }
}

fn interval(delta: TimeDelta) -> PgInterval {
    PgInterval { months: 0, days: 0, microseconds: delta.num_microseconds().unwrap_or(i64::MAX) }
}
