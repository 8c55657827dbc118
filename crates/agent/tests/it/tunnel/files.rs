//! Files through a real agent: requests, transfers over links that break, and a policy's folders.

use super::bench::*;
use crate::harness::*;
use gururmm_protocol::tunnel::files::{FileAnswer, FileRequest, OpenDownload, OpenUpload, UploadMessage};
use gururmm_protocol::tunnel::frame::{OFFSET_BYTES, PIECE_BYTES};
use gururmm_protocol::tunnel::{
    BULK_WINDOW_BYTES, ChannelEnd, ChannelId, ErrorCode, FrameKind, OpenChannel, TunnelOpen, TunnelRules,
};
use gururmm_protocol::{AgentMessage, ServerMessage};
use std::fs;
use std::path::Path;

const SIZE: usize = 20 << 20;

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(ring::digest::digest(&ring::digest::SHA256, bytes))
}

fn noise() -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..SIZE).map(|_| next()).collect()
}

impl Bench {
    /// Sends what lies between two places of a file, as the machine grants it.
    async fn send_file(
        &mut self,
        channel: ChannelId,
        content: &[u8],
        from: usize,
        until: usize,
        mut granted: u32,
    ) {
        let mut at = from;
        while at < until {
            let piece = &content[at..until.min(at + PIECE_BYTES)];
            let cost = u32::try_from(OFFSET_BYTES + piece.len()).unwrap();
            while granted < cost {
                let got = self.next().await;
                assert_eq!((got.channel, got.kind), (channel, FrameKind::Credit));
                granted += u32::from_be_bytes(got.body.try_into().unwrap());
            }
            granted -= cost;
            self.data(channel, at as u64, piece).await;
            at += piece.len();
        }
    }

    /// Takes a file's bytes, until there are so many or the end is reached.
    async fn take_file(
        &mut self,
        channel: ChannelId,
        have: &mut Vec<u8>,
        until: usize,
    ) -> Option<ChannelEnd> {
        while have.len() < until {
            let got = self.next_of(channel).await;
            match got.kind {
                FrameKind::Data => {
                    let (offset, bytes) = got.body.split_at(OFFSET_BYTES);
                    assert_eq!(u64::from_be_bytes(offset.try_into().unwrap()), have.len() as u64);
                    have.extend_from_slice(bytes);
                }
                FrameKind::End => return Some(serde_json::from_slice(&got.body).unwrap()),
                kind => panic!("{kind:?}"),
            }
        }
        None
    }

    /// The link breaks, and the agent is back over another one.
    async fn break_link(&mut self, server: &mut TestServer) {
        self.connection.socket.close(None).await.unwrap();
        (self.connection, _) = server.welcome().await;
        self.frames.clear();
        assert_eq!(self.reopen().await.channels.len(), 1);
    }
}

#[tokio::test]
async fn a_file_that_goes_up_and_down_over_links_that_break_is_what_it_was() {
    let home = tempfile::tempdir().unwrap();
    let (file, content) = (home.path().join("disk.img"), noise());
    let mut server = TestServer::start().await;
    let _agent = TestAgent::start(&server);
    let mut bench = Bench::open(&mut server).await;
    let open =
        OpenUpload { path: text(&file), size: SIZE as u64, replace: false, resume_key: "disk-1".to_owned() };
    let opened = bench.channel(1, BULK_WINDOW_BYTES, OpenChannel::Upload(open.clone())).await;
    assert_eq!(opened.received, 0);
    bench.send_file(1, &content, 0, SIZE / 3, opened.window).await;
    bench.break_link(&mut server).await;
    // In the same channel first,
    let opened = bench.attach(1, 0, BULK_WINDOW_BYTES).await;
    let received = usize::try_from(opened.received).unwrap();
    assert!(received > 0 && received <= SIZE / 3);
    bench.send_file(1, &content, received, SIZE / 2, opened.window).await;
    // then in another one, as after the agent's end: what arrived is on the disk.
    let opened = bench.channel(2, BULK_WINDOW_BYTES, OpenChannel::Upload(open)).await;
    let received = usize::try_from(opened.received).unwrap();
    assert!(received > 0 && received <= SIZE / 2);
    assert!(!file.exists());
    bench.send_file(2, &content, received, SIZE, opened.window).await;
    bench.say(2, FrameKind::Message, &UploadMessage::Finish { sha256: sha256(&content) }).await;
    let end = bench.end_of(2).await;
    assert_eq!((end.error, end.sha256), (None, Some(sha256(&content))));
    assert!(fs::read(&file).unwrap() == content);

    let open = OpenDownload { path: text(&file), offset: 0, modified_ms: None, archive: false };
    let opened = bench.channel(3, BULK_WINDOW_BYTES, OpenChannel::Download(open)).await;
    assert_eq!(opened.size, Some(SIZE as u64));
    let mut have = Vec::new();
    assert_eq!(bench.take_file(3, &mut have, SIZE / 2).await, None);
    bench.break_link(&mut server).await;
    let opened = bench.attach(3, have.len() as u64, BULK_WINDOW_BYTES).await;
    assert_eq!(opened.from, have.len() as u64);
    let end = bench.take_file(3, &mut have, usize::MAX).await.unwrap();
    assert_eq!((end.error, end.sha256), (None, Some(sha256(&content))));
    assert!(have == content);
}

#[tokio::test]
async fn a_session_that_a_policy_confines_reaches_its_folders_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let (allowed, outside) = (home.path().join("allowed"), home.path().join("outside"));
    fs::create_dir(&allowed).unwrap();
    fs::write(&outside, "outside").unwrap();
    std::os::unix::fs::symlink(&outside, allowed.join("link")).unwrap();
    let mut server = TestServer::start().await;
    let _agent = TestAgent::start(&server);
    let mut bench = Bench::open(&mut server).await;
    let order = order(bench.session);
    let rules = TunnelRules { paths: Some(vec![text(&allowed)]), ..order.rules };
    bench.connection.send(ServerMessage::TunnelOpen(TunnelOpen { rules, ..order })).await;
    bench
        .connection
        .wait_for(|message| match message {
            AgentMessage::TunnelReady(ready) => Some(ready),
            _ => None,
        })
        .await;
    bench.channel(1, 256 * 1024, OpenChannel::Files {}).await;
    let list = |path: &Path| FileRequest::List { path: text(path) };
    let (parts, end) = bench.ask::<_, FileAnswer>(1, 1, list(&allowed)).await;
    let [FileAnswer::Entries { entries }] = &parts[..] else { panic!("{parts:?}") };
    assert_eq!((entries.len(), entries[0].name.as_str()), (1, "link"));
    assert_eq!(end, Ok(FileAnswer::Folder { path: text(&allowed), entries: 1 }));
    let reads = [text(&outside), text(&allowed.join("link")), format!("{}/../outside", allowed.display())];
    for (id, path) in (2..).zip(reads) {
        let (_, answer) = bench.ask::<_, FileAnswer>(1, id, FileRequest::ReadText { path }).await;
        assert!(matches!(answer.unwrap_err().code, ErrorCode::NotAllowed | ErrorCode::Invalid));
    }
    let open = OpenDownload { path: text(&outside), offset: 0, modified_ms: None, archive: false };
    bench.start(2, BULK_WINDOW_BYTES, OpenChannel::Download(open)).await;
    assert_eq!(bench.end_of(2).await.error.unwrap().code, ErrorCode::NotAllowed);
}
