//! Files: requests about them, and transfers, of all of the machine or of the folders that a policy names.
//!
//! | file | what it does |
//! |---|---|
//! | `path` | takes paths apart |
//! | `confined` | from a path to a handle, within what a policy allows |
//! | `folder`, `unix`, `windows` | one name in a held folder |
//! | `list`, `text`, `change`, `tree` | the requests |
//! | `download`, `archive`, `upload` | the transfers |
//! | `partial` | what is not in its place yet |
//! | `work` | how what blocks is kept off the loop |

mod archive;
mod change;
mod confined;
mod download;
mod fault;
mod folder;
mod list;
mod partial;
mod path;
mod text;
mod tree;
mod upload;
mod work;

#[cfg(test)]
mod tests;

use crate::tunnel::channel::{Channel, ChannelSender, Incoming};
use confined::Reach;
use fault::{Fault, Result};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use gururmm_protocol::tunnel::files::{FileAnswer, FileRequest, OpenDownload, OpenUpload};
use gururmm_protocol::tunnel::request::{Answer, Request, Response};
use gururmm_protocol::tunnel::{ChannelEnd, ErrorCode, Opened, TunnelRules};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::watch;
use work::aside;

/// Requests of one channel that are worked on at a time; more wait their turn.
const AT_A_TIME: usize = 4;

/// Answers requests about files until the channel is over.
pub async fn serve(rules: &TunnelRules, channel: Channel) -> ChannelEnd {
    let reach = Arc::new(Reach::new(rules));
    answer_all(reach, channel).await.unwrap_or_else(ChannelEnd::from)
}

/// Sends a file, or a folder as an archive.
pub async fn download(open: OpenDownload, rules: &TunnelRules, channel: Channel) -> ChannelEnd {
    let reach = Arc::new(Reach::new(rules));
    download::run(open, reach, channel).await.unwrap_or_else(ChannelEnd::from)
}

/// Receives a file.
pub async fn upload(open: OpenUpload, rules: &TunnelRules, channel: Channel) -> ChannelEnd {
    let reach = Arc::new(Reach::new(rules));
    upload::run(open, reach, channel).await.unwrap_or_else(ChannelEnd::from)
}

async fn answer_all(reach: Arc<Reach>, channel: Channel) -> Result<ChannelEnd> {
    let Channel { mut incoming, sender, .. } = channel;
    sender.opened(Opened::default()).await.map_err(download::gone)?;
    let mut waiting: VecDeque<Vec<u8>> = VecDeque::new();
    let mut working = FuturesUnordered::new();
    // Counts who came back.
    let attached = watch::Sender::new(0_u64);
    loop {
        // What waits is bounded: its credit is granted again when it is answered.
        while working.len() < AT_A_TIME
            && let Some(body) = waiting.pop_front()
        {
            let times = *attached.borrow();
            let asker = Asker { sender: sender.clone(), attached: attached.subscribe(), times };
            working.push(answer(Arc::clone(&reach), body, asker));
        }
        tokio::select! {
            incoming = incoming.recv() => match incoming {
                None => return Ok(ChannelEnd::default()),
                Some(Incoming::Message(body)) => waiting.push_back(body),
                Some(Incoming::Attach(_)) => {
                    for body in waiting.drain(..) {
                        sender.grant(cost(&body)).await.map_err(download::gone)?;
                    }
                    attached.send_modify(|times| *times += 1);
                    sender.opened(Opened::default()).await.map_err(download::gone)?;
                }
                Some(Incoming::Data { .. }) => {
                    return Err(Fault::new(ErrorCode::Invalid, "This channel takes requests only."));
                }
            },
            Some(answered) = working.next() => answered?,
        }
    }
}

/// Who asked. Whoever attaches asks anew: what was asked before is carried out to its end, so that no copy stops half-way,
/// and nobody is told.
struct Asker {
    sender: ChannelSender,
    attached: watch::Receiver<u64>,
    times: u64,
}

impl Asker {
    /// Returns whether it was said to who asked.
    async fn say(&self, id: u32, answer: Answer<FileAnswer>) -> Result<bool> {
        let mut attached = self.attached.clone();
        let response = Response { id, answer };
        tokio::select! {
            biased;
            _ = attached.wait_for(|times| *times != self.times) => Ok(false),
            said = self.sender.message(&response) => said.map(|()| true).map_err(download::gone),
        }
    }
}

fn cost(body: &[u8]) -> u32 {
    u32::try_from(body.len()).unwrap_or(u32::MAX)
}

/// Answers one request; an error ends the channel.
async fn answer(reach: Arc<Reach>, body: Vec<u8>, asker: Asker) -> Result<()> {
    let (id, request) = match serde_json::from_slice(&body) {
        Ok(Request { id, request }) => (id, Ok(request)),
        Err(_) => {
            let nonsense = || Fault::new(ErrorCode::Invalid, "The request makes no sense here.");
            let Numbered { id } = serde_json::from_slice(&body).map_err(|_| nonsense())?;
            (id, Err(nonsense()))
        }
    };
    let answered = match request {
        Ok(request) => carry_out(reach, id, request, &asker).await,
        Err(fault) => Err(fault),
    };
    let answer = answered.map_or_else(|fault| Answer::Error(fault.0), Answer::Reply);
    asker.say(id, answer).await?;
    asker.sender.grant(cost(&body)).await.map_err(download::gone)
}

/// What can be answered of a request, if nothing else.
#[derive(serde::Deserialize)]
struct Numbered {
    id: u32,
}

async fn carry_out(reach: Arc<Reach>, id: u32, request: FileRequest, asker: &Asker) -> Result<FileAnswer> {
    let done = |()| FileAnswer::Done {};
    match request {
        FileRequest::Places {} => aside(move || Ok(FileAnswer::Places { places: reach.places() })).await?,
        FileRequest::List { path } => list(reach, id, path, asker).await,
        FileRequest::Stat { path } => aside(move || list::stat(&reach, &path)).await?,
        FileRequest::MakeFolder { path } => change::make_folder(reach, path).await.map(done),
        FileRequest::Rename { from, to } => change::rename(reach, from, to).await.map(done),
        FileRequest::Copy { from, to } => change::copy(reach, from, to).await.map(done),
        FileRequest::Delete { path, recursive } => change::delete(reach, path, recursive).await.map(done),
        FileRequest::SetMode { path, mode } => change::set_mode(reach, path, mode).await.map(done),
        FileRequest::SetOwner { path, owner, group } => {
            change::set_owner(reach, path, owner, group).await.map(done)
        }
        FileRequest::ReadText { path } => aside(move || text::read(&reach, &path)).await?,
        FileRequest::WriteText { path, text, version } => {
            aside(move || text::write(&reach, &path, text, version.as_deref())).await?
        }
        FileRequest::Unknown => Err(Fault::new(ErrorCode::Unsupported, "This agent does not know how.")),
    }
}

async fn list(reach: Arc<Reach>, id: u32, path: String, asker: &Asker) -> Result<FileAnswer> {
    let (path, mut listing) = aside(move || list::begin(&reach, &path)).await??;
    loop {
        let (back, part) = aside(move || {
            let part = listing.part();
            (listing, part)
        })
        .await?;
        listing = back;
        let entries = part?;
        if entries.is_empty() {
            return Ok(FileAnswer::Folder { path, entries: listing.count() });
        }
        if !asker.say(id, Answer::Part(FileAnswer::Entries { entries })).await? {
            return Err(download::gone(()));
        }
    }
}
