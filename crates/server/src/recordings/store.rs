//! SQL of recordings.

use super::observer::IndexedLine;
use super::{Afterwards, Matched, Recording, RecordingFilter, SegmentFacts, SegmentRow, SessionFacts};
use crate::db::{Tx, stored_as_text};
use crate::error::Error;
use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

stored_as_text!(Afterwards);

/// The beginning of a session's recording, and whether it was made just now.
pub async fn open<P>(tx: &mut Tx<P>, session: &SessionFacts) -> Result<(DateTime<Utc>, bool), Error> {
    let made = sqlx::query_scalar!(
        "INSERT INTO recordings (id, tenant_id, client_id, site_id, agent_id, hostname, tech_id, tech_name)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING RETURNING started_at",
        session.tunnel_id,
        session.tenant_id,
        session.client_id,
        session.site_id,
        session.agent_id,
        session.hostname,
        session.tech_id,
        session.tech_name
    );
    if let Some(started_at) = made.fetch_optional(tx.conn()).await? {
        return Ok((started_at, true));
    }
    let started_at = sqlx::query_scalar!(
        "SELECT started_at FROM recordings WHERE id = $1 AND state = 'kept' FOR SHARE",
        session.tunnel_id
    );
    let started_at = started_at.fetch_optional(tx.conn()).await?.ok_or_else(Error::not_found)?;
    Ok((started_at, false))
}

/// Appends to the chain of the partner. Call it last: it serialises the partner's writers until commit.
pub async fn append<P>(
    tx: &mut Tx<P>,
    recording: Uuid,
    kind: &str,
    number: Option<i32>,
    detail: &Value,
) -> Result<(), Error> {
    sqlx::query!("SELECT recording_append($1, $2, $3, $4)", recording, kind, number, detail)
        .fetch_one(tx.conn())
        .await?;
    Ok(())
}

