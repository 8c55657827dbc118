//! What agents say of commands. An agent touches its own commands only; everything is safe to repeat; nothing is
//! acknowledged before it is committed.

use super::state::Trigger;
use super::store::{self, End, Heard};
use super::{Locked, Status, apply, dispatch};
use crate::app::App;
use crate::auth::permission::System;
use crate::db::Tx;
use crate::error::{Code, Error};
use crate::gateway::{self, AgentSession};
use crate::peers::{self, Signal};
use chrono::{DateTime, Utc};
use gururmm_protocol::command::{CommandEnd, Outcome, OutputChunk, ResumedCommand, Stream};
use gururmm_protocol::limits::{
    DEFAULT_OUTPUT_LIMIT_BYTES, MAX_OUTPUT_CHUNK_BYTES, MAX_TEXT_CHARS, clean_optional,
};
use gururmm_protocol::{CommandId, ServerMessage};
use std::collections::HashMap;
use uuid::Uuid;

/// Output kept of one command: the agents' limit and some slack, for agents that do not keep theirs.
const MAX_STORED_BYTES: i64 = DEFAULT_OUTPUT_LIMIT_BYTES as i64 + 1024 * 1024;
/// Output of one command that is listened to at all. No agent that keeps its limit comes near it.
const MAX_HEARD_BYTES: i64 = 2 * MAX_STORED_BYTES;
/// Chunks kept of one command.
const MAX_STORED_CHUNKS: i32 = 1_000_000;

/// The agent is back: compares what it holds with what the server knows. What was sent and never arrived goes out
/// again; what ran and is unknown to its journal is interrupted; what someone cancelled meanwhile is cancelled.
pub async fn hello(
    app: &App,
    tx: &mut Tx<System>,
    session: &AgentSession,
    held: &[ResumedCommand],
) -> Result<Resumed, Error> {
    let held: HashMap<Uuid, bool> =
        held.iter().map(|command| (command.command_id.0, command.ended)).collect();
    let (now, mut answers, mut resend, mut changed) = (Utc::now(), Vec::new(), Vec::new(), Vec::new());
    if !gateway::hold(tx, session).await? {
        // A later session of this agent says what it holds now.
        return Ok(Resumed { answers, changed, has_queued: false });
    }
    let ids: Vec<Uuid> = held.keys().copied().collect();
    // The line took orders before this hello was handled: what went out on it is on its way, and no news of it is yet
    // due.
    let connected_since = app.gateway.connected_since(session.agent_id);
    let is_on_its_way = |sent_at: Option<DateTime<Utc>>| {
        sent_at.zip(connected_since).is_some_and(|(sent_at, since)| sent_at >= since)
    };
    let mut has_queued = false;
    for command in store::lock_of_agent(tx, session.agent_id, &ids).await? {
        has_queued |= command.status == Status::Queued;
        let is_cancelled = command.times.cancel_requested_at.is_some();
        let trigger = match (command.status, held.get(&command.id)) {
            (Status::Sent, None) if is_on_its_way(command.times.sent_at) => continue,
            (Status::Sent, None) if is_cancelled => Trigger::Withdrawn,
            (Status::Sent, None) if command.times.expires_at <= now => Trigger::Expired,
            (Status::Sent, None) => {
                resend.push(command.id);
                continue;
            }
            (Status::Running, None) => Trigger::GivenUp,
            // It still runs though its time, or someone's patience, is over.
            (Status::Sent | Status::Running, Some(false)) if is_cancelled => {
                answers.push(ServerMessage::CommandCancel { command_id: CommandId(command.id) });
                continue;
            }
            (ended, Some(false)) if ended.is_final() => {
                answers.push(ServerMessage::CommandCancel { command_id: CommandId(command.id) });
                continue;
            }
            _ => continue,
        };
        let end = (trigger == Trigger::GivenUp)
            .then(|| End::given_up(&command, "the agent does not know it any more"));
        if let Some(status) = apply(tx, &command, trigger, end.as_ref(), now).await? {
            changed.push((command.id, status));
        }
    }
    if !resend.is_empty() {
        answers
            .extend(store::take_starts(tx, &resend, now).await?.into_iter().map(ServerMessage::CommandStart));
    }
    Ok(Resumed { answers, changed, has_queued })
}

