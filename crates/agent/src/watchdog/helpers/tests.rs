//! Who is listened to, and how long. The helper's process is this one here; it says what no helper says.
#![cfg(target_os = "linux")]

use super::*;
use crate::os::local_socket::connect;
use std::sync::Mutex;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;

const SOON: Duration = Duration::from_secs(20);

struct Served {
    _folder: TempDir,
    listener: Listener,
    own: Peer,
    noted: Arc<Mutex<Vec<u64>>>,
}

impl Served {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let session = UserSession::of_this_process();
        let listener = Listener::open(folder.path(), "1", &session).unwrap();
        let own = Peer::started(std::process::id(), &session).unwrap();
        Self { _folder: folder, listener, own, noted: Arc::default() }
    }

    /// What comes of it when `expected` is waited for and this process says `bytes`, and what it was answered.
    async fn say(mut self, expected: Peer, bytes: &[u8]) -> (Option<Misbehaved>, Vec<u8>, Vec<u64>) {
        let address = self.listener.address().to_owned();
        let noted = Arc::clone(&self.noted);
        let serving = serve(&mut self.listener, expected, move |seconds| noted.lock().unwrap().push(seconds));
        let saying = async {
            let mut stream = connect(&address).await.unwrap();
            // One that is refused may be closed before all is said.
            let _ = stream.write_all(bytes).await;
            let mut answered = Vec::new();
            let _ = timeout(SOON, stream.read_to_end(&mut answered)).await.expect("it is not closed");
            answered
        };
        let mut saying = std::pin::pin!(saying);
        let (misbehaved, answered) = tokio::select! {
            misbehaved = serving => (Some(misbehaved), Vec::new()),
            answered = &mut saying => (None, answered),
        };
        // What was answered before the end lies in the socket still.
        let answered = if misbehaved.is_some() { saying.await } else { answered };
        let noted = self.noted.lock().unwrap().clone();
        (misbehaved, answered, noted)
    }
}

fn lines(said: &[FromHelper]) -> Vec<u8> {
    said.iter().flat_map(wire::encode).collect()
}

const HELLO: FromHelper = FromHelper::Hello { version: wire::VERSION };

#[tokio::test]
async fn the_expected_process_is_served() {
    let served = Served::new();
    let own = served.own;
    let said = lines(&[HELLO, FromHelper::Idle { seconds: 7 }, FromHelper::Ping {}, HELLO]);
    let (misbehaved, answered, noted) = served.say(own, &said).await;
    // A second hello ends it, after everything before was answered.
    assert!(matches!(misbehaved, Some(Misbehaved::Stranger)), "{misbehaved:?}");
    let expected = [ToHelper::Welcome {}, ToHelper::Noted {}, ToHelper::Noted {}];
    assert_eq!(answered, expected.iter().flat_map(wire::encode).collect::<Vec<_>>());
    assert_eq!(noted, [7]);
}

/// A number that was given out again, somebody else's process, another one of the same account.
#[tokio::test]
async fn any_other_process_is_refused() {
    let own = Served::new().own;
    let others = [
        Peer { started: own.started + 1, ..own },
        Peer { owner: own.owner + 1, ..own },
        Peer { pid: own.pid + 1, ..own },
    ];
    for expected in others {
        let said = lines(&[HELLO, FromHelper::Idle { seconds: 7 }]);
        let (misbehaved, answered, noted) = Served::new().say(expected, &said).await;
        assert!(misbehaved.is_none(), "{misbehaved:?}");
        assert!(answered.is_empty() && noted.is_empty(), "{expected:?}");
    }
}

#[tokio::test]
async fn a_second_connection_is_refused_while_the_first_is_served() {
    let mut served = Served::new();
    let address = served.listener.address().to_owned();
    let serving = serve(&mut served.listener, served.own, |_| {});
    let connecting = async {
        let mut first = connect(&address).await.unwrap();
        let mut line = [0; 64];
        first.write_all(&lines(&[HELLO])).await.unwrap();
        assert!(first.read(&mut line).await.unwrap() > 0);
        let mut second = connect(&address).await.unwrap();
        let _ = second.write_all(&lines(&[HELLO])).await;
        assert_eq!(second.read(&mut line).await.unwrap_or_default(), 0);
        first.write_all(&lines(&[FromHelper::Ping {}])).await.unwrap();
        assert!(first.read(&mut line).await.unwrap() > 0);
    };
    tokio::select! {
        misbehaved = serving => panic!("{misbehaved:?}"),
        () = connecting => {}
    }
}

/// What is said, and how it ends.
type Case<'a> = (&'a [u8], fn(&Misbehaved) -> bool);

#[tokio::test]
async fn whoever_says_something_else_is_not_listened_to_any_more() {
    let flood = lines(&[&[HELLO][..], &[FromHelper::Ping {}; 100]].concat());
    let cases: [Case; 6] = [
        (&[b'x'; 64 * 1024], |end| matches!(end, Misbehaved::Wire(WireError::TooLong))),
        (b"{\"verb\":\"run\",\"program\":\"/bin/sh\"}\n", |end| {
            matches!(end, Misbehaved::Wire(WireError::Meaningless))
        }),
        (b"GET / HTTP/1.1\r\n\r\n", |end| matches!(end, Misbehaved::Wire(WireError::Meaningless))),
        (b"{\"verb\":\"ping\"}\n", |end| matches!(end, Misbehaved::Stranger)),
        (b"{\"verb\":\"hello\",\"version\":0}\n", |end| matches!(end, Misbehaved::Stranger)),
        (&flood, |end| matches!(end, Misbehaved::TooFast)),
    ];
    for (bytes, is_it) in cases {
        let served = Served::new();
        let own = served.own;
        let (misbehaved, _, noted) = served.say(own, bytes).await;
        assert!(misbehaved.as_ref().is_some_and(is_it), "{misbehaved:?}");
        assert!(noted.is_empty(), "{noted:?}");
    }
}

#[test]
fn an_allowance_fills_up_again_and_never_beyond() {
    let begun = Instant::now();
    let mut allowance = Allowance::default();
    let mut taken_at = |seconds: u64| {
        let now = begun + Duration::from_secs(seconds);
        (0..1000).take_while(|_| allowance.take(now)).count() as u32
    };
    assert_eq!(taken_at(1), MAX_AT_ONCE);
    assert_eq!((taken_at(2), taken_at(2)), (1, 0));
    assert_eq!(taken_at(4), 2);
    assert_eq!(taken_at(1_000), MAX_AT_ONCE);
}

#[tokio::test]
async fn what_stands_where_the_socket_belongs_is_replaced_and_not_followed() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let (path, canary) = (folder.path().join("1.sock"), folder.path().join("canary"));
    std::fs::write(&canary, "kept").unwrap();
    symlink(&canary, &path).unwrap();
    let session = UserSession::of_this_process();
    let first = Listener::open(folder.path(), "1", &session).unwrap();
    let metadata = std::fs::symlink_metadata(&path).unwrap();
    assert_eq!((metadata.permissions().mode() & 0o777, metadata.uid()), (0o600, session.uid().as_raw()));
    assert_eq!(std::fs::read_to_string(&canary).unwrap(), "kept");
    // The leftover of a watchdog that was killed.
    std::mem::forget(first);
    let second = Listener::open(folder.path(), "1", &session).unwrap();
    drop(second);
    assert!(!path.exists());
}
