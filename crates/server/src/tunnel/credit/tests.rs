use super::*;
use gururmm_protocol::command::RunContext;
use gururmm_protocol::tunnel::frame::{data_body, json_body};
use gururmm_protocol::tunnel::terminal::{OpenTerminal, TerminalSize};
use gururmm_protocol::tunnel::{Flags, OpenChannel};
use proptest::prelude::*;
use serde::Serialize;

const ALL: &[ChannelKind] = ChannelKind::ALL;

fn open(window: u32) -> Vec<u8> {
    let size = TerminalSize { columns: 80, rows: 24 };
    let terminal = OpenTerminal { shell: None, context: RunContext::default(), size };
    json(&Open { window, channel: OpenChannel::Terminal(terminal) })
}

fn opened(window: u32) -> Vec<u8> {
    json(&Opened { window, ..Opened::default() })
}

fn attach(window: u32) -> Vec<u8> {
    json(&Attach { have: 0, window })
}

fn json(value: &impl Serialize) -> Vec<u8> {
    json_body(value).unwrap()
}

fn data(bytes: usize) -> Vec<u8> {
    data_body(0, &vec![0; bytes - 8])
}

/// Channels, and what passes through them.
#[derive(Default)]
struct Table(Channels);

impl Table {
    fn tech(&mut self, channel: ChannelId, kind: FrameKind, body: &[u8]) -> Verdict {
        let frame = Frame { channel, kind, flags: Flags::default(), body };
        self.0.tech_sends(Side::of(channel), &frame, ALL)
    }

    fn machine(&mut self, channel: ChannelId, kind: FrameKind, body: &[u8]) -> Verdict {
        self.0.machine_sends(&Frame { channel, kind, flags: Flags::default(), body })
    }

    /// With channel 1 open, `to_tech` and `to_machine` granted.
    fn with_one(to_tech: u32, to_machine: u32) -> Self {
        let mut table = Self::default();
        assert_eq!(table.tech(1, FrameKind::Open, &open(to_tech)), Verdict::Pass);
        assert_eq!(table.machine(1, FrameKind::Opened, &opened(to_machine)), Verdict::Pass);
        table
    }
}

fn code(verdict: &Verdict) -> Option<ErrorCode> {
    match verdict {
        Verdict::Refuse(end) => end.error.as_ref().map(|error| error.code),
        _ => None,
    }
}

#[test]
fn each_side_sends_what_it_was_granted_and_one_byte_more_breaks_the_session() {
    let mut table = Table::with_one(100, 50);
    assert_eq!(table.machine(1, FrameKind::Data, &data(100)), Verdict::Pass);
    assert_eq!(table.tech(1, FrameKind::Data, &data(50)), Verdict::Pass);
    assert_eq!(table.tech(1, FrameKind::Credit, &20_u32.to_be_bytes()), Verdict::Pass);
    assert_eq!(table.machine(1, FrameKind::Message, &[b' '; 20]), Verdict::Pass);
    assert!(matches!(table.machine(1, FrameKind::Message, b" "), Verdict::Break(_)));
    assert_eq!(table.machine(1, FrameKind::Credit, &10_u32.to_be_bytes()), Verdict::Pass);
    assert!(matches!(table.tech(1, FrameKind::Data, &data(11)), Verdict::Break(_)));
}

#[test]
fn nobody_grants_more_than_may_be_ahead() {
    let mut table = Table::with_one(MAX_WINDOW_BYTES, MAX_WINDOW_BYTES);
    let one = 1_u32.to_be_bytes();
    assert!(matches!(table.tech(1, FrameKind::Credit, &one), Verdict::Break(_)));
    assert!(matches!(table.machine(1, FrameKind::Credit, &one), Verdict::Break(_)));
    assert!(matches!(table.tech(2, FrameKind::Open, &open(MAX_WINDOW_BYTES + 1)), Verdict::Break(_)));
    for channel in 2..=4 {
        assert_eq!(table.tech(channel, FrameKind::Open, &open(MAX_WINDOW_BYTES)), Verdict::Pass);
    }
    let beyond = table.tech(5, FrameKind::Open, &open(1));
    assert_eq!(code(&beyond), Some(ErrorCode::TooMany), "all channels together");
    let mut table = Table::default();
    for channel in 1..=MAX_CHANNELS as u32 {
        assert_eq!(table.tech(channel, FrameKind::Open, &open(1)), Verdict::Pass);
    }
    assert_eq!(code(&table.tech(100, FrameKind::Open, &open(1))), Some(ErrorCode::TooMany));
}

