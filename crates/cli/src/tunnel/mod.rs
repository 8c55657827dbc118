//! A session with a machine: one WebSocket with channels in it, made anew when it breaks.

mod channel;
mod pace;
mod socket;

pub use channel::{Channel, Gone, Incoming, Sender};

use crate::api::{Api, Problem};
use anyhow::Context as _;
use channel::{Table, Use};
use gururmm_protocol::tunnel::{ChannelId, LiveChannel, Open, OpenChannel, frame, order::Shell};
use gururmm_protocol::tunnel::{Flags, Frame, FrameKind, WINDOW_BYTES};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

/// Frames that wait for the socket.
const QUEUE: usize = 64;
/// Frames of transfers that wait: one behind the one that is being written.
const BULK_QUEUE: usize = 2;

/// How a session stands.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Not connected, or the machine is not there.
    Waiting,
    /// Channels can be opened.
    Ready(Arc<Ready>),
    /// Over, and why.
    Over(String),
}

/// What the machine has.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Ready {
    /// Channels from before this program.
    #[serde(default)]
    pub channels: Vec<LiveChannel>,
    /// The default one first.
    #[serde(default)]
    pub shells: Vec<Shell>,
}

/// A session with a machine. Dropping it leaves the session open at the server; [`Session::close`] ends it.
pub struct Session {
    api: Api,
    id: Uuid,
    state: watch::Receiver<State>,
    table: Arc<Table>,
    interactive: mpsc::Sender<Vec<u8>>,
    bulk: mpsc::Sender<Vec<u8>>,
    next: AtomicU32,
    driver: tokio::task::JoinHandle<()>,
}

impl Session {
    /// Opens a session with a machine, or joins the one that this tech has with it, and waits until the machine is ready.
    ///
    /// # Errors
    /// What the server or the machine says instead.
    pub async fn open(
        api: &Api,
        agent_id: Uuid,
        reason: Option<&str>,
        ticket: Option<&str>,
    ) -> anyhow::Result<Self> {
        let mut body = json!({ "agent_id": agent_id });
        for (name, value) in [("reason", reason), ("ticket", ticket)] {
            if let Some(value) = value {
                body[name] = value.into();
            }
        }
        let opened = api.post("/api/v1/tunnel/open", body).await.map_err(say_how_to_give_a_reason)?;
        let id = opened["session_id"]
            .as_str()
            .and_then(|id| id.parse().ok())
            .context("no session was answered")?;
        let (tell, mut state) = watch::channel(State::Waiting);
        let table = Arc::new(Table::default());
        let ((interactive, first), (bulk, second)) = (mpsc::channel(QUEUE), mpsc::channel(BULK_QUEUE));
        let driver = socket::Driver { api: api.clone(), id, table: Arc::clone(&table), tell, first, second };
        let driver = tokio::spawn(driver.run());
        let now =
            state.wait_for(|state| *state != State::Waiting).await.context("the session is gone")?.clone();
        if let State::Over(reason) = now {
            anyhow::bail!("there is no session: {reason}");
        }
        Ok(Self {
            api: api.clone(),
            id,
            state,
            table,
            interactive,
            bulk,
            next: AtomicU32::new(first_number()),
            driver,
        })
    }

    /// Its number at the server.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// How it stands, now and later.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Opens a channel; the first thing that comes from it is [`Incoming::Opened`] or [`Incoming::End`]. `resumes`: go on with
    /// it after a lost link, instead of ending it. Transfers end with their link, and keep their own pace.
    pub async fn channel(&self, channel: OpenChannel, resumes: bool) -> anyhow::Result<Channel> {
        let id: ChannelId = self.next.fetch_add(1, Ordering::Relaxed);
        let used = match channel {
            OpenChannel::Download(_) => Use::Download,
            OpenChannel::Upload(_) => Use::Upload,
            _ => Use::Talk { window: WINDOW_BYTES, resumes },
        };
        let opened = self.table.add(id, used, (self.interactive.clone(), self.bulk.clone()));
        let body = frame::json_body(&Open { window: opened.window(), channel })?;
        let open = Frame { channel: id, kind: FrameKind::Open, flags: Flags::default(), body: &body };
        self.interactive.send(open.to_bytes()).await.context("the session is over")?;
        Ok(opened)
    }

    /// Ends the session, with all shells in it.
    pub async fn close(self) -> anyhow::Result<()> {
        self.api.post("/api/v1/tunnel/close", json!({ "session_id": self.id })).await.map(drop)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Channels are numbered by who opens them, and a session may be shared with a page: far from the small numbers that
/// pages take, another place each time.
fn first_number() -> u32 {
    0x1000_0000 + (rand::random::<u32>() >> 8) * 16
}

fn say_how_to_give_a_reason(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<Problem>().map(|problem| problem.code.as_str()) {
        Some("REASON_REQUIRED") => error.context("say why with --reason"),
        Some("TICKET_REQUIRED") => error.context("name the ticket with --ticket"),
        _ => error,
    }
}
