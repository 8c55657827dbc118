//! Row-level security, whole: every relation of the schema is classified here, and held to what its class
//! promises. A migration that adds a table fails the build until it is named in [`CATALOGUE`].

mod fill;
mod isolation;
mod pool;
mod shape;

/// What a relation holds, and so what must hold for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Rows of one partner each, named in a column of their own. `Confined`: a member who is confined to some
    /// clients and sites sees those rows only.
    Tenant(Reach),
    /// Rows that belong to whoever sees the parent's row.
    ChildOf(&'static str, Reach),
    /// People, who may work for several partners: seen by those partners and by themselves.
    Person,
    /// Touched by the owner's functions only; the application has no rights on it.
    System,
    /// A part of a partitioned table: nobody has rights on it by its own name.
    PartitionOf(&'static str),
    /// Runs with the reader's own rights.
    View,
}

/// How far a confined member sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Only what stands in the clients and sites of the membership.
    Confined,
    /// The partner's all; who is confined is kept away by permission (`Needs::UnconfinedMember`), or needs it all
    /// (policies are inherited downwards).
    WholePartner,
}

use Class::{ChildOf, PartitionOf, Person, System, Tenant, View};
use Reach::{Confined, WholePartner};

/// Every relation in `public`. Monthly, weekly and daily partitions of samples and history are named by their prefix.
const CATALOGUE: &[(&str, Class)] = &[
    ("_sqlx_migrations", System),
    ("agent_aliases", ChildOf("agents", Confined)),
    ("agent_builds", View),
    ("agent_connection_history", View),
    ("agent_connections", ChildOf("agents", Confined)),
    ("agent_crash_directory", View),
    ("agent_crashes", ChildOf("agents", Confined)),
    ("agent_directory", View),
    ("agent_follows", ChildOf("agents", Confined)),
    ("agent_log_parts", ChildOf("agent_logs", Confined)),
    ("agent_logs", ChildOf("agents", Confined)),
    ("agent_status", ChildOf("agents", Confined)),
    ("agent_uninstalls", ChildOf("agents", Confined)),
    ("agent_update_abilities", ChildOf("agents", Confined)),
    ("agent_updates", ChildOf("agents", Confined)),
    ("agents", Tenant(Confined)),
    ("alerts", Tenant(Confined)),
    ("audit_heads", System),
    ("audit_log", Tenant(WholePartner)),
    ("auth_throttle", System),
    ("client_directory", View),
    ("clients", Tenant(Confined)),
    ("command_output", ChildOf("commands", Confined)),
    ("commands", Tenant(Confined)),
    ("enrollment_key_directory", View),
    ("enrollment_keys", Tenant(Confined)),
    ("events", Tenant(WholePartner)),
    ("follow_records", System),
    ("former_agents", View),
    ("history_progress", Tenant(WholePartner)),
    ("install_reports", Tenant(Confined)),
    ("invitations", Tenant(WholePartner)),
    ("installation_keys", System),
    ("live_tickets", System),
    ("memberships", Tenant(WholePartner)),
    ("metric_hours", Tenant(Confined)),
    ("metric_hours_1095", PartitionOf("metric_hours")),
    ("metric_hours_30", PartitionOf("metric_hours")),
    ("metric_hours_365", PartitionOf("metric_hours")),
    ("metric_hours_90", PartitionOf("metric_hours")),
    ("metric_rollups", Tenant(Confined)),
    ("metric_rollups_1095", PartitionOf("metric_rollups")),
    ("metric_rollups_365", PartitionOf("metric_rollups")),
    ("metric_rollups_90", PartitionOf("metric_rollups")),
    ("metric_gaps", ChildOf("agents", Confined)),
    ("metric_samples", Tenant(Confined)),
    ("metric_samples_1095", PartitionOf("metric_samples")),
    ("metric_samples_30", PartitionOf("metric_samples")),
    ("metric_samples_365", PartitionOf("metric_samples")),
    ("metric_samples_90", PartitionOf("metric_samples")),
    ("nodes", System),
    ("open_alert_counts", View),
    ("partner_directory", View),
    ("partners", Tenant(WholePartner)),
    ("people", View),
    ("policies", Tenant(WholePartner)),
    ("process_names", Tenant(WholePartner)),
    ("recording_entries", Tenant(WholePartner)),
    ("recording_heads", System),
    ("recording_lines", Tenant(WholePartner)),
    ("recordings", Tenant(WholePartner)),
    ("retired_protocols", System),
    ("sessions", Tenant(WholePartner)),
    ("setup_tokens", System),
    ("site_directory", View),
    ("sites", Tenant(Confined)),
    ("tunnel_session_ends", View),
    ("tunnel_sessions", Tenant(Confined)),
    ("update_rollout_members", ChildOf("agents", Confined)),
    ("update_rollouts", Tenant(WholePartner)),
    ("users", Person),
];

