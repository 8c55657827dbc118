//! The route of gaps.

use super::MetricGaps;
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

/// Routes of gaps.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(gaps))
}

/// Where to look.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct GapsQuery {
    /// Start; a day before `to` when absent.
    from: Option<DateTime<Utc>>,
    /// End; now when absent.
    to: Option<DateTime<Utc>>,
}

/// Samples that a machine measured and could not keep until the server took them.
#[utoipa::path(get, path = "/api/v1/agents/{id}/metrics/gaps", tag = "metrics", params(("id" = Uuid, Path), GapsQuery),
    responses((status = 200, body = MetricGaps)))]
async fn gaps(
    State(app): State<AppState>,
    scope: Scope<ReadFleet>,
    Path(id): Path<Uuid>,
    Query(query): Query<GapsQuery>,
) -> Result<Json<MetricGaps>, Error> {
    super::list(&app, &scope, id, query.from, query.to).await.map(Json)
}
