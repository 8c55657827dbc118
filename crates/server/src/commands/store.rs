//! SQL of commands. Row-level security confines every query to the transaction's partner, and a person's to what
//! she may see.

use super::input::{CommandType, Context, Order};
use super::state::Times;
use super::{Command, CommandFilter, Locked, Status, Summary};
use crate::db::Tx;
use crate::error::Error;
use chrono::{DateTime, TimeDelta, Utc};
use gururmm_protocol::CommandId;
use gururmm_protocol::command::{CommandStart, OutputChunk};
use sqlx::types::Json;
use std::collections::BTreeMap;
use uuid::Uuid;

/// A command's agent, as the `agents` slice publishes it, and how many of its commands have not ended.
pub struct Agent {
    pub id: Uuid,
    pub client_id: Uuid,
    pub site_id: Uuid,
    pub state: String,
    pub hostname: String,
    pub open: i64,
    pub queued: i64,
    pub sent: i64,
}

/// What is written at an end.
pub struct End {
    pub exit_code: Option<i32>,
    pub error: Option<String>,
    pub error_code: Option<String>,
    /// Absent: as counted so far.
    pub stdout_bytes: Option<i64>,
    pub stderr_bytes: Option<i64>,
    pub truncated: bool,
}

pub async fn agent<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Option<Agent>, Error> {
    let agent = sqlx::query_as!(
        Agent,
        r#"SELECT a.id AS "id!", a.client_id AS "client_id!", a.site_id AS "site_id!", a.state AS "state!",
             a.hostname AS "hostname!", c.open AS "open!", c.queued AS "queued!", c.sent AS "sent!"
           FROM agent_directory a CROSS JOIN LATERAL (
             SELECT count(*) AS open, count(*) FILTER (WHERE status = 'queued') AS queued,
               count(*) FILTER (WHERE status = 'sent') AS sent
             FROM commands WHERE agent_id = a.id AND status IN ('queued', 'sent', 'running')) c
           WHERE a.id = $1"#,
        id
    );
    Ok(agent.fetch_optional(tx.conn()).await?)
}

/// A new command, which waits, or is on its way from the beginning.
pub async fn insert<P>(
    tx: &mut Tx<P>,
    agent: &Agent,
    order: &Order,
    status: Status,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
) -> Result<(), Error> {
    let sent_at = (status == Status::Sent).then_some(created_at);
    let (tenant, created_by) = (tx.tenant()?, tx.actor().user_id());
    let start = &order.start;
    sqlx::query!(
        "INSERT INTO commands (id, tenant_id, client_id, site_id, agent_id, command_type, command, interpreter, context,
           elevated, working_directory, environment, stdin, timeout_seconds, status, created_by, created_at, expires_at,
           sent_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)",
        start.command_id.0,
        tenant,
        agent.client_id,
        agent.site_id,
        agent.id,
        start.kind.as_str(),
        start.command,
        start.interpreter,
        start.context.as_str(),
        start.elevated,
        start.working_directory,
        serde_json::json!(start.environment),
        start.stdin,
        i32::try_from(start.timeout_seconds).map_err(Error::internal)?,
        status.as_str(),
        created_by,
        created_at,
        expires_at,
        sent_at,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

struct CommandRow {
    id: Uuid,
    agent_id: Uuid,
    agent_hostname: String,
    command_type: String,
    command: String,
    context: String,
    interpreter: Option<String>,
    elevated: bool,
    working_directory: Option<String>,
    timeout_seconds: i32,
    status: String,
    exit_code: Option<i32>,
    stdout_bytes: i64,
    stderr_bytes: i64,
    truncated: bool,
    error_code: Option<String>,
    error: Option<String>,
    created_by: Option<Uuid>,
    created_by_name: Option<String>,
    created_at: DateTime<Utc>,
    sent_at: Option<DateTime<Utc>>,
    started_at: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
    expires_at: DateTime<Utc>,
    cancel_requested_at: Option<DateTime<Utc>>,
}

impl TryFrom<CommandRow> for Command {
    type Error = Error;
    fn try_from(row: CommandRow) -> Result<Self, Error> {
        Ok(Self {
            command_type: CommandType::parse(&row.command_type).ok_or_else(|| unknown(&row.command_type))?,
            context: Context::parse(&row.context).ok_or_else(|| unknown(&row.context))?,
            status: status(&row.status)?,
            id: row.id,
            agent_id: row.agent_id,
            agent_hostname: row.agent_hostname,
            command: row.command,
            interpreter: row.interpreter,
            elevated: row.elevated,
            working_directory: row.working_directory,
            timeout_seconds: row.timeout_seconds,
            exit_code: row.exit_code,
            stdout: String::new(),
            stderr: String::new(),
            stdout_bytes: row.stdout_bytes,
            stderr_bytes: row.stderr_bytes,
            truncated: row.truncated,
            error_code: row.error_code,
            error: row.error,
            created_by: row.created_by,
            created_by_name: row.created_by_name,
            created_at: row.created_at,
            sent_at: row.sent_at,
            started_at: row.started_at,
            ended_at: row.ended_at,
            expires_at: row.expires_at,
            cancel_requested_at: row.cancel_requested_at,
        })
    }
}

fn status(word: &str) -> Result<Status, Error> {
    Status::parse(word).ok_or_else(|| unknown(word))
}

fn unknown(word: &str) -> Error {
    Error::internal(anyhow::anyhow!("the database holds an unknown word: {word}"))
}

pub async fn count<P>(tx: &mut Tx<P>, filter: CommandFilter) -> Result<i64, Error> {
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "total!" FROM commands
           WHERE ($1::uuid IS NULL OR agent_id = $1) AND ($2::text IS NULL OR status = $2)"#,
        filter.agent_id,
        filter.status.map(Status::as_str)
    );
    Ok(total.fetch_one(tx.conn()).await?)
}

