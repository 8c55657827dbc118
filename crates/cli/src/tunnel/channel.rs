//! The tech's end of channels: credit both ways, and what is known of each.

use super::pace::{OF_DOWNLOADS, OF_UPLOADS, Pace};
use bytes::Bytes;
use gururmm_protocol::tunnel::frame::{self, OFFSET_BYTES, PIECE_BYTES};
use gururmm_protocol::tunnel::{
    Attach, ChannelEnd, ChannelError, ChannelId, ErrorCode, Flags, Frame, FrameError, FrameKind,
    MAX_WINDOW_BYTES, Opened, WINDOW_BYTES,
};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};

/// What comes through a channel, in order.
#[derive(Debug)]
pub enum Incoming {
    /// The channel stands, or stands again.
    Opened(Opened),
    /// A piece of the machine's stream.
    Data {
        /// Of its first byte.
        offset: u64,
        bytes: Bytes,
        /// Nothing follows in this direction.
        is_last: bool,
    },
    /// A message of the channel's own protocol, JSON.
    Message(Bytes),
    /// The channel is over; nothing follows.
    End(ChannelEnd),
}

/// The channel, or the whole session, is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session is over")]
pub struct Gone;

/// One channel. Dropped: the machine is told that it is over.
pub struct Channel {
    incoming: mpsc::UnboundedReceiver<Incoming>,
    sender: Sender,
    table: Arc<Table>,
    /// Bytes dealt with and not yet granted again. Negative: so many less are granted, for the window became smaller.
    owed: i64,
    window: u32,
    /// Of a download: how far it may be ahead.
    pace: Option<Pace>,
}

impl Channel {
    /// What comes next. Asking for it says that what came before is dealt with: so much may be sent anew.
    pub async fn next(&mut self) -> Option<Incoming> {
        if self.owed >= i64::from(self.window / 2) {
            self.grant().await;
        }
        let next = self.incoming.recv().await;
        self.owed += match &next {
            Some(Incoming::Data { bytes, .. }) => i64::from(size(bytes.len() + OFFSET_BYTES)),
            Some(Incoming::Message(bytes)) => i64::from(size(bytes.len())),
            _ => 0,
        };
        if let Some(Incoming::Opened(_)) = next {
            // What was granted before counts no more.
            self.owed = 0;
        }
        next
    }

    /// Bytes that the machine may be ahead.
    pub fn window(&self) -> u32 {
        self.window
    }

    async fn grant(&mut self) {
        if let Some(pace) = &mut self.pace {
            let through = u32::try_from(self.owed).unwrap_or(0);
            self.owed += pace.through(through, Instant::now(), self.table.quickest());
            self.window = pace.window();
        }
        if let Ok(granted) = u32::try_from(self.owed)
            && granted > 0
        {
            self.owed = 0;
            let _over = self.sender.send(FrameKind::Credit, Flags::default(), &granted.to_be_bytes()).await;
        }
    }

    /// Sends in the channel, from wherever.
    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.table.lock().remove(&self.sender.id);
        if let Ok(body) = frame::json_body(&ChannelEnd::default()) {
            let end =
                Frame { channel: self.sender.id, kind: FrameKind::End, flags: Flags::default(), body: &body };
            let _full_or_over = self.sender.interactive.try_send(end.to_bytes());
        }
    }
}

