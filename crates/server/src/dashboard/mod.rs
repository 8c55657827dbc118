//! The dashboard's files, which are part of the binary, and the page that every address of it is.

mod encoding;
mod paths;

use crate::app::AppState;
use crate::error::Error;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use encoding::Encoding;
use rust_embed::{EmbeddedFile, RustEmbed};

const PAGE: &str = "index.html";

#[derive(RustEmbed)]
#[folder = "../../dashboard/dist"]
#[allow_missing = true]
struct Files;

/// Answers what no route of the API knows: a file, a page of the dashboard, or 404.
///
/// # Errors
/// `NOT_FOUND`.
pub async fn serve(
    State(app): State<AppState>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Error> {
    if !matches!(method, Method::GET | Method::HEAD) {
        return Err(Error::not_found());
    }
    if let Some(answer) = paths::file_name(uri.path()).and_then(|name| find(name, &headers)) {
        return Ok(answer);
    }
    let page = paths::page(uri.path()).ok_or_else(Error::not_found)?;
    if page == paths::Page::Setup && !app.db.setup_is_open().await? {
        return Err(Error::not_found());
    }
    Ok(find(PAGE, &headers).unwrap_or_else(not_built))
}

/// The file in the best form that was built and that the client takes.
fn find(name: &str, headers: &HeaderMap) -> Option<Response> {
    let encoded = encoding::accepted(headers)
        .find_map(|encoding| Some((Some(encoding), Files::get(&encoding.name_of(name))?)));
    let (encoding, file) = match encoded {
        Some(found) => found,
        None => (None, Files::get(name)?),
    };
    Some(answer(name, encoding, file, headers))
}

/// Files under `assets/` carry a hash of their content in their name: they never change. Everything else is asked
/// about again each time, and mostly answered with 304.
fn answer(name: &str, encoding: Option<Encoding>, file: EmbeddedFile, headers: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", blake3::Hash::from_bytes(file.metadata.sha256_hash()).to_hex());
    let cache = if name.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let shared = [
        (header::ETAG, text(&tag)),
        (header::CACHE_CONTROL, HeaderValue::from_static(cache)),
        (header::VARY, HeaderValue::from_static("accept-encoding")),
    ];
    if is_known(headers, &tag) {
        return (StatusCode::NOT_MODIFIED, shared).into_response();
    }
    let content_type: [(HeaderName, HeaderValue); 1] =
        [(header::CONTENT_TYPE, HeaderValue::from_static(content_type(name)))];
    let mut response = (shared, content_type, file.data.into_owned()).into_response();
    if let Some(encoding) = encoding {
        let value = HeaderValue::from_static(encoding.token());
        response.headers_mut().insert(header::CONTENT_ENCODING, value);
    }
    response
}

fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let tags = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    tags.flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.trim_start_matches("W/") == tag)
}

fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// By what Vite puts out.
fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" | "webmanifest" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn not_built() -> Response {
    let sentence = "This server was built without the dashboard. Build it (npm run build in dashboard/) and then \
                    the server again, or start both with ./dev up. The API works.\n";
    (StatusCode::SERVICE_UNAVAILABLE, sentence).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &'static [u8]) -> EmbeddedFile {
        let metadata = rust_embed::Metadata::__rust_embed_new([7; 32], None, None);
        EmbeddedFile { data: content.into(), metadata }
    }

    #[test]
    fn hashed_files_are_kept_for_ever_and_others_are_asked_about() {
        let none = HeaderMap::new();
        let asset = answer("assets/index-1a2b.js", Some(Encoding::Brotli), file(b"x"), &none);
        assert_eq!(asset.headers()[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
        assert_eq!(asset.headers()[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
        assert_eq!(asset.headers()[header::CONTENT_ENCODING], "br");
        assert_eq!(asset.headers()[header::VARY], "accept-encoding");
        let page = answer(PAGE, None, file(b"x"), &none);
        assert!(!page.headers().contains_key(header::CONTENT_ENCODING));
        assert_eq!(page.headers()[header::CACHE_CONTROL], "no-cache");
        let mut again = HeaderMap::new();
        again.insert(header::IF_NONE_MATCH, page.headers()[header::ETAG].clone());
        assert_eq!(answer(PAGE, None, file(b"x"), &again).status(), StatusCode::NOT_MODIFIED);
        again.insert(header::IF_NONE_MATCH, HeaderValue::from_static("\"another\", W/\"one\""));
        assert_eq!(answer(PAGE, None, file(b"x"), &again).status(), StatusCode::OK);
    }
}
