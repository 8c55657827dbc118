//! The list of machines: the one place where SQL is put together at run time. What is pushed as text are constants
//! of this file; everything that comes from outside is bound.

use super::{Agent, MachineType, PendingReason, Status};
use crate::db::{Tx, stored_as_text};
use crate::error::{Code, Error};
use chrono::{DateTime, Utc};
use gururmm_protocol::system::{OsType, UidSource};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{Executor as _, FromRow, Postgres, QueryBuilder, Row as _};
use utoipa::ToSchema;
use uuid::Uuid;

stored_as_text!(Status);
stored_as_text!(MachineType);

/// Which machines. Rejected ones are in no list, retired ones only where they are asked for.
#[derive(Debug, Default)]
pub struct Filter {
    /// This one, retired or not.
    pub id: Option<Uuid>,
    /// These, retired or not.
    pub ids: Option<Vec<Uuid>>,
    /// Part of host name, user, address, operating system, client or site, in any case.
    pub search: Option<String>,
    pub status: Option<Status>,
    pub client_id: Option<Uuid>,
    pub site_id: Option<Uuid>,
    pub os_type: Option<OsType>,
    pub machine_type: Option<MachineType>,
    /// Offline, or with open alerts.
    pub needs_attention: bool,
}

/// In which order.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sort {
    pub by: SortBy,
    pub is_descending: bool,
}

/// What a list can be ordered by. Machines without a value come last either way; equal ones are ordered by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SortBy {
    #[default]
    Hostname,
    Status,
    LastSeen,
    Os,
    Client,
    Site,
    Cpu,
    Memory,
    Disk,
    /// When it last asked to be let in.
    AskedAt,
    /// For the overview only.
    #[serde(skip)]
    Alerts,
}

/// A place in a list: the value and id of the last machine shown, and which order it belongs to.
#[derive(Debug, Serialize, Deserialize)]
pub struct Place {
    by: SortBy,
    is_descending: bool,
    value: Option<Value>,
    id: Uuid,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Value {
    Text(String),
    Number(f64),
    Time(DateTime<Utc>),
}

impl Place {
    /// Where a list goes on after this machine.
    pub fn of(agent: &Agent, sort: Sort) -> Self {
        let text = |text: &str| Some(Value::Text(text.to_lowercase()));
        let percent = |value: Option<f32>| value.map(|value| Value::Number(f64::from(value)));
        let value = match sort.by {
            SortBy::Hostname => text(&agent.hostname),
            SortBy::Status => Some(Value::Number(match agent.status {
                Status::Online => 1.0,
                Status::Offline => 2.0,
                Status::Pending => 3.0,
                Status::Retired => 4.0,
            })),
            SortBy::LastSeen => agent.last_seen.map(Value::Time),
            SortBy::Os => text(&format!("{} {}", agent.os_type.as_str(), agent.os_version)),
            SortBy::Client => text(&agent.client_name),
            SortBy::Site => text(&agent.site_name),
            SortBy::Cpu => percent(agent.cpu_percent),
            SortBy::Memory => percent(agent.memory_percent),
            SortBy::Disk => percent(agent.disk_percent),
            SortBy::AskedAt => Some(Value::Time(agent.asked_at)),
            SortBy::Alerts => Some(Value::Number(agent.open_alerts as f64)),
        };
        Self { by: sort.by, is_descending: sort.is_descending, value, id: agent.id }
    }
}

impl SortBy {
    /// Whether there are machines without such a value.
    fn may_be_absent(self) -> bool {
        matches!(self, Self::LastSeen | Self::Cpu | Self::Memory | Self::Disk)
    }

    /// Whether it is a value of every machine's that no index has, because it changes with every sample.
    pub fn is_of_status(self) -> bool {
        self == Self::Status || self.may_be_absent()
    }

    /// The value machines are ordered by; the same as in [`Place::of`].
    fn expression(self) -> &'static str {
        match self {
            Self::Hostname => "a.hostname_key",
            Self::Status => {
                "CASE a.state WHEN 'pending' THEN 3.0::float8 WHEN 'retired' THEN 4.0
                   ELSE CASE WHEN s.is_connected THEN 1.0 ELSE 2.0 END END"
            }
            Self::LastSeen => "s.last_seen",
            Self::Os => "lower(a.os_type || ' ' || a.os_version)",
            Self::Client => "lower(d.client_name)",
            Self::Site => "lower(d.name)",
            Self::Cpu => "s.cpu_percent::float8",
            Self::Memory => "s.memory_percent::float8",
            Self::Disk => "s.disk_percent::float8",
            Self::AskedAt => "coalesce(a.asked_at, a.enrolled_at)",
            Self::Alerts => "coalesce(o.alerts, 0)::float8",
        }
    }
}