#[test]
fn what_is_not_allowed_or_there_already_is_refused_and_the_session_goes_on() {
    let mut table = Table::with_one(10, 10);
    let files = [ChannelKind::Files];
    let body = open(10);
    let frame = Frame { channel: 2, kind: FrameKind::Open, flags: Flags::default(), body: &body };
    assert_eq!(code(&table.0.tech_sends(Side::Tech, &frame, &files)), Some(ErrorCode::NotAllowed));
    assert_eq!(code(&table.tech(1, FrameKind::Open, &body)), Some(ErrorCode::AlreadyExists));
    assert_eq!(code(&table.tech(3, FrameKind::Open, b"{}")), Some(ErrorCode::Invalid));
    let unknown = br#"{"window":1,"channel":{"kind":"seance"}}"#;
    assert_eq!(code(&table.tech(3, FrameKind::Open, unknown)), Some(ErrorCode::Unsupported));
    assert_eq!(code(&table.tech(9, FrameKind::Attach, &attach(1))), Some(ErrorCode::Closed));
    assert_eq!(table.0.not_among(&files), [1]);
}

#[test]
fn numbers_that_nobody_opened_lead_nowhere_and_each_side_keeps_to_its_own() {
    let mut table = Table::with_one(100, 100);
    for kind in [FrameKind::Data, FrameKind::Message] {
        assert_eq!(table.machine(7, kind, &data(10)), Verdict::Ignore);
        assert_eq!(table.tech(7, kind, &data(10)), Verdict::Ignore);
    }
    for kind in [FrameKind::Open, FrameKind::Attach] {
        assert!(matches!(table.machine(1, kind, &open(1)), Verdict::Break(_)));
    }
    assert!(matches!(table.tech(1, FrameKind::Opened, &opened(1)), Verdict::Break(_)));
    let body = open(1);
    let stolen =
        Frame { channel: SERVER_CHANNELS, kind: FrameKind::Open, flags: Flags::default(), body: &body };
    assert!(matches!(table.0.tech_sends(Side::Tech, &stolen, ALL), Verdict::Break(_)));
    assert_eq!(table.0.tech_sends(Side::Server, &stolen, ALL), Verdict::Pass);
    let own = Frame { channel: 2, ..stolen };
    assert!(matches!(table.0.tech_sends(Side::Server, &own, ALL), Verdict::Break(_)));
    assert!(matches!(table.machine(2, FrameKind::Data, &data(10)), Verdict::Ignore));
    assert_eq!(table.tech(3, FrameKind::Open, &open(100)), Verdict::Pass);
    assert!(matches!(table.machine(3, FrameKind::Data, &data(10)), Verdict::Break(_)), "before it opened");
}

#[test]
fn after_an_attach_nothing_counts_that_was_granted_or_sent_before() {
    let mut table = Table::with_one(100, 100);
    table.0.tech_left();
    assert_eq!(table.machine(1, FrameKind::Data, &data(100)), Verdict::Ignore, "it comes again");
    assert_eq!(table.tech(1, FrameKind::Data, &data(10)), Verdict::Ignore);
    assert_eq!(table.tech(1, FrameKind::Attach, &attach(30)), Verdict::Pass);
    assert_eq!(table.machine(1, FrameKind::Data, &data(100)), Verdict::Ignore, "on its way already");
    assert_eq!(table.machine(1, FrameKind::Credit, &5_u32.to_be_bytes()), Verdict::Ignore);
    assert_eq!(table.machine(1, FrameKind::Opened, &opened(40)), Verdict::Pass);
    assert_eq!(table.0.may_send(1), Some(45), "a grant had overtaken the answer");
    assert_eq!(table.machine(1, FrameKind::Data, &data(30)), Verdict::Pass);
    assert!(matches!(table.machine(1, FrameKind::Data, &data(8)), Verdict::Break(_)));
}

#[test]
fn a_machine_that_is_back_says_what_there_is() {
    let mut table = Table::with_one(100, 100);
    assert_eq!(table.tech(2, FrameKind::Open, &open(100)), Verdict::Pass);
    assert_eq!(table.tech(SERVER_CHANNELS, FrameKind::Open, &open(100)), Verdict::Pass);
    table.0.machine_left();
    assert_eq!(
        table.machine(SERVER_CHANNELS, FrameKind::End, b"{}"),
        Verdict::Ignore,
        "it ended with the link"
    );
    let live = |channel| LiveChannel { channel, kind: ChannelKind::Terminal, label: String::new() };
    table.0.machine_has(&[live(1), live(5), live(SERVER_CHANNELS + 1)]);
    assert_eq!(table.tech(1, FrameKind::Attach, &attach(10)), Verdict::Pass);
    assert_eq!(table.tech(5, FrameKind::Attach, &attach(10)), Verdict::Pass, "from another host's time");
    assert_eq!(code(&table.tech(2, FrameKind::Attach, &attach(10))), Some(ErrorCode::Closed));
    assert_eq!(table.machine(5, FrameKind::End, b"{}"), Verdict::Pass);
    assert_eq!(code(&table.tech(5, FrameKind::Attach, &attach(10))), Some(ErrorCode::Closed));
}