/// What came of a comparison; it counts once it is committed.
#[derive(Default)]
pub struct Resumed {
    /// What the agent is told.
    pub answers: Vec<ServerMessage>,
    changed: Vec<(Uuid, Status)>,
    has_queued: bool,
}

/// It is committed: those who follow are woken, and what waited goes out. What is ordered from now on is sent by whoever
/// orders it, for the agent is connected.
pub async fn resumed(app: &App, session: &AgentSession, resumed: Resumed) -> Vec<ServerMessage> {
    note(app, &resumed.changed);
    if resumed.has_queued || !resumed.changed.is_empty() {
        dispatch::dispatch(app, &session.scope(), session.agent_id).await;
    }
    resumed.answers
}

/// Its process runs.
pub async fn started(
    app: &App,
    session: &AgentSession,
    id: CommandId,
    started_at: DateTime<Utc>,
) -> Result<Vec<ServerMessage>, Error> {
    let mut tx = app.db.begin(&session.scope()).await?;
    let command = own(&mut tx, session, id).await?;
    let now = Utc::now();
    // The agent's clock is believed between the command's making and now.
    let started_at = started_at.clamp(command.created_at.min(now), now);
    let changed = apply(&mut tx, &command, Trigger::Started, None, started_at).await?;
    tx.commit().await?;
    if let Some(status) = changed {
        note(app, &[(id.0, status)]);
        dispatch::dispatch(app, &session.scope(), session.agent_id).await;
    }
    Ok(Vec::new())
}

/// Whether a piece of output is one that an agent may send. To be asked before pieces are put together: what is refused
/// of several is refused of all.
pub fn is_piece(chunk: &OutputChunk) -> bool {
    chunk.data.0.len() <= MAX_OUTPUT_CHUNK_BYTES
}

/// Pieces of one command's output. They are taken in order, so that one number acknowledges all before it.
pub async fn output(
    app: &App,
    session: &AgentSession,
    command_id: CommandId,
    pieces: &[OutputChunk],
) -> Result<Vec<ServerMessage>, Error> {
    if !pieces.iter().all(is_piece) {
        return Err(Error::with_detail(Code::ValidationFailed, "a piece of output is too large"));
    }
    let mut tx = app.db.begin(&session.scope()).await?;
    let command = own(&mut tx, session, command_id).await?;
    let acknowledge = |last_seq: i32| {
        vec![ServerMessage::CommandOutputAck { command_id, seq: u32::try_from(last_seq).unwrap_or(0) }]
    };
    let (mut last_seq, mut total) = (command.last_seq, command.stored_bytes);
    let (mut kept, mut heard) = (Vec::with_capacity(pieces.len()), Heard::default());
    let takes_more = !command.status.is_final() || command.status == Status::Interrupted;
    for chunk in pieces {
        let next = last_seq.saturating_add(1);
        let bytes = i64::try_from(chunk.data.0.len()).unwrap_or(i64::MAX);
        // Before the gap is looked at: behind the first piece that is too much, every further one would stand beyond a
        // gap.
        let is_new = i64::from(chunk.seq) > i64::from(last_seq);
        if takes_more && is_new && total.saturating_add(bytes) > MAX_HEARD_BYTES {
            if last_seq > command.last_seq {
                // Those before it count, so that the next one is too much as well.
                break;
            }
            return Err(Error::with_detail(Code::ValidationFailed, "output far beyond the limit"));
        }
        if !takes_more || chunk.seq != u32::try_from(next).unwrap_or(u32::MAX) {
            // Stored before, beyond a gap, or after the end: what is stored is said again.
            continue;
        }
        (last_seq, total) = (next, total.saturating_add(bytes));
        match chunk.stream {
            Stream::Stdout => heard.stdout += bytes,
            Stream::Stderr => heard.stderr += bytes,
        }
        if total <= MAX_STORED_BYTES && next <= MAX_STORED_CHUNKS {
            kept.push((next, chunk));
        } else {
            heard.truncated = true;
        }
    }
    if last_seq == command.last_seq {
        return Ok(acknowledge(last_seq));
    }
    store::put_chunks(&mut tx, &command, last_seq, &kept, heard).await?;
    tx.commit().await?;
    app.commands.signals.wake(command_id.0);
    peers::tell(&app.bus, session.tenant_id, &Signal::Output { command_id: command_id.0 });
    Ok(acknowledge(last_seq))
}

