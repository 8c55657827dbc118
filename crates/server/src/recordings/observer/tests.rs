use super::*;
use crate::recordings::records::{self, Content};
use gururmm_protocol::tunnel::frame::{Flags, data_body, json_body};
use proptest::prelude::*;

fn send<T: Serialize>(
    observer: &mut Observer,
    direction: Direction,
    channel: ChannelId,
    kind: FrameKind,
    value: &T,
) {
    let body = json_body(value).unwrap();
    let frame = Frame { channel, kind, flags: Flags::default(), body: &body };
    observer.frame(0, direction, &frame).unwrap();
}

fn data(observer: &mut Observer, direction: Direction, channel: ChannelId, offset: u64, bytes: &[u8]) {
    let body = data_body(offset, bytes);
    let frame = Frame { channel, kind: FrameKind::Data, flags: Flags::default(), body: &body };
    observer.frame(0, direction, &frame).unwrap();
}

fn open(observer: &mut Observer, channel: ChannelId, what: Value) {
    let open = json!({ "window": 1, "channel": what });
    send(observer, Direction::ToMachine, channel, FrameKind::Open, &open);
    send(observer, Direction::FromMachine, channel, FrameKind::Opened, &Opened::default());
}

fn terminal(observer: &mut Observer, channel: ChannelId) {
    open(observer, channel, json!({ "kind": "terminal", "columns": 80, "rows": 24 }));
}

fn happenings(observer: &mut Observer) -> Vec<Happening> {
    let Some(segment) = observer.take() else { return Vec::new() };
    let records = records::read(&segment.records).map(Result::unwrap);
    records
        .filter_map(|record| match record.content {
            Content::Happened(happening) => Some(happening),
            _ => None,
        })
        .collect()
}

fn shown(records: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in records::read(records) {
        if let Content::Shown { bytes: more, .. } = record.unwrap().content {
            bytes.extend_from_slice(more);
        }
    }
    bytes
}

const TO: Direction = Direction::ToMachine;
const FROM: Direction = Direction::FromMachine;

#[test]
fn bytes_that_come_again_are_recorded_once_and_missing_ones_are_said() {
    let mut observer = Observer::default();
    terminal(&mut observer, 1);
    observer.take();
    data(&mut observer, FROM, 1, 0, b"hello ");
    data(&mut observer, FROM, 1, 0, b"hello ");
    data(&mut observer, FROM, 1, 3, b"lo world");
    data(&mut observer, FROM, 1, 15, b"again");
    let segment = observer.take().unwrap();
    assert_eq!(shown(&segment.records), b"hello worldagain");
    let gaps: Vec<_> = records::read(&segment.records)
        .filter_map(|record| match record.unwrap().content {
            Content::Happened(happening) => Some(happening),
            _ => None,
        })
        .collect();
    assert_eq!(gaps, [Happening::Gap { from_machine: true, from: 11, to: 15 }]);
}

#[test]
fn what_a_new_page_types_in_place_of_what_never_arrived_is_recorded_too() {
    let mut observer = Observer::default();
    terminal(&mut observer, 1);
    data(&mut observer, TO, 1, 0, b"rm -rf x");
    send(&mut observer, TO, 1, FrameKind::Attach, &Attach { have: 0, window: 1 });
    let opened = Opened { received: 3, ..Opened::default() };
    send(&mut observer, FROM, 1, FrameKind::Opened, &opened);
    data(&mut observer, TO, 1, 3, b"y\r");
    let segment = observer.take().unwrap();
    let typed: Vec<(u64, Vec<u8>)> = records::read(&segment.records)
        .filter_map(|record| match record.unwrap().content {
            Content::Typed { offset, bytes } => Some((offset, bytes.to_vec())),
            _ => None,
        })
        .collect();
    assert_eq!(typed, [(0, b"rm -rf x".to_vec()), (3, b"y\r".to_vec())]);
    assert!(records::read(&segment.records).any(
        |record| record.unwrap().content == Content::Happened(Happening::NotReceived { from: 3, to: 8 })
    ));
}

