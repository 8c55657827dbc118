//! Routes of recordings.

use super::{RecordedEvents, Recording, RecordingDetail, RecordingFilter, read};
use crate::app::AppState;
use crate::auth::Scope;
use crate::auth::permission::ReadRecordings;
use crate::error::Error;
use crate::http::{Json, Page, PageQuery, Path, Query, SchemaName as _};
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Routes of this slice.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_recordings))
        .routes(routes!(get_recording))
        .routes(routes!(recording_cast))
        .routes(routes!(recording_events))
}

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct EventsQuery {
    /// Of this channel; 0: of the session itself.
    channel: Option<u32>,
}

/// Recorded sessions, the newest first.
#[utoipa::path(get, path = "/api/v1/recordings", tag = "recordings", params(RecordingFilter, PageQuery),
    responses((status = 200, body = Page<Recording>)))]
async fn list_recordings(
    State(app): State<AppState>,
    scope: Scope<ReadRecordings>,
    Query(filter): Query<RecordingFilter>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<Recording>>, Error> {
    super::list(&app, &scope, &filter, &page).await.map(Json)
}

/// One recorded session: its channels, what was entered, what is missing. 409 where the recording is damaged.
#[utoipa::path(get, path = "/api/v1/recordings/{session_id}", tag = "recordings",
    params(("session_id" = Uuid, Path)), responses((status = 200, body = RecordingDetail)))]
async fn get_recording(
    State(app): State<AppState>,
    scope: Scope<ReadRecordings>,
    Path(session_id): Path<Uuid>,
) -> Result<Json<RecordingDetail>, Error> {
    super::get(&app, &scope, session_id).await.map(Json)
}

/// A terminal of the session as asciicast v2, its times those of the session.
#[utoipa::path(get, path = "/api/v1/recordings/{session_id}/channels/{channel}/cast", tag = "recordings",
    params(("session_id" = Uuid, Path), ("channel" = u32, Path)),
    responses((status = 200, content((String = "application/x-asciicast")))))]
async fn recording_cast(
    State(app): State<AppState>,
    scope: Scope<ReadRecordings>,
    Path((session_id, channel)): Path<(Uuid, u32)>,
) -> Result<Response, Error> {
    let recording = super::look(&app, &scope, session_id).await?;
    let cast = read::cast(app, scope, &recording, channel).await?;
    let disposition = format!("attachment; filename=\"{session_id}-{channel}.cast\"");
    let headers = [
        (header::CONTENT_TYPE, "application/x-asciicast".to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    Ok((headers, Body::from_stream(cast)).into_response())
}

/// What happened in the session beside the bytes of its terminals, in order. The page has no total: events are counted by
/// reading them.
#[utoipa::path(get, path = "/api/v1/recordings/{session_id}/events", tag = "recordings",
    params(("session_id" = Uuid, Path), EventsQuery, PageQuery), responses((status = 200, body = RecordedEvents)))]
async fn recording_events(
    State(app): State<AppState>,
    scope: Scope<ReadRecordings>,
    Path(session_id): Path<Uuid>,
    Query(query): Query<EventsQuery>,
    Query(page): Query<PageQuery>,
) -> Result<Json<RecordedEvents>, Error> {
    super::events(&app, &scope, session_id, query.channel, &page).await.map(Json)
}
