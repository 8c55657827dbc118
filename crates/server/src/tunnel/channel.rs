//! A channel that the server itself opens, for an HTTP request.

use super::caller::Caller;
use super::claim;
use super::credit::Verdict;
use super::host::{Host, Phase, ServerEnd, Use};
use crate::app::AppState;
use crate::error::{Code, Error, FieldError};
use bytes::Bytes;
use gururmm_protocol::tunnel::frame::{OFFSET_BYTES, data_body, json_body};
use gururmm_protocol::tunnel::request::{Answer, Request, Response};
use gururmm_protocol::tunnel::{
    BULK_WINDOW_BYTES, ChannelEnd, ChannelError, ChannelId, ErrorCode, Flags, Frame, FrameKind, Open,
    OpenChannel, Opened, WINDOW_BYTES,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

/// How long the machine may take to say that it has the session.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// How long the machine may be silent while it is waited for: a service may take its time to stop.
const ANSWERS_WITHIN: Duration = Duration::from_secs(150);
/// What all answers to one request may come to.
const ANSWERS_BYTES: usize = 64 * 1024 * 1024;
/// A part of the window that is granted again at once.
const GRANTED_AT: u32 = 4;

/// One channel; it ends when this is dropped.
pub struct ServerChannel {
    entered: Use,
    id: ChannelId,
    end: Arc<ServerEnd>,
    window: u32,
    /// Dealt with, and not granted again yet.
    dealt_with: u32,
    /// What the machine said when it opened.
    pub opened: Opened,
}

impl Drop for ServerChannel {
    fn drop(&mut self) {
        self.entered.host().leave(self.id);
    }
}

impl ServerChannel {
    /// Opens a channel in one's own session.
    pub async fn open(
        app: &AppState,
        caller: &Caller,
        session_id: Uuid,
        channel: OpenChannel,
    ) -> Result<Self, Error> {
        let is_bulk = matches!(channel, OpenChannel::Download(_) | OpenChannel::Upload(_));
        let window = if is_bulk { BULK_WINDOW_BYTES } else { WINDOW_BYTES };
        let until = Instant::now() + READY_WITHIN;
        let body = json_body(&Open { window, channel }).map_err(too_large)?;
        loop {
            let entered = claim::enter(app, caller, session_id).await?;
            ready(entered.host(), until).await?;
            let (id, end) = entered.host().server_end(8 * window as usize);
            let mut open = Self { entered, id, end, window, dealt_with: 0, opened: Opened::default() };
            match open.send(FrameKind::Open, Flags::default(), &body) {
                Verdict::Pass => {
                    open.opened = open.answered().await?;
                    return Ok(open);
                }
                Verdict::Refuse(end) => return Err(of_end(&end)),
                Verdict::Break(why) => {
                    return Err(Error::internal(anyhow::anyhow!("a channel of the server's: {why}")));
                }
                // The machine left at this moment.
                Verdict::Ignore => drop(open),
            }
        }
    }

    async fn answered(&mut self) -> Result<Opened, Error> {
        loop {
            let bytes = self.next().await?;
            let Ok(frame) = Frame::read(&bytes) else { continue };
            if frame.kind == FrameKind::Opened {
                return frame.json().map_err(|_not_json| nonsense());
            }
        }
    }

    /// Asks one thing; all parts of the answer, and the reply.
    pub async fn ask<R: Serialize, A: DeserializeOwned>(&mut self, request: R) -> Result<Vec<A>, Error> {
        self.message(&Request { id: 1, request }).await?;
        let (mut answers, mut all) = (Vec::new(), 0);
        loop {
            let bytes = self.next().await?;
            all += bytes.len();
            if all > ANSWERS_BYTES {
                return Err(of_error(&ChannelError::new(ErrorCode::TooLarge, "the answer is too large")));
            }
            let Ok(frame) = Frame::read(&bytes) else { continue };
            if frame.kind != FrameKind::Message {
                continue;
            }
            let response: Response<A> = frame.json().map_err(|_not_json| nonsense())?;
            let is_last = matches!(response.answer, Answer::Reply(_));
            match response.answer {
                Answer::Part(answer) | Answer::Reply(answer) => answers.push(answer),
                Answer::Error(error) => return Err(of_error(&error)),
            }
            if is_last {
                return Ok(answers);
            }
            self.dealt_with(frame.cost());
        }
    }

    /// Sends a message, once it may be sent.
    pub async fn message(&mut self, message: &impl Serialize) -> Result<(), Error> {
        let body = json_body(message).map_err(too_large)?;
        self.may_send(body.len()).await?;
        self.sent(FrameKind::Message, Flags::default(), &body)
    }

    /// Sends a piece of a transfer, once it may be sent.
    pub async fn data(&mut self, offset: u64, piece: &[u8]) -> Result<(), Error> {
        self.may_send(OFFSET_BYTES + piece.len()).await?;
        self.entered.host().room().await;
        self.sent(FrameKind::Data, Flags::BULK, &data_body(offset, piece))
    }

    async fn may_send(&mut self, bytes: usize) -> Result<(), Error> {
        while self.entered.host().may_send(self.id).is_none_or(|credit| (credit as usize) < bytes) {
            // A grant is a frame as well.
            self.next().await?;
        }
        Ok(())
    }

    fn sent(&self, kind: FrameKind, flags: Flags, body: &[u8]) -> Result<(), Error> {
        match self.send(kind, flags, body) {
            Verdict::Pass => Ok(()),
            _ => Err(gone()),
        }
    }

    fn send(&self, kind: FrameKind, flags: Flags, body: &[u8]) -> Verdict {
        self.entered.host().server_sends(&Frame { channel: self.id, kind, flags, body })
    }

    /// The next frame that is no end; an end with an error is that error, and one without is that nothing follows.
    pub async fn next(&mut self) -> Result<Bytes, Error> {
        match self.next_or_end().await? {
            Next::Frame(bytes) => Ok(bytes),
            Next::End(end) => Err(of_end(&end)),
        }
    }

    /// The next frame, or how the channel ended.
    pub async fn next_or_end(&mut self) -> Result<Next, Error> {
        let silent = || Error::with_detail(Code::Unavailable, "the machine does not answer");
        let next = timeout(ANSWERS_WITHIN, self.end.frames.pop()).await.map_err(|_elapsed| silent())?;
        let Some((_, bytes)) = next else { return Err(gone()) };
        let end = Frame::read(&bytes).ok().filter(|frame| frame.kind == FrameKind::End);
        Ok(match end.map(|end| end.json::<ChannelEnd>()) {
            Some(end) => Next::End(end.map_err(|_not_json| nonsense())?),
            None => Next::Frame(bytes),
        })
    }

    /// So much of what came was dealt with: it is granted again.
    pub fn dealt_with(&mut self, cost: u32) {
        self.dealt_with += cost;
        if self.dealt_with >= self.window / GRANTED_AT {
            let bytes = std::mem::take(&mut self.dealt_with).to_be_bytes();
            let _ends_with_the_channel = self.send(FrameKind::Credit, Flags::default(), &bytes);
        }
    }
}

/// What came.
pub enum Next {
    Frame(Bytes),
    End(ChannelEnd),
}

/// Waits until the machine has the session.
async fn ready(host: &Host, until: Instant) -> Result<(), Error> {
    let mut phase = host.phase.subscribe();
    loop {
        if host.over().is_some() {
            return Err(Error::new(Code::SessionClosed));
        }
        let now = *phase.borrow_and_update();
        match now {
            Phase::Ready => return Ok(()),
            Phase::Refused => {
                let detail =
                    host.refusal().map(|refused| format!("{}: {}", refused.reason.as_str(), refused.detail));
                return Err(Error::with_detail(Code::MachineRefused, detail.unwrap_or_default()));
            }
            Phase::Waiting if host.is_nowhere() => return Err(Error::new(Code::AgentOffline)),
            Phase::Waiting => {}
        }
        tokio::select! {
            changed = timeout_at(until, phase.changed()) => {
                if !matches!(changed, Ok(Ok(()))) {
                    return Err(Error::with_detail(Code::AgentOffline, "the machine does not answer"));
                }
            }
            () = host.done.cancelled() => return Err(Error::new(Code::SessionClosed)),
        }
    }
}

fn gone() -> Error {
    Error::with_detail(Code::AgentOffline, "the link to the machine was lost meanwhile")
}

fn nonsense() -> Error {
    Error::with_detail(Code::MachineFailed, "the machine answered something that this server does not know")
}

fn too_large(_does_not_fit: gururmm_protocol::tunnel::FrameError) -> Error {
    Error::new(Code::PayloadTooLarge)
}

/// What a caller is told of a channel that ended.
pub fn of_end(end: &ChannelEnd) -> Error {
    match &end.error {
        Some(error) => of_error(error),
        None => Error::with_detail(Code::MachineFailed, "the channel ended before there was an answer"),
    }
}

/// What a caller is told of something that the machine could not do: its own word stands in `errors`.
fn of_error(error: &ChannelError) -> Error {
    let detail = error.detail.clone();
    let (code, word) = match error.code {
        ErrorCode::NotAllowed => return Error::with_detail(Code::ChannelNotAllowed, detail),
        ErrorCode::PermissionDenied => (Code::MachineFailed, "PERMISSION_DENIED"),
        ErrorCode::NotFound => (Code::MachineFailed, "NOT_FOUND"),
        ErrorCode::AlreadyExists => (Code::MachineFailed, "ALREADY_EXISTS"),
        ErrorCode::Conflict => (Code::MachineFailed, "CONFLICT"),
        ErrorCode::NotAFolder => (Code::MachineFailed, "NOT_A_FOLDER"),
        ErrorCode::IsAFolder => (Code::MachineFailed, "IS_A_FOLDER"),
        ErrorCode::NotEmpty => (Code::MachineFailed, "NOT_EMPTY"),
        ErrorCode::NoSpace => (Code::MachineFailed, "NO_SPACE"),
        ErrorCode::TooLarge => (Code::MachineFailed, "TOO_LARGE"),
        ErrorCode::Unsupported => (Code::MachineFailed, "UNSUPPORTED"),
        ErrorCode::NoUserSession => (Code::MachineFailed, "NO_USER_SESSION"),
        ErrorCode::Invalid => (Code::ValidationFailed, "INVALID"),
        ErrorCode::ChecksumMismatch => (Code::MachineFailed, "CHECKSUM_MISMATCH"),
        ErrorCode::TooMany => (Code::MachineFailed, "TOO_MANY"),
        ErrorCode::Unreachable => (Code::MachineFailed, "UNREACHABLE"),
        ErrorCode::Closed => (Code::MachineFailed, "CLOSED"),
        ErrorCode::Failed | ErrorCode::Other => (Code::MachineFailed, "FAILED"),
    };
    let mut problem = Error::with_detail(code, detail.clone());
    if let Error::Problem(problem) = &mut problem {
        problem.errors.push(FieldError { field: "machine".into(), code: word, message: detail.into() });
    }
    problem
}
