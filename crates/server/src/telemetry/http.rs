//! Routes of charts and samples.

use super::{Chart, Sample};
use crate::app::AppState;
use crate::auth::Scope;
use crate::auth::permission::ReadFleet;
use crate::error::Error;
use crate::http::{Json, Path, Query};
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Routes of this slice.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(chart)).routes(routes!(sample_at)).merge(super::gaps::http::routes())
}

/// What a chart shows.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ChartQuery {
    /// Start; a day before `to` when absent.
    from: Option<DateTime<Utc>>,
    /// End; now when absent.
    to: Option<DateTime<Utc>>,
    /// Most points wanted; 300 when absent.
    #[param(minimum = 2, maximum = 1000)]
    points: Option<u32>,
}

/// The chart of a machine's metrics.
#[utoipa::path(get, path = "/api/v1/agents/{id}/metrics", tag = "metrics", params(("id" = Uuid, Path), ChartQuery),
    responses((status = 200, body = Chart)))]
async fn chart(
    State(app): State<AppState>,
    scope: Scope<ReadFleet>,
    Path(id): Path<Uuid>,
    Query(query): Query<ChartQuery>,
) -> Result<Json<Chart>, Error> {
    super::chart(&app, &scope, id, query.from, query.to, query.points).await.map(Json)
}

/// Which sample.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct AtQuery {
    /// The newest sample at or before this time; the newest of all when absent.
    time: Option<DateTime<Utc>>,
}

/// One sample with its processes.
#[utoipa::path(get, path = "/api/v1/agents/{id}/metrics/at", tag = "metrics", params(("id" = Uuid, Path), AtQuery),
    responses((status = 200, body = Sample)))]
async fn sample_at(
    State(app): State<AppState>,
    scope: Scope<ReadFleet>,
    Path(id): Path<Uuid>,
    Query(query): Query<AtQuery>,
) -> Result<Json<Sample>, Error> {
    super::sample_at(&app, &scope, id, query.time).await.map(Json)
}
