//! One of everything at Acme's headquarters, for attackers to reach for.

use crate::session_recordings;
use gururmm_server::auth::credential::SessionKind;
use gururmm_server::auth::password;
use gururmm_server::keys::random_token;
use gururmm_testkit::packages;
use gururmm_testkit::world::acme;
use gururmm_testkit::{SeededAgent, TestDatabase, TestServer, logs};
use sqlx::{AssertSqlSafe, PgConnection};
use std::collections::BTreeMap;
use tokio::sync::OnceCell;
use uuid::Uuid;

/// What a route's path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    /// The route names nothing.
    None,
    /// Acme's client Alpha.
    Client,
    /// Acme's client that has no sites, so that it can be deleted.
    EmptyClient,
    /// Alpha's site HQ.
    Site,
    /// A site of Alpha without machines.
    EmptySite,
    Agent,
    /// A machine that waits for approval.
    PendingAgent,
    /// A machine that was retired.
    RetiredAgent,
    Command,
    Alert,
    EnrollmentKey,
    /// A tunnel session of the tech.
    Tunnel,
    /// The recording of that session.
    Recording,
    /// A log of the machine's agent.
    AgentLog,
    /// A crash of the machine's agent.
    AgentCrash,
    /// An alert that is over.
    ResolvedAlert,
    Rollout,
    /// The tech.
    User,
    /// Someone who has not accepted yet.
    InvitedUser,
    /// The partner itself.
    Partner,
    /// A session of whoever is right for the route.
    OwnSession,
}

/// A server with one of everything.
pub struct Fixture {
    pub server: TestServer,
    pub owner: PgConnection,
    pub agent: SeededAgent,
    pub pending_agent: SeededAgent,
    pub retired_agent: SeededAgent,
    /// A machine of Globex's headquarters.
    pub foreign_agent: SeededAgent,
    pub enrollment_secret: String,
    pub reader_session: Uuid,
    _agent_binary: tempfile::NamedTempFile,
    _packages: tempfile::TempDir,
    empty_client: Uuid,
    empty_site: Uuid,
    command: Uuid,
    alert: Uuid,
    enrollment_key: Uuid,
    tunnel: Uuid,
    agent_log: Uuid,
    agent_crash: Uuid,
    resolved_alert: Uuid,
    rollout: Uuid,
}

impl Fixture {
    /// All tables that a call may change.
    pub const TABLES: &[&str] = &[
        "agent_crashes",
        "agent_follows",
        "agent_log_parts",
        "agent_logs",
        "agent_status",
        "agent_uninstalls",
        "agent_update_abilities",
        "agent_updates",
        "agents",
        "alerts",
        "audit_heads",
        "audit_log",
        "clients",
        "command_output",
        "commands",
        "enrollment_keys",
        "events",
        "follow_records",
        "install_reports",
        "invitations",
        "live_tickets",
        "memberships",
        "metric_hours",
        "metric_rollups",
        "metric_samples",
        "partners",
        "policies",
        "recording_entries",
        "recording_heads",
        "recording_lines",
        "recordings",
        "sessions",
        "setup_tokens",
        "sites",
        "tunnel_sessions",
        "update_rollout_members",
        "update_rollouts",
        "users",
    ];