/// Where the values come from that machines are shown with. What stands in the list of columns as a query of its own is
/// asked for the machines of the page alone.
const FROM: &str = "
  FROM agents a
  JOIN site_directory d ON d.id = a.site_id
  LEFT JOIN agent_status s ON s.agent_id = a.id";
const ALERTS: &str = "
  LEFT JOIN open_alert_counts o ON o.agent_id = a.id";

/// Machines that pass the filter, from after `after` on, at most `limit`.
pub async fn list<P>(
    tx: &mut Tx<P>,
    filter: &Filter,
    sort: Sort,
    after: Option<Place>,
    limit: Option<i64>,
) -> Result<Vec<Agent>, Error> {
    if after.as_ref().is_some_and(|place| place.by != sort.by || place.is_descending != sort.is_descending) {
        return Err(Error::with_detail(Code::InvalidQuery, "cursor belongs to another order"));
    }
    let key = sort.by.expression();
    let mut query = QueryBuilder::<Postgres>::new(
        "SELECT a.id, a.hostname, a.os_type, a.os_version, a.arch, a.agent_version, a.protocol_version, a.client_id,
           a.site_id, d.name AS site_name, d.client_name, a.enrolled_at, a.machine_uid_source, a.machine_type, s.last_seen,
           coalesce(s.is_connected, false) AS is_connected, s.public_ip, s.logged_in_user, s.uptime_seconds,
           s.cpu_percent, s.memory_percent, s.disk_percent,
           coalesce((SELECT c.alerts FROM open_alert_counts c WHERE c.agent_id = a.id), 0) AS open_alerts,
           CASE WHEN a.state IN ('pending', 'retired') THEN a.state WHEN s.is_connected THEN 'online' ELSE 'offline'
             END AS status,
           a.retired_at, coalesce(a.asked_at, a.enrolled_at) AS asked_at,
           CASE WHEN a.state = 'pending' THEN a.pending_reason END AS pending_reason,
           CASE WHEN a.state = 'pending' THEN left(encode(a.key_digest, 'hex'), 8) END AS key_fingerprint,
           CASE WHEN a.state = 'pending' THEN a.key_changes ELSE 0 END AS key_changes,
           a.state <> 'retired' AND EXISTS (SELECT 1 FROM agents n WHERE n.client_id = a.client_id
             AND n.hostname_key = a.hostname_key AND n.id <> a.id AND n.state IN ('active', 'pending'))
             AS duplicate_hostname",
    );
    query.push(FROM);
    if filter.needs_attention || sort.by == SortBy::Alerts {
        query.push(ALERTS);
    }
    push_filter(&mut query, filter);
    if let Some(place) = after {
        let beyond = if sort.is_descending { " < " } else { " > " };
        match place.value {
            None => {
                query.push(" AND ").push(key).push(" IS NULL AND a.id > ").push_bind(place.id);
            }
            Some(value) => {
                query.push(" AND (").push(key).push(beyond);
                push_value(&mut query, &value);
                query.push(" OR (").push(key).push(" = ");
                push_value(&mut query, &value);
                query.push(" AND a.id > ").push_bind(place.id).push(")");
                if sort.by.may_be_absent() {
                    query.push(" OR ").push(key).push(" IS NULL");
                }
                query.push(")");
            }
        }
    }
    query.push(" ORDER BY ").push(key);
    query.push(match (sort.is_descending, sort.by.may_be_absent()) {
        (false, _) => ", a.id",
        (true, false) => " DESC, a.id",
        (true, true) => " DESC NULLS LAST, a.id",
    });
    if let Some(limit) = limit {
        query.push(" LIMIT ").push_bind(limit);
    }
    // Planned for this filter: a plan that is kept for all of them is bad for most.
    Ok(query.build_query_as::<Agent>().persistent(false).fetch_all(tx.conn()).await?)
}

/// So many machines are looked at faster together than one by one.
pub const MANY: i64 = 2_000;

/// Has PostgreSQL fetch what it needs of many machines together in this transaction. By itself it fetches them one by one: it
/// counts for each what row-level security costs those who are confined to some places, who should not ask for this.
pub async fn expect_many<P>(tx: &mut Tx<P>) -> Result<(), Error> {
    tx.conn().execute("SET LOCAL enable_nestloop = off").await?;
    Ok(())
}

/// How many machines pass the filter.
pub async fn count<P>(tx: &mut Tx<P>, filter: &Filter) -> Result<i64, Error> {
    // Every machine has a site, so that nothing else has to be looked at where nothing else is asked.
    let is_of_agents = filter.search.is_none()
        && !filter.needs_attention
        && !matches!(filter.status, Some(Status::Online | Status::Offline));
    let mut query = QueryBuilder::<Postgres>::new("SELECT count(*)");
    query.push(if is_of_agents { " FROM agents a" } else { FROM });
    if filter.needs_attention {
        query.push(ALERTS);
    }
    push_filter(&mut query, filter);
    Ok(query.build_query_scalar::<i64>().persistent(false).fetch_one(tx.conn()).await?)
}

