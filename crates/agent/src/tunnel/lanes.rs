//! Three queues to the server, each with little in it: whoever sends waits here, where others can go first.

use gururmm_protocol::tunnel::Flags;
use tokio::sync::mpsc;

/// Frames of one connection's lanes that wait. A keystroke's echo waits behind no more than these of its own lane.
const FIRST: usize = 16;
const PROMPT: usize = 4;
const BULK: usize = 2;

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// A few bytes about the flow itself.
    First,
    /// What somebody waits for.
    Prompt,
    /// Parts of transfers, and of connections that may carry as much.
    Bulk,
}

impl Lane {
    /// What frames in it are marked with.
    pub fn flags(self) -> Flags {
        if self == Self::Bulk { Flags::BULK } else { Flags::default() }
    }
}

/// Where frames are put.
#[derive(Debug, Clone)]
pub struct Lanes {
    first: mpsc::Sender<Vec<u8>>,
    prompt: mpsc::Sender<Vec<u8>>,
    bulk: mpsc::Sender<Vec<u8>>,
}

/// Where they come out, the most urgent first.
#[derive(Debug)]
pub struct LanesEnd {
    first: mpsc::Receiver<Vec<u8>>,
    prompt: mpsc::Receiver<Vec<u8>>,
    bulk: mpsc::Receiver<Vec<u8>>,
}

impl Lanes {
    /// Those of one connection.
    pub fn new() -> (Self, LanesEnd) {
        let (first, first_end) = mpsc::channel(FIRST);
        let (prompt, prompt_end) = mpsc::channel(PROMPT);
        let (bulk, bulk_end) = mpsc::channel(BULK);
        (Self { first, prompt, bulk }, LanesEnd { first: first_end, prompt: prompt_end, bulk: bulk_end })
    }

    /// One of them.
    pub fn of(&self, lane: Lane) -> &mpsc::Sender<Vec<u8>> {
        match lane {
            Lane::First => &self.first,
            Lane::Prompt => &self.prompt,
            Lane::Bulk => &self.bulk,
        }
    }

    /// Whether these are of the same connection.
    pub fn is_same(&self, other: &Self) -> bool {
        self.first.same_channel(&other.first)
    }
}

impl LanesEnd {
    /// The next frame; waits for ever when nobody can send any more. Nothing is lost when it is not waited for.
    pub async fn next(&mut self) -> Vec<u8> {
        let Self { first, prompt, bulk } = self;
        let frame = tokio::select! {
            biased;
            Some(frame) = first.recv() => frame,
            Some(frame) = prompt.recv() => frame,
            Some(frame) = bulk.recv() => frame,
            else => std::future::pending().await,
        };
        frame
    }
}
