//! The tech's end of one channel, for tests of what serves it: without a session, with the real sender and its credit.

use super::channel::{Channel, Incoming, Shared};
use super::lanes::{Lane, Lanes, LanesEnd};
use gururmm_protocol::TunnelId;
use gururmm_protocol::tunnel::{
    Attach, BULK_WINDOW_BYTES, ChannelEnd, Flags, Frame, FrameKind, Opened, WINDOW_BYTES,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use uuid::Uuid;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a tech hears on a channel.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Heard {
    Opened(Opened),
    Data { offset: u64, bytes: Vec<u8> },
    Message(Vec<u8>),
}

/// The tech's end of a channel.
pub(crate) struct Tech {
    shared: Arc<Shared>,
    incoming: mpsc::Sender<Incoming>,
    lanes: LanesEnd,
    /// What came while this end waited for something else.
    came: VecDeque<Heard>,
    /// What the machine may still send, as far as it is known here.
    pub allowed: u32,
}

impl Tech {
    /// Opens a channel and grants so much.
    pub(crate) fn open(is_transfer: bool, window: u32) -> (Channel, Self) {
        let (lane, own) =
            if is_transfer { (Lane::Bulk, BULK_WINDOW_BYTES) } else { (Lane::Prompt, WINDOW_BYTES) };
        let (lanes, end) = Lanes::new();
        let shared = Shared::new(TunnelId(Uuid::nil()), 1, lane, lanes, window, own);
        let (incoming, receiver) = mpsc::channel(1_024);
        let channel = Channel { id: 1, incoming: receiver, sender: shared.sender() };
        (channel, Self { shared, incoming, lanes: end, came: VecDeque::new(), allowed: window })
    }

    /// The next frame but credit. Panics when none comes.
    pub(crate) async fn hear(&mut self) -> Heard {
        loop {
            if let Some(heard) = self.came.pop_front() {
                return heard;
            }
            let bytes = tokio::time::timeout(PATIENCE, self.lanes.next()).await.expect("a frame");
            let heard = self.take(&bytes);
            self.came.extend(heard);
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Option<Heard> {
        let (_, frame) = Frame::read_of_session(bytes).unwrap();
        self.allowed = self.allowed.checked_sub(frame.cost()).expect("no more than was granted");
        match frame.kind {
            FrameKind::Opened => Some(Heard::Opened(frame.json().unwrap())),
            FrameKind::Message => Some(Heard::Message(frame.body.to_vec())),
            FrameKind::Data => {
                assert!(frame.flags.has(Flags::BULK));
                let (offset, bytes) = frame.data().unwrap();
                Some(Heard::Data { offset, bytes: bytes.to_vec() })
            }
            FrameKind::Credit => None,
            kind => panic!("a frame {kind:?} from a channel"),
        }
    }

    /// The answer to an open or attach.
    pub(crate) async fn opened(&mut self) -> Opened {
        match self.hear().await {
            Heard::Opened(opened) => opened,
            other => panic!("{other:?} instead of an opened channel"),
        }
    }

    /// The next message.
    pub(crate) async fn message<T: DeserializeOwned>(&mut self) -> T {
        match self.hear().await {
            Heard::Message(body) => serde_json::from_slice(&body).unwrap(),
            other => panic!("{other:?} instead of a message"),
        }
    }

    /// So many bytes were dealt with.
    pub(crate) fn grant(&mut self, bytes: u32) {
        self.allowed += bytes;
        self.shared.credit(bytes);
    }

    pub(crate) async fn say(&mut self, message: &impl Serialize) {
        self.put(Incoming::Message(serde_json::to_vec(message).unwrap())).await;
    }

    /// Sends when the machine has granted enough, and takes what it says meanwhile.
    pub(crate) async fn put(&mut self, incoming: Incoming) {
        let cost = incoming.cost();
        let begun = Instant::now();
        while self.shared.takes(cost).is_err() {
            if self.incoming.is_closed() {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "no credit from the machine");
            // A frame of credit ends the wait; the time is for one that came in another's stead.
            if let Ok(bytes) = tokio::time::timeout(Duration::from_millis(5), self.lanes.next()).await {
                let heard = self.take(&bytes);
                self.came.extend(heard);
            }
        }
        // The channel may have ended, which its end says.
        let _ = self.incoming.send(incoming).await;
    }

    /// The link is lost with all that was under way to the tech.
    pub(crate) fn lose_link(&mut self) {
        self.shared.detach();
        self.lanes = Lanes::new().1;
        self.came.clear();
    }

    /// Comes back over a new link.
    pub(crate) async fn attach(&mut self, have: u64, window: u32) {
        let (lanes, end) = Lanes::new();
        self.lanes = end;
        self.allowed = window;
        self.shared.attach(lanes, window);
        self.put(Incoming::Attach(Attach { have, window })).await;
    }

    /// Ends what serves the channel, as the end of the session does.
    pub(crate) fn leave(self) {
        self.shared.close(ChannelEnd::default());
    }
}
