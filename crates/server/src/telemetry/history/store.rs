//! SQL of history: packed hours, roll-ups, and what processes are called. People read through their transactions; the job
//! writes with the hat that takes samples away, in one partner at a time.

use super::pack::Figures;
use super::{Hour, Level, Name, Place};
use crate::db::Tx;
use crate::error::Error;
use crate::telemetry::store::RawSample;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Figures of samples that are not packed yet, in the order of time.
pub async fn loose_figures<P>(
    tx: &mut Tx<P>,
    place: Place,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<Figures>, Error> {
    let figures = sqlx::query_as!(
        Figures,
        "SELECT taken_at AS t, interval_seconds, cpu_percent, memory_used_bytes, memory_total_bytes, load_1, disk_percent,
           rx_bytes, tx_bytes
         FROM metric_samples WHERE tenant_id = $1 AND agent_num = $2 AND taken_at >= $3 AND taken_at < $4
         ORDER BY taken_at",
        place.tenant_id,
        place.num,
        from,
        to
    );
    Ok(figures.fetch_all(tx.conn()).await?)
}

/// Packed figures of hours, the machine's own before those of a record it was merged with.
pub async fn packed_figures<P>(
    tx: &mut Tx<P>,
    place: Place,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<(DateTime<Utc>, Vec<u8>)>, Error> {
    let rows = sqlx::query!(
        "SELECT hour, figures FROM metric_hours WHERE tenant_id = $1 AND agent_num = $2 AND hour >= $3 AND hour < $4
         ORDER BY hour, measured_by <> agent_num, measured_by",
        place.tenant_id,
        place.num,
        from,
        to
    );
    Ok(rows.fetch_all(tx.conn()).await?.into_iter().map(|row| (row.hour, row.figures)).collect())
}

/// The newest packed hour with a sample at or before a time; of more records than one where two were merged.
pub async fn hours_before<P>(
    tx: &mut Tx<P>,
    place: Place,
    time: DateTime<Utc>,
) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Error> {
    let rows = sqlx::query!(
        "SELECT hour, figures, details FROM metric_hours
         WHERE tenant_id = $1 AND agent_num = $2 AND hour <= $3 AND first_at <= $3
         ORDER BY hour DESC, measured_by <> agent_num, measured_by LIMIT 16",
        place.tenant_id,
        place.num,
        time
    );
    let rows = rows.fetch_all(tx.conn()).await?;
    let newest = rows.first().map(|row| row.hour);
    let rows = rows.into_iter().take_while(|row| Some(row.hour) == newest);
    Ok(rows.map(|row| (row.figures, row.details)).collect())
}

/// Packed buckets.
pub async fn rollups<P>(
    tx: &mut Tx<P>,
    place: Place,
    level: Level,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<Vec<u8>>, Error> {
    let rows = sqlx::query_scalar!(
        "SELECT buckets FROM metric_rollups
         WHERE tenant_id = $1 AND agent_num = $2 AND bucket_seconds = $3 AND starts_at >= $4 AND starts_at < $5",
        place.tenant_id,
        place.num,
        level.seconds_i32(),
        from,
        to
    );
    Ok(rows.fetch_all(tx.conn()).await?)
}

/// What processes with these ids are called.
pub async fn names<P>(tx: &mut Tx<P>, tenant: Uuid, ids: &[i64]) -> Result<Vec<(i64, Name)>, Error> {
    let rows = sqlx::query!(
        "SELECT id, name, username, command_line FROM process_names WHERE tenant_id = $1 AND id = ANY ($2)",
        tenant,
        ids
    );
    let rows = rows.fetch_all(tx.conn()).await?.into_iter();
    let name = |name, user, command_line| Name { name, user, command_line };
    Ok(rows.map(|row| (row.id, name(row.name, row.username, row.command_line))).collect())
}

/// Count and sum of what processors did before a moment of each machine, and after it: of samples that are not packed.
pub async fn loose_cpu_around<P>(
    tx: &mut Tx<P>,
    nums: &[i64],
    moments: &[DateTime<Utc>],
) -> Result<[(i64, f64); 2], Error> {
    let tenant = tx.tenant()?;
    let row = sqlx::query!(
        r#"SELECT count(*) FILTER (WHERE m.taken_at < t.moment) AS "before!",
             coalesce(sum(m.cpu_percent::float8) FILTER (WHERE m.taken_at < t.moment), 0) AS "sum_before!",
             count(*) FILTER (WHERE m.taken_at > t.moment + interval '10 minutes') AS "after!",
             coalesce(sum(m.cpu_percent::float8) FILTER (WHERE m.taken_at > t.moment + interval '10 minutes'), 0) AS "sum_after!"
           FROM UNNEST($2::bigint[], $3::timestamptz[]) AS t (num, moment)
           JOIN metric_samples m ON m.tenant_id = $1 AND m.agent_num = t.num
             AND m.taken_at BETWEEN t.moment - interval '2 hours' AND t.moment + interval '2 hours'"#,
        tenant,
        nums,
        moments
    );
    let row = row.fetch_one(tx.conn()).await?;
    Ok([(row.before, row.sum_before), (row.after, row.sum_after)])
}

/// Packed figures of the hours around a moment of each machine, by the moment's place in the list.
pub async fn packed_around<P>(
    tx: &mut Tx<P>,
    nums: &[i64],
    moments: &[DateTime<Utc>],
) -> Result<Vec<(usize, Vec<u8>)>, Error> {
    let tenant = tx.tenant()?;
    let rows = sqlx::query!(
        r#"SELECT t.place AS "place!", h.figures
           FROM UNNEST($2::bigint[], $3::timestamptz[]) WITH ORDINALITY AS t (num, moment, place)
           JOIN metric_hours h ON h.tenant_id = $1 AND h.agent_num = t.num
             AND h.hour BETWEEN t.moment - interval '3 hours' AND t.moment + interval '2 hours'"#,
        tenant,
        nums,
        moments
    );
    let rows = rows.fetch_all(tx.conn()).await?.into_iter();
    Ok(rows.map(|row| (usize::try_from(row.place).unwrap_or(1).saturating_sub(1), row.figures)).collect())
}

// What the job does ------------------------------------------------------------------------------------------

/// Numbers behind this one of agents that have loose samples of hours that are over. Of deleted ones, too: their samples
/// take room until they are past their retention.
pub async fn agents_after<P>(
    tx: &mut Tx<P>,
    after: i64,
    until: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<i64>, Error> {
    let tenant = tx.tenant()?;
    let nums = sqlx::query_scalar!(
        "SELECT DISTINCT agent_num FROM metric_samples WHERE tenant_id = $1 AND agent_num > $2 AND taken_at < $3
         ORDER BY agent_num LIMIT $4",
        tenant,
        after,
        until,
        limit
    );
    Ok(nums.fetch_all(tx.conn()).await?)
}

/// Keeps the job and a merge of two records apart until the transaction ends.
pub async fn lock<P>(tx: &mut Tx<P>) -> Result<(), Error> {
    let tenant = tx.tenant()?;
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtext('gururmm.history'), hashtext($1::uuid::text))",
        tenant
    )
    .fetch_one(tx.conn())
    .await?;
    Ok(())
}

/// Hours of these agents that are over and have samples to be packed, oldest first within an agent.
pub async fn waiting<P>(
    tx: &mut Tx<P>,
    nums: &[i64],
    until: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Hour>, Error> {
    let tenant = tx.tenant()?;
    let hours = sqlx::query_as!(
        Hour,
        r#"SELECT agent_num AS num, retention_days, date_bin('1 hour', taken_at, 'epoch') AS "hour!", count(*) AS "samples!"
           FROM metric_samples WHERE tenant_id = $1 AND agent_num = ANY ($2) AND taken_at < $3
           GROUP BY 1, 2, 3 ORDER BY 1, 3, 2 LIMIT $4"#,
        tenant,
        nums,
        until,
        limit
    );
    Ok(hours.fetch_all(tx.conn()).await?)
}

/// Leaves one loose sample of an hour in every `seconds`; answers how many went.
pub async fn thin<P>(tx: &mut Tx<P>, hour: &Hour, seconds: i64) -> Result<u64, Error> {
    let tenant = tx.tenant()?;
    let done = sqlx::query!(
        "DELETE FROM metric_samples m WHERE tenant_id = $1 AND agent_num = $2 AND retention_days = $3
           AND taken_at >= $4 AND taken_at < $4 + interval '1 hour'
           AND EXISTS (SELECT 1 FROM metric_samples e WHERE e.tenant_id = $1 AND e.agent_num = $2 AND e.retention_days = $3
             AND e.taken_at >= date_bin(make_interval(secs => $5::bigint::float8), m.taken_at, 'epoch')
             AND e.taken_at < m.taken_at)",
        tenant,
        hour.num,
        hour.retention_days,
        hour.hour,
        seconds
    );
    Ok(done.execute(tx.conn()).await?.rows_affected())
}

/// Takes the loose samples of an hour away. What is answered is what is gone: one that comes meanwhile stays.
pub async fn take<P>(tx: &mut Tx<P>, hour: &Hour) -> Result<Vec<RawSample>, Error> {
    let tenant = tx.tenant()?;
    let samples = sqlx::query_as!(
        RawSample,
        r#"DELETE FROM metric_samples WHERE tenant_id = $1 AND agent_num = $2 AND retention_days = $3
             AND taken_at >= $4 AND taken_at < $4 + interval '1 hour'
           RETURNING taken_at, interval_seconds, cpu_percent, cpu_count, memory_used_bytes, memory_total_bytes,
             swap_used_bytes, swap_total_bytes, load_1, load_5, load_15, disk_percent, rx_bytes, tx_bytes, uptime_seconds,
             process_count, boot_time, logged_in_user, user_idle_seconds, public_ip, disks::text AS "disks!",
             processes::text AS "processes!", sensors::text AS sensors"#,
        tenant,
        hour.num,
        hour.retention_days,
        hour.hour
    );
    Ok(samples.fetch_all(tx.conn()).await?)
}

/// What is packed of an hour already.
pub async fn packed<P>(tx: &mut Tx<P>, hour: &Hour) -> Result<Option<(Vec<u8>, Vec<u8>)>, Error> {
    let tenant = tx.tenant()?;
    let row = sqlx::query!(
        "SELECT figures, details FROM metric_hours
         WHERE tenant_id = $1 AND agent_num = $2 AND hour = $3 AND retention_days = $4 AND measured_by = $2",
        tenant,
        hour.num,
        hour.hour,
        hour.retention_days
    );
    Ok(row.fetch_optional(tx.conn()).await?.map(|row| (row.figures, row.details)))
}

/// Puts a packed hour in the place of the one before.
pub async fn put_packed<P>(
    tx: &mut Tx<P>,
    hour: &Hour,
    first_at: DateTime<Utc>,
    figures: &[u8],
    details: &[u8],
) -> Result<(), Error> {
    let tenant = tx.tenant()?;
    sqlx::query!(
        "INSERT INTO metric_hours (tenant_id, agent_num, hour, retention_days, measured_by, samples, first_at, figures, details)
         VALUES ($1, $2, $3, $4, $2, $5, $6, $7, $8)
         ON CONFLICT (tenant_id, agent_num, hour, retention_days, measured_by) DO UPDATE SET samples = excluded.samples,
           first_at = excluded.first_at, figures = excluded.figures, details = excluded.details",
        tenant,
        hour.num,
        hour.hour,
        hour.retention_days,
        i32::try_from(hour.samples).unwrap_or(i32::MAX),
        first_at,
        figures,
        details
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// The packed buckets that stand at a time.
pub async fn rollup<P>(
    tx: &mut Tx<P>,
    hour: &Hour,
    level: Level,
    starts_at: DateTime<Utc>,
) -> Result<Option<Vec<u8>>, Error> {
    let tenant = tx.tenant()?;
    let buckets = sqlx::query_scalar!(
        "SELECT buckets FROM metric_rollups WHERE tenant_id = $1 AND agent_num = $2 AND bucket_seconds = $3
           AND starts_at = $4 AND retention_days = $5 AND measured_by = $2 AND keep_days = $6",
        tenant,
        hour.num,
        level.seconds_i32(),
        starts_at,
        hour.retention_days,
        level.keep_days(hour.retention_days)
    );
    Ok(buckets.fetch_optional(tx.conn()).await?)
}

/// Puts packed buckets in the place of those before.
pub async fn put_rollup<P>(
    tx: &mut Tx<P>,
    hour: &Hour,
    level: Level,
    starts_at: DateTime<Utc>,
    buckets: &[u8],
) -> Result<(), Error> {
    let tenant = tx.tenant()?;
    sqlx::query!(
        "INSERT INTO metric_rollups (tenant_id, agent_num, bucket_seconds, starts_at, retention_days, keep_days, measured_by,
           buckets)
         VALUES ($1, $2, $3, $4, $5, $6, $2, $7)
         ON CONFLICT (tenant_id, agent_num, bucket_seconds, starts_at, retention_days, measured_by, keep_days)
           DO UPDATE SET buckets = excluded.buckets",
        tenant,
        hour.num,
        level.seconds_i32(),
        starts_at,
        hour.retention_days,
        level.keep_days(hour.retention_days),
        buckets
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Ids of names that are known, by their digests, with how long each is kept.
pub async fn known_names<P>(
    tx: &mut Tx<P>,
    digests: &[Vec<u8>],
) -> Result<Vec<(Vec<u8>, i64, DateTime<Utc>)>, Error> {
    let tenant = tx.tenant()?;
    let rows = sqlx::query!(
        "SELECT digest, id, keep_until FROM process_names WHERE tenant_id = $1 AND digest = ANY ($2)",
        tenant,
        digests
    );
    let rows = rows.fetch_all(tx.conn()).await?.into_iter();
    Ok(rows.map(|row| (row.digest, row.id, row.keep_until)).collect())
}

/// Adds names; answers their ids by their digests.
pub async fn add_names<P>(
    tx: &mut Tx<P>,
    names: &[(&Vec<u8>, &Name)],
    keep_until: DateTime<Utc>,
) -> Result<Vec<(Vec<u8>, i64)>, Error> {
    let tenant = tx.tenant()?;
    let column =
        |of: fn(&Name) -> &String| names.iter().map(|(_, name)| of(name).clone()).collect::<Vec<_>>();
    let rows = sqlx::query!(
        "INSERT INTO process_names (tenant_id, digest, name, username, command_line, keep_until)
         SELECT $1, new.*, $6 FROM UNNEST($2::bytea[], $3::text[], $4::text[], $5::text[]) AS new
         RETURNING digest, id",
        tenant,
        &names.iter().map(|(digest, _)| (*digest).clone()).collect::<Vec<_>>(),
        &column(|name| &name.name),
        &column(|name| &name.user),
        &column(|name| &name.command_line),
        keep_until
    );
    Ok(rows.fetch_all(tx.conn()).await?.into_iter().map(|row| (row.digest, row.id)).collect())
}

/// Keeps names at least so long.
pub async fn keep_names<P>(tx: &mut Tx<P>, ids: &[i64], until: DateTime<Utc>) -> Result<(), Error> {
    let tenant = tx.tenant()?;
    sqlx::query!(
        "UPDATE process_names SET keep_until = $3 WHERE tenant_id = $1 AND id = ANY ($2) AND keep_until < $3",
        tenant,
        ids,
        until
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Forgets names that no sample has any more.
pub async fn prune_names<P>(tx: &mut Tx<P>, now: DateTime<Utc>) -> Result<(), Error> {
    let tenant = tx.tenant()?;
    sqlx::query!("DELETE FROM process_names WHERE tenant_id = $1 AND keep_until < $2", tenant, now)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// How many hours wait, and the oldest of them.
pub async fn all_waiting<P>(
    tx: &mut Tx<P>,
    until: DateTime<Utc>,
) -> Result<(i64, Option<DateTime<Utc>>), Error> {
    let tenant = tx.tenant()?;
    let row = sqlx::query!(
        r#"SELECT count(*) AS "hours!", min(hour) AS oldest
           FROM (SELECT DISTINCT agent_num, date_bin('1 hour', taken_at, 'epoch') AS hour
             FROM metric_samples WHERE tenant_id = $1 AND taken_at < $2) AS waiting"#,
        tenant,
        until
    );
    let row = row.fetch_one(tx.conn()).await?;
    Ok((row.hours, row.oldest))
}

/// Writes down how many hours wait, and the oldest of them.
pub async fn note_progress<P>(
    tx: &mut Tx<P>,
    (hours, oldest): (i64, Option<DateTime<Utc>>),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let tenant = tx.tenant()?;
    sqlx::query!(
        "INSERT INTO history_progress (tenant_id, looked_at, hours_waiting, oldest_waiting) VALUES ($1, $2, $3, $4)
         ON CONFLICT (tenant_id) DO UPDATE SET looked_at = excluded.looked_at, hours_waiting = excluded.hours_waiting,
           oldest_waiting = excluded.oldest_waiting",
        tenant,
        now,
        hours,
        oldest
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// What was written down last, over all that the transaction sees.
pub async fn progress<P>(tx: &mut Tx<P>) -> Result<super::Lag, Error> {
    let lag = sqlx::query_as!(
        super::Lag,
        r#"SELECT min(looked_at) AS looked_at, coalesce(sum(hours_waiting), 0)::bigint AS "hours_waiting!",
             min(oldest_waiting) AS oldest_waiting FROM history_progress"#
    );
    Ok(lag.fetch_one(tx.conn()).await?)
}
