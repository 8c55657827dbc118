//! Files through their channels, as a tech has them.

mod archives;
mod corpus;
#[cfg(target_os = "linux")]
mod long;
#[cfg(target_os = "linux")]
mod races;
mod requests;
mod transfers;

use crate::capabilities::files;
use crate::tunnel::channel::Incoming;
use crate::tunnel::desk::{Heard, Tech};
use gururmm_protocol::tunnel::files::{
    Entry, FileAnswer, FileRequest, OpenDownload, OpenUpload, UploadMessage,
};
use gururmm_protocol::tunnel::request::{Answer, Request, Response};
use gururmm_protocol::tunnel::{
    BULK_WINDOW_BYTES, ChannelEnd, ChannelError, ErrorCode, Opened, TunnelRules, WINDOW_BYTES,
};
use std::path::Path;
use tokio::task::JoinHandle;

/// A policy that allows everything.
fn everything() -> TunnelRules {
    TunnelRules::default()
}

/// A policy that allows these folders.
fn only(folders: &[&Path]) -> TunnelRules {
    TunnelRules { paths: Some(folders.iter().map(|folder| text(folder)).collect()), ..TunnelRules::default() }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Bytes that cannot be compressed, the same each time.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..bytes).map(|_| next()).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(ring::digest::digest(&ring::digest::SHA256, bytes))
}

/// What answers a request: the entries that came in parts, and the reply.
type Answered = Result<(Vec<Entry>, FileAnswer), ChannelError>;

/// A channel of requests.
struct Desk {
    tech: Tech,
    served: JoinHandle<ChannelEnd>,
    next: u32,
}

impl Desk {
    async fn open(rules: &TunnelRules) -> Self {
        let (channel, mut tech) = Tech::open(false, WINDOW_BYTES);
        let rules = rules.clone();
        let served = tokio::spawn(async move { files::serve(&rules, channel).await });
        tech.opened().await;
        Self { tech, served, next: 0 }
    }

    async fn ask(&mut self, request: FileRequest) -> Answered {
        let id = self.send(request).await;
        self.answer(id).await
    }

    async fn send(&mut self, request: FileRequest) -> u32 {
        self.next += 1;
        self.tech.say(&Request { id: self.next, request }).await;
        self.next
    }

    async fn answer(&mut self, id: u32) -> Answered {
        let mut all = Vec::new();
        loop {
            let allowed = self.tech.allowed;
            let response: Response<FileAnswer> = self.tech.message().await;
            self.tech.grant(allowed - self.tech.allowed);
            assert_eq!(response.id, id);
            match response.answer {
                Answer::Part(FileAnswer::Entries { entries }) => all.extend(entries),
                Answer::Part(part) => panic!("a part {part:?}"),
                Answer::Reply(answer) => return Ok((all, answer)),
                Answer::Error(error) => return Err(error),
            }
        }
    }

    async fn done(&mut self, request: FileRequest) {
        assert_eq!(self.ask(request).await, Ok((Vec::new(), FileAnswer::Done {})));
    }

    async fn refused(&mut self, request: FileRequest) -> ErrorCode {
        let said = format!("{request:?}");
        match self.ask(request).await {
            Ok(answer) => panic!("{said} was answered with {answer:?}"),
            Err(error) => {
                assert!(!error.detail.is_empty());
                error.code
            }
        }
    }

    async fn names(&mut self, path: &Path) -> Vec<String> {
        let (entries, end) = self.ask(FileRequest::List { path: text(path) }).await.unwrap();
        assert!(matches!(end, FileAnswer::Folder { entries: count, .. } if count == entries.len() as u64));
        let mut names: Vec<String> = entries.into_iter().map(|entry| entry.name).collect();
        names.sort();
        names
    }

    async fn entry(&mut self, path: &Path) -> Entry {
        match self.ask(FileRequest::Stat { path: text(path) }).await {
            Ok((_, FileAnswer::Entry { entry })) => entry,
            other => panic!("{other:?}"),
        }
    }

    async fn read(&mut self, path: &Path) -> Result<(String, String), ChannelError> {
        match self.ask(FileRequest::ReadText { path: text(path) }).await? {
            (_, FileAnswer::Text { text, version }) => Ok((text, version)),
            other => panic!("{other:?}"),
        }
    }