fn size(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Sends in one channel.
#[derive(Clone)]
pub struct Sender {
    id: ChannelId,
    credit: Arc<Semaphore>,
    /// Of an upload: what may still be ahead.
    ahead: Option<Arc<Semaphore>>,
    interactive: mpsc::Sender<Vec<u8>>,
    bulk: mpsc::Sender<Vec<u8>>,
}

impl Sender {
    /// A part of this side's stream, from `offset` on. Waits for credit.
    pub async fn data(&self, offset: u64, bytes: &[u8], flags: Flags) -> Result<(), Gone> {
        let mut at = offset;
        let mut pieces = bytes.chunks(PIECE_BYTES).peekable();
        if pieces.peek().is_none() {
            return self.paid(FrameKind::Data, flags, &frame::data_body(at, &[])).await;
        }
        while let Some(piece) = pieces.next() {
            let is_last = pieces.peek().is_none();
            let flags = if is_last { flags } else { Flags(flags.0 & !Flags::FIN.0) };
            self.paid(FrameKind::Data, flags, &frame::data_body(at, piece)).await?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// A message of the channel's own protocol. Waits for credit. Behind a transfer's data it is part of the transfer
    /// ([`Flags::BULK`]): otherwise it would overtake that.
    pub async fn message<M: Serialize>(&self, message: &M, flags: Flags) -> Result<(), Gone> {
        let body = frame::json_body(message).map_err(|_too_long| Gone)?;
        self.paid(FrameKind::Message, flags, &body).await
    }

    async fn paid(&self, kind: FrameKind, flags: Flags, body: &[u8]) -> Result<(), Gone> {
        for permits in self.ahead.iter().chain([&self.credit]) {
            permits.acquire_many(size(body.len())).await.map_err(|_closed| Gone)?.forget();
        }
        self.send(kind, flags, body).await
    }

    async fn send(&self, kind: FrameKind, flags: Flags, body: &[u8]) -> Result<(), Gone> {
        let frame = Frame { channel: self.id, kind, flags, body }.to_bytes();
        let queue = if flags.has(Flags::BULK) { &self.bulk } else { &self.interactive };
        queue.send(frame).await.map_err(|_closed| Gone)
    }
}

/// All channels of a session that are open.
pub struct Table {
    channels: Mutex<HashMap<ChannelId, Entry>>,
    /// The shortest way to the machine and back, in nanoseconds.
    quickest: AtomicU64,
}

impl Default for Table {
    fn default() -> Self {
        Self { channels: Mutex::default(), quickest: AtomicU64::new(u64::MAX) }
    }
}

/// How a channel is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// The machine may be ahead by so many bytes. `resumes`: it goes on after a lost link, instead of ending.
    Talk { window: u32, resumes: bool },
    /// As far ahead as the line takes.
    Download,
    /// This side is as far ahead as the line takes.
    Upload,
}

/// How far an upload may be ahead.
struct Upload {
    pace: Pace,
    /// What of the window is not on its way.
    ahead: Arc<Semaphore>,
    /// By how much more is on its way than the window, which became smaller.
    beyond: i64,
}

impl Upload {
    /// So much was dealt with at the machine.
    fn through(&mut self, bytes: u32, quickest: Option<Duration>) {
        let change = self.pace.through(bytes, Instant::now(), quickest);
        let more = i64::from(bytes) + change - self.beyond;
        self.ahead.add_permits(usize::try_from(more).unwrap_or(0));
        self.beyond = (-more).max(0);
    }
}

struct Entry {
    /// Holds no more than the window, or the channel is ended.
    to: mpsc::UnboundedSender<Incoming>,
    credit: Arc<Semaphore>,
    upload: Option<Upload>,
    window: u32,
    resumes: bool,
    /// Offset up to which the machine's stream is here.
    have: AtomicU64,
    /// Bytes the machine may still send.
    allowed: AtomicU32,
}

impl Table {
    pub fn add(
        self: &Arc<Self>,
        id: ChannelId,
        used: Use,
        (interactive, bulk): (mpsc::Sender<Vec<u8>>, mpsc::Sender<Vec<u8>>),
    ) -> Channel {
        let handling = if used == Use::Upload { OF_UPLOADS } else { OF_DOWNLOADS };
        let pace = Pace::new(Instant::now(), handling);
        let (window, resumes) = match used {
            Use::Talk { window, resumes } => (window, resumes),
            Use::Download => (pace.window(), false),
            Use::Upload => (WINDOW_BYTES, false),
        };
        let (to, incoming) = mpsc::unbounded_channel();
        let credit = Arc::new(Semaphore::new(0));
        let ahead = Arc::new(Semaphore::new(pace.window() as usize));
        let (have, allowed) = (AtomicU64::new(0), AtomicU32::new(window));
        let (mut upload, mut download, mut sending_ahead) = (None, None, None);
        match used {
            Use::Talk { .. } => {}
            Use::Download => download = Some(pace),
            Use::Upload => {
                sending_ahead = Some(Arc::clone(&ahead));
                upload = Some(Upload { pace, ahead, beyond: 0 });
            }
        }
        let entry = Entry { to, credit: Arc::clone(&credit), upload, window, resumes, have, allowed };
        self.lock().insert(id, entry);
        let sender = Sender { id, credit, ahead: sending_ahead, interactive, bulk };
        Channel { incoming, sender, table: Arc::clone(self), owed: 0, window, pace: download }
    }

    /// An answer to a ping took so long.
    pub fn answered(&self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.quickest.fetch_min(nanoseconds, Ordering::Relaxed);
    }

    fn quickest(&self) -> Option<Duration> {
        let nanoseconds = self.quickest.load(Ordering::Relaxed);
        (nanoseconds < u64::MAX).then(|| Duration::from_nanos(nanoseconds))
    }

    /// Takes a frame of the machine to its channel.
    pub fn take(&self, frame: &Frame<'_>) -> Result<(), FrameError> {
        let mut entries = self.lock();
        // One that is over on this side, or is a page's.
        let Some(entry) = entries.get_mut(&frame.channel) else { return Ok(()) };
        let cost = frame.cost();
        let spent =
            entry.allowed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(cost));
        let incoming = match frame.kind {
            _ if spent.is_err() => {
                Incoming::End(ended(ErrorCode::Failed, "the machine sent more than it may"))
            }
            FrameKind::Opened => {
                let opened: Opened = frame.json()?;
                entry.credit.forget_permits(entry.credit.available_permits());
                entry.credit.add_permits(opened.window.min(MAX_WINDOW_BYTES) as usize);
                entry.have.store(opened.from, Ordering::Relaxed);
                Incoming::Opened(opened)
            }
            FrameKind::Data => {
                let (offset, bytes) = frame.data()?;
                entry.have.store(offset + bytes.len() as u64, Ordering::Relaxed);
                let is_last = frame.flags.has(Flags::FIN);
                Incoming::Data { offset, bytes: Bytes::copy_from_slice(bytes), is_last }
            }
            FrameKind::Message => Incoming::Message(Bytes::copy_from_slice(frame.body)),
            FrameKind::Credit => {
                let granted = frame.credit()?;
                let room = (MAX_WINDOW_BYTES as usize).saturating_sub(entry.credit.available_permits());
                entry.credit.add_permits((granted as usize).min(room));
                let quickest = self.quickest();
                if let Some(upload) = &mut entry.upload {
                    upload.through(granted, quickest);
                }
                return Ok(());
            }
            FrameKind::End => Incoming::End(frame.json()?),
            FrameKind::Open | FrameKind::Attach => return Ok(()),
        };
        let is_over = matches!(incoming, Incoming::End(_));
        let _nobody_asks = entry.to.send(incoming);
        if is_over && let Some(entry) = entries.remove(&frame.channel) {
            entry.close();
        }
        Ok(())
    }

    /// This side grants so much more: noted on its way out.
    pub fn granted(&self, channel: ChannelId, bytes: u32) {
        if let Some(entry) = self.lock().get(&channel) {
            entry.allowed.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// The link was lost and stands again: what goes on is attached, what cannot is over. Answers the frames to send.
    pub fn reattach(&self) -> Vec<Vec<u8>> {
        let mut entries = self.lock();
        entries.retain(|_, entry| {
            if !entry.resumes {
                let _nobody_asks =
                    entry.to.send(Incoming::End(ended(ErrorCode::Closed, "the link was lost")));
                entry.close();
            }
            entry.resumes
        });
        let attach = |(id, entry): (&ChannelId, &Entry)| {
            entry.credit.forget_permits(entry.credit.available_permits());
            entry.allowed.store(entry.window, Ordering::Relaxed);
            let attach = Attach { have: entry.have.load(Ordering::Relaxed), window: entry.window };
            let body = frame::json_body(&attach).ok()?;
            Some(
                Frame { channel: *id, kind: FrameKind::Attach, flags: Flags::default(), body: &body }
                    .to_bytes(),
            )
        };
        entries.iter().filter_map(attach).collect()
    }

    /// The session is over: so are all its channels.
    pub fn end_all(&self, why: &str) {
        for (_, entry) in self.lock().drain() {
            let _nobody_asks = entry.to.send(Incoming::End(ended(ErrorCode::Closed, why)));
            entry.close();
        }
    }

    /// A panic elsewhere leaves a whole map behind: every change is one insert or remove.
    fn lock(&self) -> MutexGuard<'_, HashMap<ChannelId, Entry>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Nobody waits any longer to send.
    fn close(&self) {
        self.credit.close();
        if let Some(upload) = &self.upload {
            upload.ahead.close();
        }
    }
}

fn ended(code: ErrorCode, why: &str) -> ChannelEnd {
    ChannelError::new(code, why).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gururmm_protocol::tunnel::FIRST_TRANSFER_BYTES;

    /// What goes to the socket, first and second.
    type Queue = mpsc::Receiver<Vec<u8>>;

    fn channel(window: u32, resumes: bool) -> (Arc<Table>, Channel, Queue, Queue) {
        used(Use::Talk { window, resumes })
    }

    fn used(used: Use) -> (Arc<Table>, Channel, Queue, Queue) {
        let table = Arc::new(Table::default());
        let ((interactive, first), (bulk, second)) = (mpsc::channel(16), mpsc::channel(2));
        let channel = table.add(5, used, (interactive, bulk));
        (table, channel, first, second)
    }

    fn take(table: &Table, kind: FrameKind, body: &[u8]) {
        table.take(&Frame { channel: 5, kind, flags: Flags::default(), body }).unwrap();
    }

    #[tokio::test]
    async fn nothing_is_sent_beyond_what_the_machine_granted() {
        let (table, channel, mut first, _second) = channel(1_024, false);
        let sender = channel.sender();
        let sending = tokio::spawn(async move { sender.data(0, &[7; 100], Flags::default()).await });
        tokio::task::yield_now().await;
        assert!(first.try_recv().is_err(), "nothing was granted yet");
        take(&table, FrameKind::Opened, br#"{"window":107}"#);
        tokio::task::yield_now().await;
        assert!(first.try_recv().is_err(), "a byte is missing");
        take(&table, FrameKind::Credit, &1_u32.to_be_bytes());
        sending.await.unwrap().unwrap();
        assert_eq!(Frame::read(&first.try_recv().unwrap()).unwrap().data(), Ok((0, &[7; 100][..])));
    }

    #[tokio::test]
    async fn what_was_dealt_with_is_granted_again_and_a_machine_that_sends_more_is_cut_off() {
        let (table, mut channel, mut first, _second) = channel(64, false);
        take(&table, FrameKind::Data, &frame::data_body(0, &[1; 40]));
        assert!(matches!(channel.next().await, Some(Incoming::Data { offset: 0, .. })));
        // Asking for more says that it is dealt with.
        let _nothing_came = tokio::time::timeout(std::time::Duration::from_millis(1), channel.next()).await;
        assert_eq!(Frame::read(&first.try_recv().unwrap()).unwrap().credit(), Ok(48));
        table.granted(5, 48);
        take(&table, FrameKind::Data, &frame::data_body(40, &[1; 56]));
        take(&table, FrameKind::Message, b"{}");
        assert!(matches!(channel.next().await, Some(Incoming::Data { offset: 40, .. })));
        let Some(Incoming::End(end)) = channel.next().await else { panic!("it goes on") };
        assert_eq!(end.error.map(|error| error.code), Some(ErrorCode::Failed));
        assert!(channel.next().await.is_none());
    }

    #[tokio::test]
    async fn an_upload_is_no_further_ahead_than_its_pace_however_much_is_granted() {
        let (table, channel, _first, mut second) = used(Use::Upload);
        take(&table, FrameKind::Opened, br#"{"window":1048576}"#);
        let sender = channel.sender();
        let _sending = tokio::spawn(async move { sender.data(0, &[7; 400_000], Flags::BULK).await });
        let mut costs = Vec::new();
        while let Ok(Some(frame)) = tokio::time::timeout(Duration::from_millis(50), second.recv()).await {
            costs.push(Frame::read(&frame).unwrap().cost());
        }
        assert!(!costs.is_empty() && costs.iter().sum::<u32>() <= FIRST_TRANSFER_BYTES, "{costs:?}");
        take(&table, FrameKind::Credit, &costs[0].to_be_bytes());
        let next = tokio::time::timeout(Duration::from_secs(5), second.recv()).await.unwrap().unwrap();
        assert_eq!(Frame::read(&next).unwrap().cost(), costs[0], "what was dealt with makes room");
    }

    #[tokio::test]
    async fn a_download_is_granted_what_its_line_takes_and_what_it_took_and_no_more() {
        for (quiet, window) in [(None, FIRST_TRANSFER_BYTES), (Some(60), 2 * FIRST_TRANSFER_BYTES)] {
            let (table, mut channel, mut first, _second) = used(Use::Download);
            // A line on which so little is nothing: whatever goes through leaves it idle.
            if let Some(seconds) = quiet {
                table.answered(Duration::from_secs(seconds));
            }
            let (mut offset, mut cost, mut granted, piece) = (0, 0, 0, [7; PIECE_BYTES / 2]);
            while offset < u64::from(5 * FIRST_TRANSFER_BYTES) {
                let body = frame::data_body(offset, &piece);
                take(&table, FrameKind::Data, &body);
                assert!(matches!(channel.next().await, Some(Incoming::Data { .. })));
                (offset, cost) = (offset + piece.len() as u64, cost + i64::from(size(body.len())));
                while let Ok(frame) = first.try_recv() {
                    let more = Frame::read(&frame).unwrap().credit().unwrap();
                    table.granted(5, more);
                    granted += i64::from(more);
                }
            }
            assert_eq!(channel.window(), window);
            let grown = i64::from(window - FIRST_TRANSFER_BYTES);
            assert_eq!(granted, cost - channel.owed + grown, "as much as went through, and what it grew by");
        }
    }

    #[tokio::test]
    async fn after_a_lost_link_a_shell_goes_on_where_it_was_and_what_cannot_ends() {
        let (table, mut shell, _first, _second) = channel(1_000, true);
        take(&table, FrameKind::Opened, br#"{"window":10}"#);
        take(&table, FrameKind::Data, &frame::data_body(0, b"hello"));
        let frames = table.reattach();
        let [attach] = &frames[..] else { panic!("{frames:?}") };
        let attach: Attach = Frame::read(attach).unwrap().json().unwrap();
        assert_eq!(attach, Attach { have: 5, window: 1_000 });
        assert_eq!(shell.sender.credit.available_permits(), 0, "what was granted before is void");
        assert!(matches!(shell.next().await, Some(Incoming::Opened(_))));
        let (table, mut forward, _first, _second) = channel(1_000, false);
        assert!(table.reattach().is_empty());
        assert!(matches!(forward.next().await, Some(Incoming::End(_))));
        assert_eq!(forward.sender().data(0, b"x", Flags::default()).await, Err(Gone));
    }
}