#[test]
fn another_host_goes_on_where_the_one_before_stopped() {
    let mut observer = Observer::default();
    terminal(&mut observer, 1);
    data(&mut observer, FROM, 1, 0, b"one");
    let segment = observer.take().unwrap();
    let state = records::read(&segment.records).find_map(|record| match record.unwrap().content {
        Content::State(state) => Some(state),
        _ => None,
    });
    let mut next = Observer::resumed(state.unwrap(), 7);
    let live = LiveChannel { channel: 1, kind: ChannelKind::Terminal, label: "bash".to_owned() };
    next.note(9, &Note::Ready { channels: vec![live] });
    data(&mut next, FROM, 1, 0, b"one two");
    let segment = next.take().unwrap();
    assert_eq!((shown(&segment.records), segment.from_us), (b" two".to_vec(), 9));
    next.note(9, &Note::Ready { channels: Vec::new() });
    assert!(matches!(happenings(&mut next)[0], Happening::Ended { by_machine: true, from_machine: 7, .. }));
}

#[test]
fn of_files_their_names_sizes_and_checksums_are_recorded_and_never_what_is_in_them() {
    let mut observer = Observer::default();
    let secret = "the-content-of-the-file";
    open(&mut observer, 1, json!({ "kind": "files" }));
    let write = json!({ "id": 1, "request": { "do": "write_text", "path": "/etc/motd", "text": secret } });
    send(&mut observer, TO, 1, FrameKind::Message, &write);
    let part = json!({ "id": 2, "part": { "is": "entries", "entries": [] } });
    send(&mut observer, FROM, 1, FrameKind::Message, &part);
    let text = json!({ "id": 2, "reply": { "is": "text", "text": secret, "version": "v1" } });
    send(&mut observer, FROM, 1, FrameKind::Message, &text);
    let denied = json!({ "id": 1, "error": { "code": "permission_denied", "detail": "no" } });
    send(&mut observer, FROM, 1, FrameKind::Message, &denied);
    open(&mut observer, 2, json!({ "kind": "upload", "path": "/tmp/x", "size": 23, "resume_key": "k" }));
    data(&mut observer, TO, 2, 0, secret.as_bytes());
    let finish = json!({ "type": "finish", "sha256": "ab" });
    send(&mut observer, TO, 2, FrameKind::Message, &finish);
    let end = ChannelEnd { sha256: Some("ab".to_owned()), size: Some(23), ..ChannelEnd::default() };
    send(&mut observer, FROM, 2, FrameKind::End, &end);
    let segment = observer.take().unwrap();
    let is_there = segment.records.windows(secret.len()).any(|window| window == secret.as_bytes());
    assert!(!is_there, "the file's content is in the recording");
    let all = format!("{:?}", records::read(&segment.records).collect::<Vec<_>>());
    for told in ["/etc/motd", "/tmp/x", "PermissionDenied", "\"bytes\": Number(23)"] {
        assert!(all.contains(told), "{told}: {all}");
    }
    assert!(all.contains("to_machine: 23"), "{all}");
    let kinds: Vec<_> = segment.kinds.into_iter().collect();
    assert_eq!(kinds, [ChannelKind::Files]);
}