/// Newest first.
pub async fn list<P>(
    tx: &mut Tx<P>,
    filter: CommandFilter,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Command>, Error> {
    let (after_time, after_id) = after.unzip();
    let rows = sqlx::query_as!(
        CommandRow,
        r#"SELECT c.id, c.agent_id, a.hostname AS "agent_hostname!", c.command_type, c.command, c.context,
             c.interpreter, c.elevated, c.working_directory, c.timeout_seconds, c.status, c.exit_code, c.stdout_bytes,
             c.stderr_bytes, c.truncated, c.error_code, c.error, c.created_by, p.name AS "created_by_name?",
             c.created_at, c.sent_at, c.started_at, c.ended_at, c.expires_at, c.cancel_requested_at
           FROM commands c JOIN agent_directory a ON a.id = c.agent_id LEFT JOIN people p ON p.id = c.created_by
           WHERE ($1::uuid IS NULL OR c.agent_id = $1) AND ($2::text IS NULL OR c.status = $2)
             AND ($3::timestamptz IS NULL OR (c.created_at, c.id) < ($3, $4))
           ORDER BY c.created_at DESC, c.id DESC LIMIT $5"#,
        filter.agent_id,
        filter.status.map(Status::as_str),
        after_time,
        after_id,
        limit
    );
    rows.fetch_all(tx.conn()).await?.into_iter().map(Command::try_from).collect()
}

pub async fn get<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Option<Command>, Error> {
    let row = sqlx::query_as!(
        CommandRow,
        r#"SELECT c.id, c.agent_id, a.hostname AS "agent_hostname!", c.command_type, c.command, c.context,
             c.interpreter, c.elevated, c.working_directory, c.timeout_seconds, c.status, c.exit_code, c.stdout_bytes,
             c.stderr_bytes, c.truncated, c.error_code, c.error, c.created_by, p.name AS "created_by_name?",
             c.created_at, c.sent_at, c.started_at, c.ended_at, c.expires_at, c.cancel_requested_at
           FROM commands c JOIN agent_directory a ON a.id = c.agent_id LEFT JOIN people p ON p.id = c.created_by
           WHERE c.id = $1"#,
        id
    );
    row.fetch_optional(tx.conn()).await?.map(Command::try_from).transpose()
}

pub async fn status_of<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Option<Status>, Error> {
    let word = sqlx::query_scalar!("SELECT status FROM commands WHERE id = $1", id);
    word.fetch_optional(tx.conn()).await?.map(|word| status(&word)).transpose()
}

pub async fn summary<P>(tx: &mut Tx<P>) -> Result<Summary, Error> {
    let summary = sqlx::query_as!(
        Summary,
        r#"SELECT count(*) FILTER (WHERE status IN ('sent', 'running')) AS "running!",
             count(*) FILTER (WHERE status = 'queued') AS "queued!",
             count(*) FILTER (WHERE status IN ('failed', 'timeout', 'interrupted', 'expired')) AS "failed_24h!"
           FROM commands
           WHERE status IN ('queued', 'sent', 'running') OR ended_at > now() - interval '24 hours'"#
    );
    Ok(summary.fetch_one(tx.conn()).await?)
}

struct LockedRow {
    id: Uuid,
    tenant_id: Uuid,
    client_id: Uuid,
    site_id: Uuid,
    agent_id: Uuid,
    status: String,
    last_seq: i32,
    stored_bytes: i64,
    truncated: bool,
    timeout_seconds: i32,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    sent_at: Option<DateTime<Utc>>,
    started_at: Option<DateTime<Utc>>,
    cancel_requested_at: Option<DateTime<Utc>>,
}

impl TryFrom<LockedRow> for Locked {
    type Error = Error;
    fn try_from(row: LockedRow) -> Result<Self, Error> {
        let status = status(&row.status)?;
        Ok(Self {
            id: row.id,
            tenant_id: row.tenant_id,
            client_id: row.client_id,
            site_id: row.site_id,
            agent_id: row.agent_id,
            status,
            last_seq: row.last_seq,
            stored_bytes: row.stored_bytes,
            truncated: row.truncated,
            created_at: row.created_at,
            times: Times {
                status,
                timeout: TimeDelta::seconds(i64::from(row.timeout_seconds)),
                expires_at: row.expires_at,
                sent_at: row.sent_at,
                started_at: row.started_at,
                cancel_requested_at: row.cancel_requested_at,
            },
        })
    }
}

/// One command, locked until the transaction ends.
pub async fn lock<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Option<Locked>, Error> {
    let row = sqlx::query_as!(
        LockedRow,
        r#"SELECT id, tenant_id, client_id, site_id, agent_id, status, last_seq,
             stdout_bytes + stderr_bytes AS "stored_bytes!", truncated, timeout_seconds, created_at, expires_at,
             sent_at, started_at, cancel_requested_at
           FROM commands WHERE id = $1 FOR UPDATE"#,
        id
    );
    row.fetch_optional(tx.conn()).await?.map(Locked::try_from).transpose()
}

/// An agent's open commands and those of `ids` that are its own, locked.
pub async fn lock_of_agent<P>(tx: &mut Tx<P>, agent_id: Uuid, ids: &[Uuid]) -> Result<Vec<Locked>, Error> {
    let rows = sqlx::query_as!(
        LockedRow,
        r#"SELECT id, tenant_id, client_id, site_id, agent_id, status, last_seq,
             stdout_bytes + stderr_bytes AS "stored_bytes!", truncated, timeout_seconds, created_at, expires_at,
             sent_at, started_at, cancel_requested_at
           FROM commands WHERE agent_id = $1 AND (status IN ('queued', 'sent', 'running') OR id = ANY ($2))
           ORDER BY id FOR UPDATE"#,
        agent_id,
        ids
    );
    rows.fetch_all(tx.conn()).await?.into_iter().map(Locked::try_from).collect()
}

/// The oldest queued commands of an agent, locked, as many as may be on their way beside those that are.
pub async fn lock_queued<P>(
    tx: &mut Tx<P>,
    agent_id: Uuid,
    on_their_way: i64,
    now: DateTime<Utc>,
) -> Result<Vec<Locked>, Error> {
    let rows = sqlx::query_as!(
        LockedRow,
        r#"SELECT id, tenant_id, client_id, site_id, agent_id, status, last_seq,
             stdout_bytes + stderr_bytes AS "stored_bytes!", truncated, timeout_seconds, created_at, expires_at,
             sent_at, started_at, cancel_requested_at
           FROM commands WHERE agent_id = $1 AND status = 'queued' AND expires_at > $3
           ORDER BY created_at, id
           LIMIT greatest($2 - (SELECT count(*) FROM commands s WHERE s.agent_id = $1 AND s.status = 'sent'), 0)
           FOR UPDATE SKIP LOCKED"#,
        agent_id,
        on_their_way,
        now
    );
    rows.fetch_all(tx.conn()).await?.into_iter().map(Locked::try_from).collect()
}

/// The partner's open commands for which something may be due at `now`, as they stand. What waits in time for machines
/// that are away is not among them: there can be any number of it.
pub async fn open<P>(tx: &mut Tx<P>, now: DateTime<Utc>) -> Result<Vec<Locked>, Error> {
    let rows = sqlx::query_as!(
        LockedRow,
        r#"SELECT id, tenant_id, client_id, site_id, agent_id, status, last_seq,
             stdout_bytes + stderr_bytes AS "stored_bytes!", truncated, timeout_seconds, created_at, expires_at,
             sent_at, started_at, cancel_requested_at
           FROM commands
           WHERE status IN ('queued', 'sent', 'running') AND (status <> 'queued' OR expires_at <= $1
             OR EXISTS (SELECT 1 FROM agent_directory agent WHERE agent.id = agent_id AND agent.is_connected))
           ORDER BY created_at LIMIT 10000"#,
        now
    );
    rows.fetch_all(tx.conn()).await?.into_iter().map(Locked::try_from).collect()
}

/// An agent's commands that someone wants to be cancelled and that it may hold.
pub async fn cancelled_of<P>(tx: &mut Tx<P>, agent_id: Uuid) -> Result<Vec<Uuid>, Error> {
    let cancelled = sqlx::query_scalar!(
        "SELECT id FROM commands
         WHERE agent_id = $1 AND status IN ('sent', 'running') AND cancel_requested_at IS NOT NULL ORDER BY id",
        agent_id
    );
    Ok(cancelled.fetch_all(tx.conn()).await?)
}

/// The orders of commands that go out now, oldest first.
pub async fn take_starts<P>(
    tx: &mut Tx<P>,
    ids: &[Uuid],
    now: DateTime<Utc>,
) -> Result<Vec<CommandStart>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut rows = sqlx::query!(
        r#"UPDATE commands SET sent_at = $2 WHERE id = ANY ($1)
           RETURNING id, command_type, command, interpreter, context, elevated, timeout_seconds, working_directory,
             environment AS "environment: Json<BTreeMap<String, String>>", stdin"#,
        ids,
        now
    )
    .fetch_all(tx.conn())
    .await?;
    rows.sort_by_key(|row| row.id);
    rows.into_iter()
        .map(|row| {
            let kind = CommandType::parse(&row.command_type).ok_or_else(|| unknown(&row.command_type))?;
            let context = Context::parse(&row.context).ok_or_else(|| unknown(&row.context))?;
            Ok(CommandStart {
                command_id: CommandId(row.id),
                kind: kind.kind(),
                command: row.command,
                interpreter: row.interpreter,
                context: context.into(),
                elevated: row.elevated,
                timeout_seconds: u32::try_from(row.timeout_seconds).map_err(Error::internal)?,
                working_directory: row.working_directory,
                environment: row.environment.0,
                stdin: row.stdin,
            })
        })
        .collect()
}

