//! History: what machines measured in hours that are over, packed, rolled up, and read back as if it were not. Decision 0010
//! says why it is kept like this.

mod columns;
mod compact;
pub mod pack;
mod read;
pub mod rollup;
mod store;

pub use compact::{JOB, add, keep};
pub use read::{buckets, cpu_around, sample_at};

use crate::app::App;
use crate::auth::Scope;
use crate::auth::permission::{ManagePlatform, System};
use crate::db::words;
use crate::error::Error;
use crate::http::RequestInfo;
use chrono::{DateTime, TimeDelta, Utc};
use columns::PackError;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// Where an agent's samples stand.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub tenant_id: Uuid,
    pub num: i64,
}

/// The samples of an agent in one hour that are of one retention class.
#[derive(Debug, Clone, Copy)]
pub struct Hour {
    pub num: i64,
    pub retention_days: i16,
    pub hour: DateTime<Utc>,
    pub samples: i64,
}

/// What a process is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    pub name: String,
    pub user: String,
    pub command_line: String,
}

words! {
    /// What a chart was drawn from.
    #[derive(PartialOrd, Ord)]
    Level {
        /// The samples themselves.
        Samples = "samples",
        FiveMinutes = "five_minutes",
        Hours = "hours",
        Days = "days",
    }
}

/// From the finest to the coarsest.
pub const LEVELS: [Level; 4] = [Level::Samples, Level::FiveMinutes, Level::Hours, Level::Days];

impl Level {
    /// Length of a bucket; a chart of samples may have any.
    pub fn seconds(self) -> i64 {
        match self {
            Self::Samples => 1,
            Self::FiveMinutes => 300,
            Self::Hours => 3_600,
            Self::Days => 86_400,
        }
    }

    fn seconds_i32(self) -> i32 {
        match self {
            Self::Samples => 1,
            Self::FiveMinutes => 300,
            Self::Hours => 3_600,
            Self::Days => 86_400,
        }
    }

    /// How long it is kept, in days, for a partner of this class. Roll-ups hold figures and no names, and tell of years.
    pub fn keep_days(self, class: i16) -> i16 {
        match self {
            Self::Samples => class,
            Self::FiveMinutes => class.max(90),
            Self::Hours => class.max(365),
            Self::Days => 1_095,
        }
    }
}

/// How far the job that packs hours is behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = HistoryLag)]
pub struct Lag {
    /// When it last looked at the partner that it has not looked at for longest.
    pub looked_at: Option<DateTime<Utc>>,
    /// Hours of machines that were over and not packed then.
    pub hours_waiting: i64,
    /// The oldest of them.
    pub oldest_waiting: Option<DateTime<Utc>>,
}

impl Lag {
    /// Since when it is not known that everything that was over is packed: the end of the oldest hour that waits, or when the
    /// job looked last. `None` before it has looked at all.
    pub fn since(&self) -> Option<DateTime<Utc>> {
        let end = self.oldest_waiting.and_then(|hour| hour.checked_add_signed(TimeDelta::hours(1)));
        end.into_iter().chain(self.looked_at).min()
    }
}

/// How far history is behind, over all partners.
pub async fn lag(app: &App, scope: &Scope<ManagePlatform>) -> Result<Lag, Error> {
    store::progress(&mut app.db.begin(scope).await?).await
}

/// The same for the server's own figures, which name no partner.
pub async fn lag_of_all(app: &App) -> Result<Lag, Error> {
    let scope: Scope<System> = Scope::platform("figures", RequestInfo::default());
    store::progress(&mut app.db.begin(&scope).await?).await
}

impl From<PackError> for Error {
    fn from(error: PackError) -> Self {
        Self::Internal(error.into())
    }
}

#[cfg(test)]
mod tests;