    /// Starts a server and makes them.
    pub async fn new() -> Self {
        let agent_binary = tempfile::NamedTempFile::new().unwrap();
        let packages = packages::lay_down();
        let dist = packages.path().to_owned();
        let server = TestServer::start_with(TestDatabase::with_world().await, |options| {
            options.agent_binary = Some(agent_binary.path().to_owned());
            options.dist = Some(dist);
        })
        .await;
        let mut owner = server.owner().await;
        let agent = server.seed_agent(&acme::HQ, "hq-server").await;
        let pending_agent = server.seed_agent(&acme::HQ, "hq-newcomer").await;
        let retired_agent = server.seed_agent(&acme::HQ, "hq-retired").await;
        let foreign_agent = server.seed_agent(&gururmm_testkit::world::globex::HQ, "globex-server").await;
        let (enrollment_secret, hash) = enrollment_key().await;
        logs::keep_secret(&enrollment_secret);
        let reader_session = server.session_of(&acme::READER, SessionKind::Dashboard).await.id;
        let [
            empty_client,
            empty_site,
            command,
            alert,
            enrollment_key,
            tunnel,
            agent_log,
            agent_crash,
            resolved_alert,
            rollout,
        ] = [(); 10].map(|()| Uuid::now_v7());
        let (tenant, client, site) = (acme::PARTNER.id, acme::ALPHA.id, acme::HQ.id);
        let (machine, tech) = (agent.id, acme::TECH.id);
        for statement in [
            format!("UPDATE agents SET state = 'pending', pending_reason = 'approval_required' WHERE id = '{}'", pending_agent.id),
            format!("UPDATE agents SET state = 'retired', retired_at = now() WHERE id = '{}'", retired_agent.id),
            format!("INSERT INTO clients (id, tenant_id, name) VALUES ('{empty_client}', '{tenant}', 'Empty client')"),
            format!("INSERT INTO sites (id, tenant_id, client_id, name, code)
                     VALUES ('{empty_site}', '{tenant}', '{client}', 'Empty site', 'EMPTY1')"),
            format!("INSERT INTO commands (id, tenant_id, client_id, site_id, agent_id, command_type, command, context,
                       timeout_seconds, status, created_by, expires_at)
                     VALUES ('{command}', '{tenant}', '{client}', '{site}', '{machine}', 'shell', 'uptime', 'system', 60,
                       'queued', '{tech}', now() + interval '1 day')"),
            format!("INSERT INTO command_output (tenant_id, command_id, seq, stream, data)
                     VALUES ('{tenant}', '{command}', 1, 'stdout', 'up 3 days')"),
            format!("INSERT INTO alerts (id, tenant_id, client_id, site_id, agent_id, kind, severity, title, dedup_key)
                     VALUES ('{alert}', '{tenant}', '{client}', '{site}', '{machine}', 'agent_pending', 'info', 'Waits', 'x')"),
            format!("INSERT INTO alerts (id, tenant_id, client_id, site_id, agent_id, kind, severity, title, dedup_key, status,
                       resolved_at)
                     VALUES ('{resolved_alert}', '{tenant}', '{client}', '{site}', '{machine}', 'agent_pending', 'info', 'Waited',
                       'y', 'resolved', now())"),
            format!("INSERT INTO update_rollouts (id, tenant_id, version, state, ring, ring_since, started_at, changed_at)
                     VALUES ('{rollout}', '{tenant}', '0.2.0', 'running', 0, now(), now(), now())"),
            format!("INSERT INTO agent_logs (id, tenant_id, agent_id, status, requested_at, expires_at, ended_at)
                     VALUES ('{agent_log}', '{tenant}', '{machine}', 'complete', now(), now(), now())"),
            format!("INSERT INTO agent_log_parts (tenant_id, log_id, seq, data) VALUES ('{tenant}', '{agent_log}', 1, 'x')"),
            format!("INSERT INTO agent_crashes (id, tenant_id, agent_id, crash_id, cause, crashed_at, received_at,
                       agent_version, log)
                     VALUES ('{agent_crash}', '{tenant}', '{machine}', '{agent_crash}', 'killed', now(), now(), '0.1.0', 'x')"),
            format!("INSERT INTO enrollment_keys (id, tenant_id, client_id, site_id, kind, version, fingerprint, key_hash)
                     VALUES ('{enrollment_key}', '{tenant}', '{client}', '{site}', 'standing', 1, '7F2A', '{hash}')"),
            format!("INSERT INTO tunnel_sessions (id, tenant_id, client_id, site_id, agent_id, tech_id, status)
                     VALUES ('{tunnel}', '{tenant}', '{client}', '{site}', '{machine}', '{tech}', 'active')"),
            format!("INSERT INTO metric_samples (tenant_id, agent_num, taken_at, retention_days, interval_seconds,
                       cpu_percent, memory_used_bytes, memory_total_bytes, swap_used_bytes, swap_total_bytes, rx_bytes,
                       tx_bytes, uptime_seconds, process_count, cpu_count, disks, processes)
                     VALUES ('{tenant}', {}, now(), 90, 60, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, '[]', '{{\"cpu\": [], \"memory\": []}}')",
                    agent.num),
        ] {
            sqlx::query(AssertSqlSafe(statement.clone())).execute(&mut owner).await
                .unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        session_recordings::record(&server, &agent, tunnel).await;
        Self {
            server,
            owner,
            agent,
            pending_agent,
            retired_agent,
            foreign_agent,
            enrollment_secret,
            reader_session,
            _agent_binary: agent_binary,
            _packages: packages,
            empty_client,
            empty_site,
            command,
            alert,
            enrollment_key,
            tunnel,
            agent_log,
            agent_crash,
            resolved_alert,
            rollout,
        }
    }

    /// The id of an object.
    pub fn id(&self, object: Object) -> Uuid {
        match object {
            Object::None => Uuid::nil(),
            Object::Client => acme::ALPHA.id,
            Object::EmptyClient => self.empty_client,
            Object::Site => acme::HQ.id,
            Object::EmptySite => self.empty_site,
            Object::Agent => self.agent.id,
            Object::PendingAgent => self.pending_agent.id,
            Object::RetiredAgent => self.retired_agent.id,
            Object::Command => self.command,
            Object::Alert => self.alert,
            Object::EnrollmentKey => self.enrollment_key,
            Object::Tunnel | Object::Recording => self.tunnel,
            Object::AgentLog => self.agent_log,
            Object::AgentCrash => self.agent_crash,
            Object::ResolvedAlert => self.resolved_alert,
            Object::Rollout => self.rollout,
            Object::User => acme::TECH.id,
            Object::InvitedUser => acme::INVITED.id,
            Object::Partner => acme::PARTNER.id,
            Object::OwnSession => self.reader_session,
        }
    }

    /// Ids that only those who see Acme's headquarters may ever be told.
    pub fn ids_at_headquarters(&self) -> Vec<Uuid> {
        let here = [
            Object::Site,
            Object::Agent,
            Object::PendingAgent,
            Object::RetiredAgent,
            Object::Command,
            Object::Alert,
            Object::EnrollmentKey,
            Object::Tunnel,
            Object::AgentLog,
            Object::AgentCrash,
        ];
        here.map(|object| self.id(object)).to_vec()
    }

    /// Ids that only Acme's people may ever be told.
    pub fn ids_of_acme(&self) -> Vec<Uuid> {
        let mut ids = self.ids_at_headquarters();
        ids.extend([acme::PARTNER.id, self.empty_client, self.empty_site]);
        ids.extend(acme::CLIENTS.iter().map(|client| client.id));
        ids.extend(acme::SITES.iter().map(|site| site.id));
        ids.extend(acme::PEOPLE.iter().map(|person| person.id));
        ids
    }

    /// A digest of every table: what a refused call must leave as it was. Left out is what a call may touch by being
    /// made at all: brakes on guessing, and when a session was last used.
    pub async fn digest(&mut self) -> BTreeMap<String, String> {
        let parts = Self::TABLES.iter().map(|table| {
            format!(
                "SELECT '{table}', coalesce(md5(string_agg(row, '|' ORDER BY row)), '') FROM
                   (SELECT (to_jsonb(t) - 'last_used_at')::text AS row FROM {table} t) AS rows"
            )
        });
        let query = parts.collect::<Vec<_>>().join(" UNION ALL ");
        let rows: Vec<(String, String)> =
            sqlx::query_as(AssertSqlSafe(query)).fetch_all(&mut self.owner).await.unwrap();
        rows.into_iter().collect()
    }
}

/// A secret and its hash, made once: hashing is slow on purpose.
async fn enrollment_key() -> (String, String) {
    static KEY: OnceCell<(String, String)> = OnceCell::const_new();
    let make = async || {
        let secret = random_token("gek_1_").to_string();
        let hash = password::hash(&secret).await.unwrap();
        (secret, hash)
    };
    KEY.get_or_init(make).await.clone()
}