/// The end. Taken when all output before it is stored; a repetition is acknowledged again.
pub async fn ended(app: &App, session: &AgentSession, end: &CommandEnd) -> Result<Vec<ServerMessage>, Error> {
    let mut tx = app.db.begin(&session.scope()).await?;
    let command = own(&mut tx, session, end.command_id).await?;
    let is_late_for_good = command.status.is_final() && command.status != Status::Interrupted;
    if !is_late_for_good && i64::from(end.last_seq) > i64::from(command.last_seq) {
        return Err(Error::with_detail(Code::InvalidState, "an end came before its output"));
    }
    let facts = End::reported(end.clone(), &command);
    let outcome = match (end.outcome, end.exit_code) {
        (Outcome::Completed, Some(code)) if code != 0 => Outcome::Failed,
        (outcome, _) => outcome,
    };
    // Never before its start, nor in the future.
    let (now, earliest) = (Utc::now(), command.times.started_at.unwrap_or(command.created_at));
    let ended_at = end.ended_at.clamp(earliest.min(now), now);
    let changed = apply(&mut tx, &command, Trigger::Ended(outcome), Some(&facts), ended_at).await?;
    tx.commit().await?;
    if let Some(status) = changed {
        note(app, &[(command.id, status)]);
        dispatch::dispatch(app, &session.scope(), session.agent_id).await;
    }
    Ok(vec![ServerMessage::CommandEndAck { command_id: end.command_id }])
}

/// The command, if it is this agent's.
async fn own(tx: &mut Tx<System>, session: &AgentSession, id: CommandId) -> Result<Locked, Error> {
    store::lock(tx, id.0)
        .await?
        .filter(|command| command.agent_id == session.agent_id)
        .ok_or_else(|| Error::with_detail(Code::NotFound, format!("command {id} is not one of this agent")))
}

fn note(app: &App, changed: &[(Uuid, Status)]) {
    for (id, status) in changed {
        app.commands.signals.wake(*id);
        app.commands.reached.count(*status);
    }
}

/// A count of bytes that an agent says, small enough to be added to another one.
fn said_bytes(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX).min(i64::MAX / 2)
}

impl End {
    /// What an agent reports, within limits.
    fn reported(mut end: CommandEnd, command: &Locked) -> Self {
        clean_optional(&mut end.error, MAX_TEXT_CHARS);
        clean_optional(&mut end.error_code, 64);
        Self {
            exit_code: end.exit_code,
            error: end.error,
            error_code: end.error_code,
            stdout_bytes: Some(said_bytes(end.stdout_bytes)),
            stderr_bytes: Some(said_bytes(end.stderr_bytes)),
            truncated: end.truncated || command.truncated,
        }
    }

    /// Nobody reported an end.
    pub fn given_up(command: &Locked, why: &str) -> Self {
        Self {
            exit_code: None,
            error: Some(why.to_owned()),
            error_code: Some("NO_RESULT".to_owned()),
            stdout_bytes: None,
            stderr_bytes: None,
            truncated: command.truncated,
        }
    }
}