/// What the application may do to which table. Column lists are whole: what is not named cannot be changed.
const GRANTS: &[(&str, &str)] = &[
    ("agent_aliases", "INSERT SELECT"),
    ("agent_builds", "SELECT"),
    ("agent_connection_history", "SELECT"),
    ("agent_connections", "DELETE INSERT SELECT UPDATE"),
    ("agent_crash_directory", "SELECT"),
    ("agent_crashes", "DELETE INSERT SELECT"),
    ("agent_directory", "SELECT"),
    ("agent_follows", "DELETE INSERT SELECT UPDATE"),
    ("agent_log_parts", "DELETE INSERT SELECT"),
    ("agent_logs", "DELETE INSERT SELECT UPDATE"),
    ("agent_status", "DELETE INSERT SELECT UPDATE"),
    ("agent_uninstalls", "DELETE INSERT SELECT UPDATE"),
    ("agent_update_abilities", "DELETE INSERT SELECT UPDATE"),
    ("agent_updates", "DELETE INSERT SELECT UPDATE"),
    ("agents", "DELETE INSERT SELECT UPDATE"),
    ("alerts", "DELETE INSERT SELECT UPDATE"),
    ("audit_log", "SELECT"),
    ("client_directory", "SELECT"),
    ("clients", "DELETE INSERT SELECT UPDATE"),
    ("command_output", "INSERT SELECT"),
    ("commands", "DELETE INSERT SELECT UPDATE"),
    ("enrollment_key_directory", "SELECT"),
    ("enrollment_keys", "DELETE INSERT SELECT UPDATE"),
    ("events", "INSERT SELECT"),
    ("former_agents", "SELECT"),
    ("history_progress", "SELECT"),
    ("install_reports", "INSERT SELECT"),
    ("invitations", "DELETE INSERT SELECT UPDATE"),
    ("memberships", "DELETE INSERT SELECT UPDATE"),
    ("metric_hours", "SELECT"),
    ("metric_rollups", "SELECT"),
    ("metric_gaps", "DELETE INSERT SELECT UPDATE"),
    ("metric_samples", "SELECT"),
    ("open_alert_counts", "SELECT"),
    ("partner_directory", "SELECT"),
    ("partners", "INSERT SELECT UPDATE"),
    ("people", "SELECT"),
    ("policies", "DELETE INSERT SELECT UPDATE"),
    ("process_names", "SELECT"),
    ("recording_entries", "SELECT"),
    ("recording_lines", "DELETE INSERT SELECT"),
    ("recordings", "INSERT SELECT UPDATE(bytes ended_at kinds last_at segments state)"),
    ("sessions", "INSERT SELECT UPDATE(expires_at last_used_at revoked_at tenant_id)"),
    ("site_directory", "SELECT"),
    ("sites", "DELETE INSERT SELECT UPDATE"),
    ("tunnel_session_ends", "SELECT"),
    ("tunnel_sessions", "DELETE INSERT SELECT UPDATE"),
    ("update_rollout_members", "DELETE INSERT SELECT"),
    ("update_rollouts", "DELETE INSERT SELECT UPDATE"),
    ("users", "INSERT SELECT UPDATE(last_sign_in_at name password_hash status)"),
];

/// What the hat for ingest may do: add samples, and say when the last one came.
const INGEST_GRANTS: &[(&str, &str)] = &[
    ("agent_status", "SELECT(agent_id last_sample_at) UPDATE"),
    ("metric_samples", "INSERT SELECT(agent_num retention_days taken_at)"),
];

/// What the hat of the job that packs samples may do, in one partner at a time.
const HISTORY_GRANTS: &[(&str, &str)] = &[
    ("history_progress", "INSERT SELECT UPDATE"),
    ("metric_hours", "INSERT SELECT UPDATE"),
    ("metric_rollups", "INSERT SELECT UPDATE"),
    ("metric_samples", "DELETE SELECT"),
    ("process_names", "DELETE INSERT SELECT UPDATE"),
];

/// The functions that run as the owner: the only ways around row-level security.
const DEFINER_FUNCTIONS: &[&str] = &[
    "audit_append",
    "audit_verify",
    "chain_heads",
    "drop_expired_metric_partitions",
    "ensure_metric_partitions",
    "find_recordings",
    "follow_fleet",
    "give_up_nodes",
    "is_shared_account",
    "knows_place",
    "list_nodes",
    "list_retired_protocols",
    "list_tenants",
    "lookup_agent",
    "lookup_agent_alias",
    "lookup_enrollment_key",
    "lookup_invitation",
    "lookup_login",
    "lookup_session",
    "lookup_site",
    "lookup_user_by_email",
    "merge_agent_history",
    "next_follow_serial",
    "node_lives",
    "node_started",
    "node_stopped",
    "own_partners",
    "protocol_fleet",
    "prune_expired",
    "put_follow_record",
    "put_live_ticket",
    "recording_append",
    "reset_presence",
    "retire_protocol",
    "setup_first_user",
    "setup_is_open",
    "setup_put_token",
    "setup_token_is_valid",
    "stale_sessions",
    "standing_follow_record",
    "take_live_ticket",
    "throttle_clear",
    "throttle_failure",
    "throttle_locked",
    "throttle_locked_until",
    "withdraw_follow_record",
];

impl Class {
    fn reach(self) -> Option<Reach> {
        match self {
            Tenant(reach) | ChildOf(_, reach) => Some(reach),
            Person | System | PartitionOf(_) | View => None,
        }
    }
}

/// Tables the application reads: all that hold a partner's rows.
fn readable_tables() -> impl Iterator<Item = (&'static str, Class)> {
    CATALOGUE.iter().copied().filter(|(_, class)| matches!(class, Tenant(_) | ChildOf(..) | Person))
}