    async fn leave(self) {
        self.tech.leave();
        assert_eq!(self.served.await.unwrap(), ChannelEnd::default());
    }
}

/// A download under way.
struct Down {
    tech: Tech,
    served: JoinHandle<ChannelEnd>,
    opened: Option<Opened>,
}

impl Down {
    /// Opens it; ends at once where it is refused.
    async fn open(rules: &TunnelRules, open: OpenDownload, window: u32) -> Result<Self, ChannelEnd> {
        let (channel, mut tech) = Tech::open(true, window);
        let rules = rules.clone();
        let mut served = tokio::spawn(async move { files::download(open, &rules, channel).await });
        let opened = tokio::select! {
            biased;
            opened = tech.opened() => opened,
            end = &mut served => return Err(end.unwrap()),
        };
        Ok(Self { tech, served, opened: Some(opened) })
    }

    /// Takes bytes into `have`, which lie one after the other, until there are so many or the end is reached.
    async fn take(&mut self, have: &mut Vec<u8>, until: usize) -> Option<ChannelEnd> {
        while have.len() < until {
            tokio::select! {
                biased;
                heard = self.tech.hear() => {
                    let Heard::Data { offset, bytes } = heard else { panic!("{heard:?}") };
                    assert_eq!(offset, have.len() as u64);
                    self.tech.grant(8 + bytes.len() as u32);
                    have.extend_from_slice(&bytes);
                }
                end = &mut self.served => return Some(end.unwrap()),
            }
        }
        None
    }
}

/// A whole download.
async fn download(rules: &TunnelRules, open: OpenDownload) -> Result<Vec<u8>, ChannelError> {
    let mut down = Down::open(rules, open, BULK_WINDOW_BYTES).await.map_err(|end| end.error.unwrap())?;
    let mut have = Vec::new();
    let end = down.take(&mut have, usize::MAX).await.unwrap();
    match end.error {
        Some(error) => Err(error),
        None => {
            assert_eq!(end.sha256, Some(sha256(&have)));
            assert_eq!(end.size, Some(have.len() as u64));
            Ok(have)
        }
    }
}

fn of_file(path: &Path) -> OpenDownload {
    OpenDownload { path: text(path), offset: 0, modified_ms: None, archive: false }
}

fn of_folder(path: &Path) -> OpenDownload {
    OpenDownload { archive: true, ..of_file(path) }
}

/// An upload under way.
struct Up {
    tech: Tech,
    served: JoinHandle<ChannelEnd>,
    opened: Opened,
}

impl Up {
    async fn open(rules: &TunnelRules, open: OpenUpload) -> Result<Self, ChannelEnd> {
        let (channel, mut tech) = Tech::open(true, WINDOW_BYTES);
        let rules = rules.clone();
        let mut served = tokio::spawn(async move { files::upload(open, &rules, channel).await });
        let opened = tokio::select! {
            biased;
            opened = tech.opened() => opened,
            end = &mut served => return Err(end.unwrap()),
        };
        Ok(Self { tech, served, opened })
    }

    /// Sends `bytes`, which begin at `offset`, in pieces.
    async fn send(&mut self, mut offset: u64, bytes: &[u8]) {
        for piece in bytes.chunks(32 * 1024) {
            self.tech.put(Incoming::Data { offset, bytes: piece.to_vec(), is_last: false }).await;
            offset += piece.len() as u64;
        }
    }

    async fn finish(mut self, content: &[u8]) -> ChannelEnd {
        self.tech.say(&UploadMessage::Finish { sha256: sha256(content) }).await;
        let Self { tech, served, .. } = self;
        let end = served.await.unwrap();
        drop(tech);
        end
    }
}

fn to_file(path: &Path, content: &[u8], replace: bool) -> OpenUpload {
    OpenUpload { path: text(path), size: content.len() as u64, replace, resume_key: "key-1".to_owned() }
}

/// A whole upload.
async fn upload(rules: &TunnelRules, open: OpenUpload, content: &[u8]) -> Result<(), ChannelError> {
    let mut up = Up::open(rules, open).await.map_err(|end| end.error.unwrap())?;
    let received = up.opened.received;
    up.send(received, &content[usize::try_from(received).unwrap()..]).await;
    let end = up.finish(content).await;
    match end.error {
        Some(error) => Err(error),
        None => {
            assert_eq!(end.sha256, Some(sha256(content)));
            Ok(())
        }
    }
}