#[test]
fn what_was_done_to_the_machine_is_recorded() {
    let mut observer = Observer::default();
    open(&mut observer, 1, json!({ "kind": "processes" }));
    let kill = json!({ "do": "kill", "process": { "pid": 7, "started_ms": 1 }, "tree": true });
    let asked = json!({ "id": 3, "request": kill });
    send(&mut observer, TO, 1, FrameKind::Message, &asked);
    let killed = json!({ "id": 3, "reply": { "is": "killed", "processes": 2 } });
    send(&mut observer, FROM, 1, FrameKind::Message, &killed);
    open(&mut observer, 2, json!({ "kind": "registry" }));
    let value = json!({ "type": "dword", "data": 1 });
    let set = json!({ "do": "set_value", "key": r"HKLM\Software\Acme", "name": "On", "value": value });
    let asked = json!({ "id": 1, "request": set });
    send(&mut observer, TO, 2, FrameKind::Message, &asked);
    open(&mut observer, 3, json!({ "kind": "forward", "host": "192.0.2.7", "port": 3389 }));
    data(&mut observer, TO, 3, 0, b"abc");
    data(&mut observer, FROM, 3, 0, b"defgh");
    send(&mut observer, FROM, 3, FrameKind::End, &ChannelEnd::default());
    let happened = happenings(&mut observer);
    assert!(happened.contains(&Happening::Asked { id: 3, request: kill }));
    assert!(happened.contains(&Happening::Asked { id: 1, request: set }));
    let reply = Some(json!({ "is": "killed", "processes": 2 }));
    assert!(happened.contains(&Happening::Answered { id: 3, reply, error: None }));
    let forward = json!({ "kind": "forward", "host": "192.0.2.7", "port": 3389 });
    assert!(happened.contains(&Happening::Opened { kind: "forward".to_owned(), channel: forward }));
    let ended = Happening::Ended {
        by_machine: true,
        error: None,
        exit_code: None,
        sha256: None,
        size: None,
        to_machine: 3,
        from_machine: 5,
    };
    assert_eq!(happened.last(), Some(&ended));
}

#[test]
fn lines_are_for_the_index_when_they_were_shown() {
    let mut observer = Observer::default();
    terminal(&mut observer, 1);
    data(&mut observer, TO, 1, 0, b"sudo -i\r");
    data(&mut observer, FROM, 1, 0, b"sudo -i\r\nPassword: ");
    data(&mut observer, TO, 1, 8, b"hunter2hunter2\r");
    data(&mut observer, FROM, 1, 19, b"\r\n# ");
    observer.settle_all(0);
    let segment = observer.take().unwrap();
    let lines: Vec<&str> = segment.lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(lines, ["sudo -i"]);
    let entered: Vec<_> = records::read(&segment.records)
        .filter_map(|record| match record.unwrap().content {
            Content::Happened(Happening::Entered { line, is_exact }) => Some((line, is_exact)),
            _ => None,
        })
        .collect();
    assert_eq!(entered, [(Some("sudo -i".to_owned()), true), (None, true)]);
}

#[test]
fn more_channels_than_a_session_has_fail_it() {
    let mut observer = Observer::default();
    for channel in 1..=MAX_FOLLOWED {
        open(&mut observer, ChannelId::try_from(channel).unwrap(), json!({ "kind": "files" }));
    }
    let body = json_body(&json!({ "window": 1, "channel": { "kind": "files" } })).unwrap();
    let frame = Frame { channel: 9_999, kind: FrameKind::Open, flags: Flags::default(), body: &body };
    assert_eq!(observer.frame(0, TO, &frame), Err(TooManyChannels));
}

proptest! {
    /// However a stream's bytes are cut, repeated and late, each is recorded once and in its place.
    #[test]
    fn a_stream_is_recorded_whole(
        stream in proptest::collection::vec(any::<u8>(), 1..300),
        pieces in proptest::collection::vec((0.0_f64..1.0, 1_usize..60), 0..60),
    ) {
        let mut observer = Observer::default();
        terminal(&mut observer, 1);
        let mut have = 0;
        for (back, length) in pieces {
            let start = (have as f64 * back) as usize;
            let end = (start + length).min(stream.len());
            data(&mut observer, FROM, 1, start as u64, &stream[start..end]);
            have = have.max(end);
        }
        data(&mut observer, FROM, 1, have as u64, &stream[have..]);
        let segment = observer.take().unwrap();
        prop_assert_eq!(shown(&segment.records), stream);
    }
}