/// Writes a state and the time that goes with it.
pub async fn set_status<P>(tx: &mut Tx<P>, id: Uuid, status: Status, at: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE commands SET status = $2,
           sent_at = CASE WHEN $2 = 'sent' THEN $3 ELSE sent_at END,
           started_at = CASE WHEN $2 = 'running' THEN $3 ELSE started_at END,
           ended_at = CASE WHEN $4 THEN $3 END
         WHERE id = $1",
        id,
        status.as_str(),
        at,
        status.is_final()
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Writes a final state and what is known of the end.
pub async fn end<P>(
    tx: &mut Tx<P>,
    id: Uuid,
    status: Status,
    at: DateTime<Utc>,
    end: &End,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE commands SET status = $2, ended_at = $3, exit_code = $4, error = $5, error_code = $6,
           stdout_bytes = coalesce($7, stdout_bytes), stderr_bytes = coalesce($8, stderr_bytes), truncated = $9
         WHERE id = $1",
        id,
        status.as_str(),
        at,
        end.exit_code,
        end.error,
        end.error_code,
        end.stdout_bytes,
        end.stderr_bytes,
        end.truncated
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Notes that someone wants it gone; the first time counts.
pub async fn request_cancel<P>(tx: &mut Tx<P>, id: Uuid) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE commands SET cancel_requested_at = coalesce(cancel_requested_at, now()) WHERE id = $1",
        id
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Stores the next chunks, in order, and counts them; what does not fit is counted only.
pub async fn put_chunks<P>(
    tx: &mut Tx<P>,
    command: &Locked,
    last_seq: i32,
    kept: &[(i32, &OutputChunk)],
    heard: Heard,
) -> Result<(), Error> {
    if !kept.is_empty() {
        let seqs: Vec<i32> = kept.iter().map(|(seq, _)| *seq).collect();
        let streams: Vec<&str> = kept.iter().map(|(_, chunk)| chunk.stream.as_str()).collect();
        let data: Vec<&[u8]> = kept.iter().map(|(_, chunk)| chunk.data.0.as_slice()).collect();
        sqlx::query!(
            "INSERT INTO command_output (tenant_id, command_id, seq, stream, data)
             SELECT $1, $2, seq, stream, data
             FROM unnest($3::integer[], $4::text[], $5::bytea[]) AS chunk (seq, stream, data)
             ON CONFLICT DO NOTHING",
            command.tenant_id,
            command.id,
            &seqs,
            &streams as &[&str],
            &data as &[&[u8]]
        )
        .execute(tx.conn())
        .await?;
    }
    sqlx::query!(
        "UPDATE commands SET last_seq = $2, truncated = truncated OR $5,
           stdout_bytes = stdout_bytes + $3, stderr_bytes = stderr_bytes + $4
         WHERE id = $1",
        command.id,
        last_seq,
        heard.stdout,
        heard.stderr,
        heard.truncated
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// What new chunks came to: bytes of each stream, kept or not, and whether some were not kept.
#[derive(Default)]
pub struct Heard {
    pub stdout: i64,
    pub stderr: i64,
    pub truncated: bool,
}