/// Counts a segment to its recording.
pub async fn count_segment<P>(
    tx: &mut Tx<P>,
    recording: Uuid,
    bytes: i64,
    kinds: &[String],
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE recordings SET last_at = now(), segments = segments + 1, bytes = bytes + $2,
           kinds = (SELECT coalesce(array_agg(DISTINCT kind ORDER BY kind), '{}') FROM unnest(kinds || $3::text[]) AS kind)
         WHERE id = $1",
        recording,
        bytes,
        kinds
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// False when it was closed before.
pub async fn close<P>(tx: &mut Tx<P>, recording: Uuid) -> Result<bool, Error> {
    let closed =
        sqlx::query!("UPDATE recordings SET ended_at = now() WHERE id = $1 AND ended_at IS NULL", recording);
    Ok(closed.execute(tx.conn()).await?.rows_affected() == 1)
}

/// Puts lines into the index.
pub async fn index<P>(
    tx: &mut Tx<P>,
    recording: Uuid,
    number: i32,
    lines: &[IndexedLine],
) -> Result<(), Error> {
    let tenant = tx.tenant()?;
    let channels: Vec<i64> = lines.iter().map(|line| i64::from(line.channel)).collect();
    let times: Vec<i64> =
        lines.iter().map(|line| i64::try_from(line.at_us / 1_000).unwrap_or(i64::MAX)).collect();
    // PostgreSQL's text holds every character but this one.
    let texts: Vec<String> = lines.iter().map(|line| line.text.replace('\0', "")).collect();
    sqlx::query!(
        "INSERT INTO recording_lines (tenant_id, recording_id, number, ordinal, channel, at_ms, line)
         SELECT $1, $2, $3, l.ordinal, l.channel, l.at_ms, l.line
         FROM unnest($4::bigint[], $5::bigint[], $6::text[]) WITH ORDINALITY AS l (channel, at_ms, line, ordinal)",
        tenant,
        recording,
        number,
        &channels,
        &times,
        &texts
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// The last segment of a recording.
pub async fn last_segment<P>(tx: &mut Tx<P>, recording: Uuid) -> Result<Option<SegmentRow>, Error> {
    let row = sqlx::query_as!(
        SegmentRow,
        r#"SELECT number AS "number!", detail FROM recording_entries
           WHERE recording_id = $1 AND kind = 'segment' ORDER BY number DESC LIMIT 1"#,
        recording
    );
    Ok(row.fetch_optional(tx.conn()).await?)
}

/// The segments of a recording after a number, in order.
pub async fn segments<P>(
    tx: &mut Tx<P>,
    recording: Uuid,
    after: i32,
    most: i64,
) -> Result<Vec<SegmentRow>, Error> {
    let rows = sqlx::query_as!(
        SegmentRow,
        r#"SELECT number AS "number!", detail FROM recording_entries
           WHERE recording_id = $1 AND kind = 'segment' AND number > $2 ORDER BY number LIMIT $3"#,
        recording,
        after,
        most
    );
    Ok(rows.fetch_all(tx.conn()).await?)
}

/// A recording that is in sight.
pub async fn get<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Option<Recording>, Error> {
    let filter = RecordingFilter::default();
    Ok(list(tx, Some(id), &filter, None, None, 1).await?.pop())
}

pub async fn count<P>(tx: &mut Tx<P>, filter: &RecordingFilter, words: Option<&str>) -> Result<i64, Error> {
    let tenant = tx.tenant()?;
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "total!" FROM recordings r
           WHERE r.tenant_id = $1 AND r.state = 'kept'
             AND ($2::uuid IS NULL OR r.agent_id = $2
               OR r.agent_id IN (SELECT former_id FROM former_agents a WHERE a.agent_id = $2))
             AND ($3::uuid IS NULL OR r.tech_id = $3)
             AND ($4::timestamptz IS NULL OR r.last_at >= $4) AND ($5::timestamptz IS NULL OR r.started_at < $5)
             AND ($6::text IS NULL OR r.id IN (SELECT find_recordings($6)))"#,
        tenant,
        filter.agent_id,
        filter.tech_id,
        filter.from,
        filter.to,
        words
    );
    Ok(total.fetch_one(tx.conn()).await?)
}

/// Recordings, the newest first: those after a place in the list, or the one of an id.
pub async fn list<P>(
    tx: &mut Tx<P>,
    id: Option<Uuid>,
    filter: &RecordingFilter,
    words: Option<&str>,
    before: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Recording>, Error> {
    let tenant = tx.tenant()?;
    let (before_time, before_id) = before.unzip();
    let rows = sqlx::query!(
        r#"SELECT r.id, r.agent_id, r.hostname, r.client_id, r.site_id, r.tech_id, r.tech_name, r.started_at, r.last_at,
             coalesce(r.ended_at, (SELECT s.closed_at FROM tunnel_session_ends s WHERE s.id = r.id)) AS ended_at,
             r.segments, r.bytes, r.kinds
           FROM recordings r
           WHERE r.tenant_id = $1 AND r.state = 'kept' AND ($10::uuid IS NULL OR r.id = $10)
             AND ($2::uuid IS NULL OR r.agent_id = $2
               OR r.agent_id IN (SELECT former_id FROM former_agents a WHERE a.agent_id = $2))
             AND ($3::uuid IS NULL OR r.tech_id = $3)
             AND ($4::timestamptz IS NULL OR r.last_at >= $4) AND ($5::timestamptz IS NULL OR r.started_at < $5)
             AND ($6::text IS NULL OR r.id IN (SELECT find_recordings($6)))
             AND ($7::timestamptz IS NULL OR (r.started_at, r.id) < ($7, $8))
           ORDER BY r.started_at DESC, r.id DESC LIMIT $9"#,
        tenant,
        filter.agent_id,
        filter.tech_id,
        filter.from,
        filter.to,
        words,
        before_time,
        before_id,
        limit,
        id
    );
    let rows = rows.fetch_all(tx.conn()).await?;
    Ok(rows
        .into_iter()
        .map(|row| Recording {
            session_id: row.id,
            agent_id: row.agent_id,
            hostname: row.hostname,
            client_id: row.client_id,
            site_id: row.site_id,
            tech_id: row.tech_id,
            tech_name: row.tech_name,
            started_at: row.started_at,
            last_at: row.last_at,
            ended_at: row.ended_at,
            segments: row.segments,
            bytes: row.bytes,
            kinds: row.kinds,
            matches: Vec::new(),
        })
        .collect())
}

/// Lines that match, of each recording the first few.
pub async fn matches<P>(
    tx: &mut Tx<P>,
    recordings: &[Uuid],
    words: &str,
    most: i64,
) -> Result<Vec<(Uuid, Matched)>, Error> {
    let rows = sqlx::query!(
        r#"SELECT r.id AS "id!", l.channel, l.at_ms, l.line FROM unnest($1::uuid[]) AS r (id),
             LATERAL (SELECT channel, at_ms, line FROM recording_lines
               WHERE recording_id = r.id AND line_words(line) @@ to_tsquery('simple', $2)
               ORDER BY number, ordinal LIMIT $3) AS l"#,
        recordings,
        words,
        most
    );
    let rows = rows.fetch_all(tx.conn()).await?;
    let matched = |row: (i64, i64, String)| Matched { channel: row.0, at_ms: row.1, line: row.2 };
    Ok(rows.into_iter().map(|row| (row.id, matched((row.channel, row.at_ms, row.line)))).collect())
}

/// Recordings in sight into which nothing was written since a time and whose session is not open; locked.
pub async fn over<P>(tx: &mut Tx<P>, before: DateTime<Utc>, most: i64) -> Result<Vec<Uuid>, Error> {
    let tenant = tx.tenant()?;
    let over = sqlx::query_scalar!(
        "SELECT id FROM recordings r WHERE tenant_id = $1 AND state = 'kept' AND last_at < $2
           AND NOT EXISTS (SELECT 1 FROM tunnel_session_ends s WHERE s.id = r.id AND s.status = 'active')
         ORDER BY last_at LIMIT $3 FOR UPDATE SKIP LOCKED",
        tenant,
        before,
        most
    );
    Ok(over.fetch_all(tx.conn()).await?)
}

/// Takes a recording out of sight, its lines with it.
pub async fn put_away<P>(tx: &mut Tx<P>, id: Uuid, state: &str) -> Result<(), Error> {
    sqlx::query!("UPDATE recordings SET state = $2 WHERE id = $1", id, state).execute(tx.conn()).await?;
    sqlx::query!("DELETE FROM recording_lines WHERE recording_id = $1", id).execute(tx.conn()).await?;
    Ok(())
}

/// Recordings whose objects are still to go.
pub async fn to_remove<P>(tx: &mut Tx<P>, most: i64) -> Result<Vec<Uuid>, Error> {
    let tenant = tx.tenant()?;
    let left = sqlx::query_scalar!(
        "SELECT id FROM recordings WHERE tenant_id = $1 AND state = 'removing' LIMIT $2",
        tenant,
        most
    );
    Ok(left.fetch_all(tx.conn()).await?)
}

/// The objects of a recording are gone.
pub async fn removed<P>(tx: &mut Tx<P>, id: Uuid) -> Result<(), Error> {
    sqlx::query!("UPDATE recordings SET state = 'removed' WHERE id = $1 AND state = 'removing'", id)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Empties the partner's index.
pub async fn empty_index<P>(tx: &mut Tx<P>) -> Result<(), Error> {
    let tenant = tx.tenant()?;
    sqlx::query!("DELETE FROM recording_lines WHERE tenant_id = $1", tenant).execute(tx.conn()).await?;
    Ok(())
}

impl SegmentRow {
    /// What its entry says of it; `None` where it is not as this server writes it.
    pub fn facts(&self) -> Option<SegmentFacts> {
        let text = |name: &str| self.detail.get(name)?.as_str().map(str::to_owned);
        let number = |name: &str| self.detail.get(name)?.as_i64();
        let channels = self.detail.get("channels").and_then(Value::as_array);
        let channels = channels.map(|channels| {
            channels.iter().filter_map(|channel| u32::try_from(channel.as_u64()?).ok()).collect()
        });
        Some(SegmentFacts {
            number: self.number,
            from_ms: number("from_us")? / 1_000,
            to_ms: number("to_us")? / 1_000,
            bytes: number("bytes")?,
            sha256: text("sha256")?,
            recorder: text("recorder").and_then(|id| id.parse().ok()),
            object: text("object")?,
            channels,
        })
    }
}