#[test]
fn what_ended_while_nobody_was_there_says_how_to_who_asks_and_takes_no_room() {
    let live = |channel| LiveChannel { channel, kind: ChannelKind::Terminal, label: String::new() };
    let mut table = Table::default();
    for channel in 1..=MAX_CHANNELS as u32 {
        assert_eq!(table.tech(channel, FrameKind::Open, &open(100)), Verdict::Pass);
    }
    assert!(table.0.has_techs());
    table.0.tech_left();
    table.0.machine_names(&[live(1)]);
    assert_eq!(table.tech(2, FrameKind::Attach, &attach(10)), Verdict::Pass);
    assert_eq!(table.machine(2, FrameKind::End, br#"{"exit_code":3}"#), Verdict::Pass);
    // A page that did not know them takes their numbers, and others find room.
    assert_eq!(table.tech(3, FrameKind::Open, &open(100)), Verdict::Pass);
    for channel in 100..100 + MAX_CHANNELS as u32 - 2 {
        assert_eq!(table.tech(channel, FrameKind::Open, &open(1)), Verdict::Pass);
    }
    assert_eq!(code(&table.tech(99, FrameKind::Open, &open(1))), Some(ErrorCode::TooMany));
    assert_eq!(
        code(&table.tech(1, FrameKind::Open, &open(1))),
        Some(ErrorCode::AlreadyExists),
        "it is there"
    );
    assert_eq!(code(&table.tech(4, FrameKind::Attach, &attach(1))), Some(ErrorCode::Closed), "forgotten");
}

#[test]
fn the_sessions_own_channel_has_pings_and_nothing_else() {
    let mut table = Table::default();
    assert_eq!(table.tech(SESSION_CHANNEL, FrameKind::Message, br#"{"ping":1}"#), Verdict::Pass);
    assert_eq!(table.machine(SESSION_CHANNEL, FrameKind::Message, br#"{"ping":1}"#), Verdict::Pass);
    assert!(matches!(
        table.tech(SESSION_CHANNEL, FrameKind::Message, &[0; PING_BYTES + 1]),
        Verdict::Break(_)
    ));
    assert!(matches!(table.tech(SESSION_CHANNEL, FrameKind::Open, &open(1)), Verdict::Break(_)));
    assert!(matches!(table.machine(SESSION_CHANNEL, FrameKind::Data, &data(8)), Verdict::Break(_)));
}

proptest! {
    /// Whatever is sent, what passes from the machine never exceeds what was granted since the channel was opened or attached,
    /// and what may be ahead never exceeds the session's limit.
    #[test]
    fn no_frames_make_more_pass_than_was_granted(
        steps in proptest::collection::vec((0_u8..8, 1_u32..4, 8_u32..2_000_000), 1..200),
    ) {
        let mut table = Table::default();
        let mut granted = HashMap::<u32, u64>::new();
        let mut passed = HashMap::<u32, u64>::new();
        for (step, channel, amount) in steps {
            match step {
                0 if table.tech(channel, FrameKind::Open, &open(amount)) == Verdict::Pass => {
                    granted.insert(channel, amount.into());
                    passed.insert(channel, 0);
                }
                1 => { table.machine(channel, FrameKind::Opened, &opened(amount)); }
                2 if table.tech(channel, FrameKind::Attach, &attach(amount)) == Verdict::Pass => {
                    granted.insert(channel, amount.into());
                    passed.insert(channel, 0);
                }
                3 if table.tech(channel, FrameKind::Credit, &amount.to_be_bytes()) == Verdict::Pass => {
                    *granted.entry(channel).or_default() += u64::from(amount);
                }
                4 => {
                    let amount = amount.min(60_000);
                    if table.machine(channel, FrameKind::Data, &data(amount as usize)) == Verdict::Pass {
                        *passed.entry(channel).or_default() += u64::from(amount);
                    }
                }
                5 => table.0.tech_left(),
                6 => { table.machine(channel, FrameKind::End, b"{}"); }
                7 => table.0.machine_names(&[]),
                _ => {}
            }
            for (channel, passed) in &passed {
                prop_assert!(*passed <= granted.get(channel).copied().unwrap_or_default());
            }
        }
    }
}

#[test]
fn what_uses_credit_or_grants_much_is_paid_for() {
    let frame = |channel, kind, body| Frame { channel, kind, flags: Flags::default(), body };
    let (much, little) = (MUCH_GRANTED_BYTES.to_be_bytes(), (MUCH_GRANTED_BYTES - 1).to_be_bytes());
    for (paid, channel, kind, body) in [
        (true, 1, FrameKind::Data, &[0_u8; 9][..]),
        (true, 1, FrameKind::Message, b"{}"),
        (false, 1, FrameKind::Message, b""),
        (false, SESSION_CHANNEL, FrameKind::Message, b"{}"),
        (true, 1, FrameKind::Credit, &much),
        (false, 1, FrameKind::Credit, &little),
        (false, 1, FrameKind::Credit, b""),
        (false, 1, FrameKind::Attach, b"{}"),
        (false, 1, FrameKind::End, b"{}"),
    ] {
        assert_eq!(is_paid(&frame(channel, kind, body)), paid, "{kind:?} {body:?}");
    }
}
