//! One command with all of its output, as one JSON object. Long output is written while it is read: it may be
//! seventeen megabytes, six times that in JSON, and whoever asked may take it a byte at a time.

use super::text::Decoder;
use super::{Command, StreamName, output_store, store};
use crate::app::AppState;
use crate::auth::Scope;
use crate::auth::permission::Permission;
use crate::error::Error;
use crate::http::Json;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use serde_json::Value;
use uuid::Uuid;

/// Chunks read at a time: what one answer holds in memory, beside its JSON.
const CHUNKS_AT_A_TIME: usize = 8;

/// Answers with the command. 404 where it is not seen.
pub async fn answer<P: Permission>(app: AppState, scope: Scope<P>, id: Uuid) -> Result<Response, Error> {
    let mut tx = app.db.begin(&scope).await?;
    let command = store::get(&mut tx, id).await?.ok_or_else(Error::not_found)?;
    let first = output_store::first_chunks(&mut tx, id, CHUNKS_AT_A_TIME).await?;
    if !first.is_empty() {
        super::note_read(&mut tx, id).await?;
    }
    tx.commit().await?;
    if first.len() < CHUNKS_AT_A_TIME {
        let text = |wanted| {
            let mut decoder = Decoder::default();
            let of_stream = first.iter().filter(|(stream, _)| *stream == wanted);
            let text: String = of_stream.map(|(_, data)| decoder.next(data)).collect();
            text + decoder.rest()
        };
        let (stdout, stderr) = (text(StreamName::Stdout), text(StreamName::Stderr));
        return Ok(Json(Command { stdout, stderr, ..command }).into_response());
    }
    let start = Place {
        app,
        scope,
        id,
        head: Some(head(&command)?),
        stream: StreamName::Stdout,
        after_seq: 0,
        decoder: Decoder::default(),
    };
    // Every piece has a transaction of its own: a slow download holds no connection.
    let pieces = stream::try_unfold(Some(start), |place| async {
        match place {
            Some(place) => place.next().await.map(Some),
            None => Ok(None),
        }
    });
    let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((json, Body::from_stream(pieces)).into_response())
}

/// The object up to its output, which comes last.
fn head(command: &Command) -> Result<String, Error> {
    let mut object = serde_json::to_value(command).map_err(Error::internal)?;
    if let Value::Object(fields) = &mut object {
        fields.retain(|name, _| name != "stdout" && name != "stderr");
    }
    let object = object.to_string();
    Ok(format!("{},\"stdout\":\"", object.strip_suffix('}').unwrap_or(&object)))
}

/// How far an answer has come.
struct Place<P> {
    app: AppState,
    scope: Scope<P>,
    id: Uuid,
    head: Option<String>,
    stream: StreamName,
    after_seq: i32,
    decoder: Decoder,
}

impl<P: Permission> Place<P> {
    async fn next(mut self) -> Result<(Bytes, Option<Self>), Error> {
        let mut tx = self.app.db.begin(&self.scope).await?;
        let chunks =
            output_store::chunks_of(&mut tx, self.id, self.stream, self.after_seq, CHUNKS_AT_A_TIME).await?;
        drop(tx);
        let mut json = self.head.take().unwrap_or_default();
        for (seq, data) in &chunks {
            self.after_seq = *seq;
            push_escaped(&mut json, &self.decoder.next(data))?;
        }
        if chunks.len() == CHUNKS_AT_A_TIME {
            return Ok((json.into(), Some(self)));
        }
        json.push_str(self.decoder.rest());
        match self.stream {
            StreamName::Stdout => {
                json.push_str("\",\"stderr\":\"");
                (self.stream, self.after_seq, self.decoder) = (StreamName::Stderr, 0, Decoder::default());
                Ok((json.into(), Some(self)))
            }
            StreamName::Stderr => {
                json.push_str("\"}");
                Ok((json.into(), None))
            }
        }
    }
}

/// A text as the inside of a JSON string.
fn push_escaped(json: &mut String, text: &str) -> Result<(), Error> {
    let quoted = serde_json::to_string(text).map_err(Error::internal)?;
    json.push_str(quoted.get(1..quoted.len() - 1).unwrap_or_default());
    Ok(())
}
