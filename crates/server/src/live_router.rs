//! Which slice a live subscription belongs to. The one place that knows all of them.

use crate::app::AppState;
use crate::auth::Scope;
use crate::auth::credential::Session;
use crate::auth::permission::ReadFleet;
use crate::commands::{self, Command, StreamName};
use crate::error::Error;
use crate::http::RequestInfo;
use crate::telemetry::{self, Sample, live::LiveView};
use axum::extract::ws::Utf8Bytes;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

/// A right that was lost ends a stream within this time.
const RIGHTS_HOLD_FOR: Duration = Duration::from_secs(10);

/// What can be subscribed to.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Subject {
    /// Samples of a machine, every two seconds while anyone looks.
    AgentMetrics { agent_id: Uuid },
    /// Output and states of a command.
    CommandOutput {
        command_id: Uuid,
        #[serde(default)]
        after_seq: i32,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Frame<'a> {
    Metrics { sub: u32, agent_id: Uuid, sample: &'a Sample },
    Output { sub: u32, command_id: Uuid, seq: i32, stream: StreamName, text: &'a str },
    Command { sub: u32, command: &'a Command },
}

/// Streams a subject into `frames` until the right to it is lost, which is the error. Waits for room in `frames`: a
/// slow reader gets the latest sample only, and output as fast as it reads.
pub async fn follow(
    app: &AppState,
    session: &Session,
    sub: u32,
    subject: Subject,
    frames: &mpsc::Sender<Utf8Bytes>,
) -> Result<(), Error> {
    let scope: Scope<ReadFleet> = Scope::for_session(session, RequestInfo::default())?;
    match subject {
        Subject::AgentMetrics { agent_id } => metrics(app, &scope, sub, agent_id, frames).await,
        Subject::CommandOutput { command_id, after_seq } => {
            output(app, &scope, sub, command_id, after_seq.max(0), frames).await
        }
    }
}

async fn metrics(
    app: &AppState,
    scope: &Scope<ReadFleet>,
    sub: u32,
    agent_id: Uuid,
    frames: &mpsc::Sender<Utf8Bytes>,
) -> Result<(), Error> {
    telemetry::check_visible(app, scope, agent_id).await?;
    let (mut watch, mut checked_at) = (LiveView::watch(app, scope.tenant()?, agent_id), Instant::now());
    while let Some(sample) = watch.next().await {
        if checked_at.elapsed() >= RIGHTS_HOLD_FOR {
            telemetry::check_visible(app, scope, agent_id).await?;
            checked_at = Instant::now();
        }
        send(frames, &Frame::Metrics { sub, agent_id, sample: &sample }).await?;
    }
    Ok(())
}

async fn output(
    app: &AppState,
    scope: &Scope<ReadFleet>,
    sub: u32,
    command_id: Uuid,
    mut after_seq: i32,
    frames: &mpsc::Sender<Utf8Bytes>,
) -> Result<(), Error> {
    let mut signal = app.commands.signals.follow(command_id);
    let mut told: Option<Command> = None;
    loop {
        // The state first: when it says "ended", all output is there to be read.
        let command = commands::get_without_output(app, scope, command_id).await?;
        loop {
            let output = commands::output(app, scope, command_id, after_seq).await?;
            for chunk in &output.chunks {
                after_seq = chunk.seq;
                let (seq, stream, text) = (chunk.seq, chunk.stream, chunk.text.as_str());
                send(frames, &Frame::Output { sub, command_id, seq, stream, text }).await?;
            }
            if output.chunks.is_empty() {
                break;
            }
        }
        if told.as_ref() != Some(&command) {
            send(frames, &Frame::Command { sub, command: &command }).await?;
            told = Some(command);
        }
        signal.changed().await;
    }
}

async fn send(frames: &mpsc::Sender<Utf8Bytes>, frame: &Frame<'_>) -> Result<(), Error> {
    let text = serde_json::to_string(frame).map_err(Error::internal)?;
    frames.send(text.into()).await.map_err(Error::internal)
}
