//! SQL of what commands wrote, and how long it is kept.

use super::text::Decoder;
use super::{Chunk, StreamName};
use crate::db::Tx;
use crate::error::Error;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Chunks read at a time.
pub const CHUNKS_PER_READ: usize = 16;

/// The first chunks of both streams, as bytes.
pub async fn first_chunks<P>(
    tx: &mut Tx<P>,
    id: Uuid,
    limit: usize,
) -> Result<Vec<(StreamName, Vec<u8>)>, Error> {
    let chunks = sqlx::query!(
        "SELECT stream, data FROM command_output WHERE command_id = $1 ORDER BY seq LIMIT $2",
        id,
        limit as i64
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(chunks.into_iter().map(|chunk| (StreamName::of(&chunk.stream), chunk.data)).collect())
}

/// Chunks of one stream after a number, as bytes.
pub async fn chunks_of<P>(
    tx: &mut Tx<P>,
    id: Uuid,
    stream: StreamName,
    after_seq: i32,
    limit: usize,
) -> Result<Vec<(i32, Vec<u8>)>, Error> {
    let chunks = sqlx::query!(
        "SELECT seq, data FROM command_output WHERE command_id = $1 AND stream = $2 AND seq > $3
         ORDER BY seq LIMIT $4",
        id,
        stream.as_str(),
        after_seq,
        limit as i64
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(chunks.into_iter().map(|chunk| (chunk.seq, chunk.data)).collect())
}

/// Some chunks after a number, as text.
pub async fn output_after<P>(tx: &mut Tx<P>, id: Uuid, after_seq: i32) -> Result<Vec<Chunk>, Error> {
    let mut stdout = decoder_after(tx, id, "stdout", after_seq).await?;
    let mut stderr = decoder_after(tx, id, "stderr", after_seq).await?;
    let chunks = sqlx::query!(
        "SELECT seq, stream, data FROM command_output WHERE command_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
        id,
        after_seq,
        CHUNKS_PER_READ as i64
    )
    .fetch_all(tx.conn())
    .await?;
    let mut text = |seq: i32, stream: StreamName, data: &[u8]| {
        let decoder = if stream == StreamName::Stderr { &mut stderr } else { &mut stdout };
        Chunk { seq, stream, text: decoder.next(data) }
    };
    Ok(chunks.iter().map(|chunk| text(chunk.seq, StreamName::of(&chunk.stream), &chunk.data)).collect())
}

/// A character may be cut in the chunk before: its last bytes are three at most, of as many chunks.
async fn decoder_after<P>(tx: &mut Tx<P>, id: Uuid, stream: &str, after_seq: i32) -> Result<Decoder, Error> {
    if after_seq == 0 {
        return Ok(Decoder::default());
    }
    let mut tails = sqlx::query_scalar!(
        r#"SELECT substring(data FROM greatest(length(data) - 2, 1)) AS "tail!" FROM command_output
           WHERE command_id = $1 AND stream = $2 AND seq <= $3 ORDER BY seq DESC LIMIT 3"#,
        id,
        stream,
        after_seq
    )
    .fetch_all(tx.conn())
    .await?;
    tails.reverse();
    let tail = tails.concat();
    Ok(Decoder::after(&tail[tail.len().saturating_sub(3)..]))
}

/// Who ordered a command, and of which machine.
pub struct Ordered {
    pub agent_id: Uuid,
    pub hostname: String,
    pub created_by: Option<Uuid>,
}

pub async fn ordered<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Option<Ordered>, Error> {
    let ordered = sqlx::query_as!(
        Ordered,
        r#"SELECT c.agent_id, a.hostname AS "hostname!", c.created_by
           FROM commands c JOIN agent_directory a ON a.id = c.agent_id WHERE c.id = $1"#,
        id
    );
    Ok(ordered.fetch_optional(tx.conn()).await?)
}

/// Output that one transaction removes, in bytes: a thousand small commands, or a few that wrote all they may.
const MOST_BYTES_PRUNED: i64 = 64 * 1024 * 1024;

/// Removes ended commands, oldest first; their output goes with them.
pub async fn prune<P>(tx: &mut Tx<P>, ended_before: DateTime<Utc>, most: i64) -> Result<u64, Error> {
    let tenant = tx.tenant()?;
    // What an agent says it wrote may be any number; what is stored of it has a limit far below $4. A command has an end
    // exactly when its state is a final one (commands_final_has_end).
    let pruned = sqlx::query!(
        "DELETE FROM commands WHERE id IN (
           SELECT id FROM (
             SELECT id, (sum(bytes) OVER (ORDER BY ended_at, id ROWS UNBOUNDED PRECEDING) - bytes)::bigint AS before
             FROM (SELECT id, ended_at, least(stdout_bytes, $4) + least(stderr_bytes, $4) AS bytes FROM commands
               WHERE tenant_id = $1 AND ended_at < $2 ORDER BY ended_at, id LIMIT $3 FOR UPDATE SKIP LOCKED) AS oldest
           ) AS measured WHERE before <= $4)",
        tenant,
        ended_before,
        most,
        MOST_BYTES_PRUNED
    );
    Ok(pruned.execute(tx.conn()).await?.rows_affected())
}