fn push_filter(query: &mut QueryBuilder<Postgres>, filter: &Filter) {
    query.push(" WHERE a.state <> 'rejected'");
    if let Some(id) = filter.id {
        query.push(" AND a.id = ").push_bind(id);
    }
    if let Some(ids) = &filter.ids {
        query.push(" AND a.id = ANY (").push_bind(ids.clone()).push(")");
    }
    if let Some(search) = filter.search.as_deref().map(str::trim).filter(|search| !search.is_empty()) {
        query.push(
            " AND strpos(lower(concat_ws(E'\\n', a.hostname, s.logged_in_user, s.public_ip, a.os_version, d.client_name, \
             d.name)), lower(",
        );
        query.push_bind(search.replace('\0', "")).push(")) > 0");
    }
    query.push(match filter.status {
        None if filter.id.is_some() || filter.ids.is_some() => "",
        None => " AND a.state <> 'retired'",
        Some(Status::Retired) => " AND a.state = 'retired'",
        Some(Status::Pending) => " AND a.state = 'pending'",
        Some(Status::Online) => " AND a.state = 'active' AND s.is_connected",
        Some(Status::Offline) => " AND a.state = 'active' AND s.is_connected IS NOT TRUE",
    });
    if let Some(client_id) = filter.client_id {
        query.push(" AND a.client_id = ").push_bind(client_id);
    }
    if let Some(site_id) = filter.site_id {
        query.push(" AND a.site_id = ").push_bind(site_id);
    }
    if let Some(os_type) = filter.os_type {
        query.push(" AND a.os_type = ").push_bind(os_type.as_str());
    }
    if let Some(machine_type) = filter.machine_type {
        query.push(" AND a.machine_type = ").push_bind(machine_type.as_str());
    }
    if filter.needs_attention {
        query.push(" AND (o.alerts > 0 OR (a.state = 'active' AND s.is_connected IS NOT TRUE))");
    }
}

fn push_value(query: &mut QueryBuilder<Postgres>, value: &Value) {
    match value {
        Value::Text(text) => query.push_bind(text.clone()),
        Value::Number(number) => query.push_bind(*number),
        Value::Time(time) => query.push_bind(*time),
    };
}

impl<'r> FromRow<'r, PgRow> for Agent {
    fn from_row(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get("id")?,
            hostname: row.try_get("hostname")?,
            os_type: word(row, "os_type", &[OsType::Linux, OsType::Windows, OsType::Macos], OsType::as_str)?,
            os_version: row.try_get("os_version")?,
            arch: row.try_get("arch")?,
            agent_version: row.try_get("agent_version")?,
            protocol_version: row.try_get("protocol_version")?,
            status: row.try_get("status")?,
            last_seen: row.try_get("last_seen")?,
            is_connected: row.try_get("is_connected")?,
            site_id: row.try_get("site_id")?,
            site_name: row.try_get("site_name")?,
            client_id: row.try_get("client_id")?,
            client_name: row.try_get("client_name")?,
            enrolled_at: row.try_get("enrolled_at")?,
            machine_uid_source: word(row, "machine_uid_source", &UID_SOURCES, UidSource::as_str)?,
            machine_type: row.try_get("machine_type")?,
            public_ip: row.try_get("public_ip")?,
            logged_in_user: row.try_get("logged_in_user")?,
            uptime_seconds: row.try_get("uptime_seconds")?,
            cpu_percent: row.try_get("cpu_percent")?,
            memory_percent: row.try_get("memory_percent")?,
            disk_percent: row.try_get("disk_percent")?,
            duplicate_hostname: row.try_get("duplicate_hostname")?,
            pending_reason: row.try_get::<Option<PendingReason>, _>("pending_reason")?,
            key_fingerprint: row.try_get("key_fingerprint")?,
            key_changes: row.try_get("key_changes")?,
            open_alerts: row.try_get("open_alerts")?,
            asked_at: row.try_get("asked_at")?,
            retired_at: row.try_get("retired_at")?,
        })
    }
}

/// Where a machine's uid can come from, best first.
pub(super) const UID_SOURCES: [UidSource; 3] =
    [UidSource::SmbiosUuid, UidSource::BoardAndDisk, UidSource::OsId];

/// A word of the protocol, which knows nothing of databases.
fn word<T: Copy>(
    row: &PgRow,
    column: &str,
    all: &[T],
    as_str: impl Fn(T) -> &'static str,
) -> Result<T, sqlx::Error> {
    let word: &str = row.try_get(column)?;
    all.iter().copied().find(|value| as_str(*value) == word).ok_or_else(|| sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: format!("{word} is not one of the words").into(),
    })
}
