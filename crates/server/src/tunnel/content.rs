//! Files by HTTP: streamed both ways, as fast as the slower side takes them.

use super::caller::Caller;
use super::channel::{Next, ServerChannel, of_end};
use super::scripts::audit;
use crate::app::AppState;
use crate::error::{Code, Error};
use crate::http::{Json, Path, Query};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use gururmm_protocol::tunnel::files::{OpenDownload, OpenUpload, UploadMessage};
use gururmm_protocol::tunnel::frame::{OFFSET_BYTES, PIECE_BYTES};
use gururmm_protocol::tunnel::{Frame, FrameKind, OpenChannel};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// Which file.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DownloadQuery {
    path: String,
    /// A folder, as a gzip-compressed tar archive.
    #[serde(default)]
    archive: bool,
}

/// A file of the session's machine, from an offset on where `Range: bytes=OFFSET-` asks for it.
#[utoipa::path(get, path = "/api/v1/tunnel/{session_id}/files/content", tag = "tunnel",
    params(("session_id" = Uuid, Path), DownloadQuery),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>),
        (status = 206, content_type = "application/octet-stream", body = Vec<u8>)))]
pub async fn download(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(DownloadQuery { path, archive }): Query<DownloadQuery>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let from = if archive { None } else { range(&headers) };
    let open =
        OpenDownload { path: path.clone(), offset: from.unwrap_or_default(), modified_ms: None, archive };
    let channel = ServerChannel::open(&app, &caller, id, OpenChannel::Download(open)).await?;
    audit(&app, &caller, id, "tunnel.download", json!({ "path": path, "archive": archive })).await?;
    let size = channel.opened.size;
    let mut response = Response::new(Body::from_stream(stream::unfold(Some(channel), piece)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_DISPOSITION, disposition(&path, archive)?);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(size) = size.filter(|_| !archive) {
        let from = from.unwrap_or_default();
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(header::CONTENT_LENGTH, size.saturating_sub(from).into());
    }
    if let Some((from, size)) = from.zip(size) {
        let last = size.saturating_sub(1);
        let part = HeaderValue::try_from(format!("bytes {from}-{last}/{size}")).map_err(Error::internal)?;
        headers.insert(header::CONTENT_RANGE, part);
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// The next piece of the file. One that comes to no good end breaks the answer off: nobody takes it for whole.
async fn piece(channel: Option<ServerChannel>) -> Option<(Result<Bytes, Error>, Option<ServerChannel>)> {
    let mut channel = channel?;
    loop {
        let bytes = match channel.next_or_end().await {
            Ok(Next::Frame(bytes)) => bytes,
            Ok(Next::End(end)) => return end.error.is_some().then(|| (Err(of_end(&end)), None)),
            Err(error) => return Some((Err(error), None)),
        };
        let Ok(frame) = Frame::read(&bytes) else { continue };
        let cost = frame.cost();
        if frame.kind == FrameKind::Data {
            let start = bytes.len() - frame.body.len() + OFFSET_BYTES;
            let piece = bytes.slice(start..);
            // Taken up: the answer's reader has had the piece before.
            channel.dealt_with(cost);
            if !piece.is_empty() {
                return Some((Ok(piece), Some(channel)));
            }
        }
    }
}

/// From where on, where all the rest is asked for. Other ranges are answered with the whole file.
fn range(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(header::RANGE)?.to_str().ok()?;
    range.trim().strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

/// A name that no browser opens by itself.
fn disposition(path: &str, archive: bool) -> Result<HeaderValue, Error> {
    let name = path.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or("file");
    let suffix = if archive { ".tar.gz" } else { "" };
    let name = utf8_percent_encode(name, NON_ALPHANUMERIC);
    HeaderValue::try_from(format!("attachment; filename*=UTF-8''{name}{suffix}")).map_err(Error::internal)
}

/// Where to.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct UploadQuery {
    path: String,
    /// Whether a file that is there may be replaced.
    #[serde(default)]
    replace: bool,
}

/// A file that is in its place.
#[derive(Debug, Serialize, ToSchema)]
pub struct Uploaded {
    pub size: u64,
    /// Of the whole file, in hex; the machine found the same.
    pub sha256: String,
}

/// Put a file onto the session's machine. `Content-Length` says how long it is.
#[utoipa::path(put, path = "/api/v1/tunnel/{session_id}/files/content", tag = "tunnel",
    params(("session_id" = Uuid, Path), UploadQuery),
    request_body(content_type = "application/octet-stream", content = Vec<u8>),
    responses((status = 200, body = Uploaded)))]
pub async fn upload(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(UploadQuery { path, replace }): Query<UploadQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Uploaded>, Error> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let size: u64 = length
        .and_then(|length| length.parse().ok())
        .ok_or_else(|| Error::field("content-length", "REQUIRED", "is missing"))?;
    let resume_key = Uuid::new_v4().simple().to_string();
    let open = OpenUpload { path: path.clone(), size, replace, resume_key };
    let mut channel = ServerChannel::open(&app, &caller, id, OpenChannel::Upload(open)).await?;
    let (mut offset, mut hash) = (0_u64, Sha256::new());
    let mut pieces = body.into_data_stream();
    while let Some(bytes) = pieces.next().await {
        let Ok(bytes) = bytes else {
            channel.message(&UploadMessage::Discard {}).await?;
            return Err(Error::with_detail(Code::MalformedRequest, "the body broke off"));
        };
        for piece in bytes.chunks(PIECE_BYTES) {
            channel.data(offset, piece).await?;
            hash.update(piece);
            offset += piece.len() as u64;
        }
    }
    let sha256 = hex::encode(hash.finalize());
    channel.message(&UploadMessage::Finish { sha256: sha256.clone() }).await?;
    loop {
        match channel.next_or_end().await? {
            Next::Frame(_) => {}
            Next::End(end) if end.error.is_some() => return Err(of_end(&end)),
            Next::End(_) => break,
        }
    }
    let detail = json!({ "path": path, "size": size, "sha256": sha256 });
    audit(&app, &caller, id, "tunnel.upload", detail).await?;
    Ok(Json(Uploaded { size: offset, sha256 }))
}
