//! Sessions and channels without a socket: frames in, frames out.

use super::channel::{Incoming, unseen};
use super::lanes::LanesEnd;
use super::*;
use gururmm_protocol::tunnel::forward::OpenForward;
use gururmm_protocol::tunnel::frame::{OFFSET_BYTES, PIECE_BYTES, SESSION_BYTES, data_body, json_body};
use gururmm_protocol::tunnel::{
    Attach, ChannelKind, Consent, MAX_CHANNELS, MAX_WINDOW_BYTES, Open, Opened, Ping, SERVER_CHANNELS,
    TunnelReady, WINDOW_BYTES,
};
use std::time::Duration;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

/// Gives back what comes: bytes as bytes, messages as messages. The words `stall` and `panic` mean what they say.
fn echo(_open: OpenChannel, _rules: Arc<TunnelRules>, mut channel: Channel) -> Serving {
    Box::pin(async move {
        let (mut received, mut said) = (0, Vec::new());
        let mut sent = 0;
        let _ = channel.sender.opened(Opened::default()).await;
        loop {
            let rest: &[u8] = said.get(sent..).unwrap_or_default();
            let incoming = tokio::select! {
                biased;
                incoming = channel.incoming.recv() => incoming,
                count = channel.sender.piece(sent as u64, rest, Flags::default()), if !rest.is_empty() => {
                    sent += count.unwrap_or_default();
                    continue;
                }
            };
            let Some(incoming) = incoming else {
                return ChannelEnd { exit_code: Some(7), ..ChannelEnd::default() };
            };
            let cost = incoming.cost();
            match incoming {
                Incoming::Data { offset, bytes, .. } => {
                    let new = match unseen(received, offset, &bytes) {
                        Ok(new) => new,
                        Err(error) => return error.into(),
                    };
                    received += new.len() as u64;
                    said.extend_from_slice(new);
                }
                Incoming::Message(body) if body == b"\"stall\"" => std::future::pending().await,
                Incoming::Message(body) if body == b"\"panic\"" => panic!("asked to"),
                Incoming::Message(body) => {
                    let _ = channel.sender.message(&String::from_utf8_lossy(&body)).await;
                }
                Incoming::Attach(attach) => {
                    sent = attach.have as usize;
                    let opened = Opened { from: attach.have, received, ..Opened::default() };
                    let _ = channel.sender.opened(opened).await;
                }
            }
            let _ = channel.sender.grant(cost).await;
        }
    })
}

struct Bench {
    tunnels: Arc<Tunnels>,
    out: LanesEnd,
    session: TunnelId,
}

impl Bench {
    /// With one session, in which terminals and forwarded ports are allowed.
    async fn new() -> Self {
        let tunnels = Tunnels::new(echo);
        let (lanes, out) = Lanes::new();
        tunnels.connected(lanes);
        let mut bench = Self { tunnels, out, session: TunnelId::new() };
        let ready = bench.open(order(bench.session)).await;
        assert_eq!((ready.tunnel_id, ready.channels), (bench.session, Vec::new()));
        assert!(!ready.shells.is_empty() && ready.kinds.contains(&ChannelKind::Terminal));
        bench
    }

    async fn answer(&mut self) -> AgentMessage {
        loop {
            if let Some(answer) = self.tunnels.take_answers().pop_front() {
                return answer;
            }
            timeout(PATIENCE, self.tunnels.news()).await.expect("no answer");
        }
    }

    async fn open(&mut self, order: TunnelOpen) -> TunnelReady {
        self.tunnels.open(order);
        let AgentMessage::TunnelReady(ready) = self.answer().await else { panic!("no session") };
        ready
    }

    fn reconnect(&mut self, now: Instant) {
        self.tunnels.disconnected(now);
        let (lanes, out) = Lanes::new();
        self.tunnels.connected(lanes);
        self.out = out;
    }

    fn send_in(&self, session: TunnelId, channel: ChannelId, kind: FrameKind, body: &[u8]) {
        let frame = Frame { channel, kind, flags: Flags::default(), body };
        self.tunnels.frame(&frame.to_bytes_of_session(session));
    }

    fn send(&self, channel: ChannelId, kind: FrameKind, body: &[u8]) {
        self.send_in(self.session, channel, kind, body);
    }

    fn attach(&self, channel: ChannelId, have: u64, window: u32) {
        self.send(channel, FrameKind::Attach, &json_body(&Attach { have, window }).unwrap());
    }

    fn credit(&self, channel: ChannelId, bytes: u32) {
        self.send(channel, FrameKind::Credit, &bytes.to_be_bytes());
    }

    /// The next frame: channel, kind, flags and body.
    async fn frame(&mut self) -> (ChannelId, FrameKind, Flags, Vec<u8>) {
        let bytes = timeout(PATIENCE, self.out.next()).await.expect("no frame");
        assert_eq!(bytes[..SESSION_BYTES], *self.session.0.as_bytes());
        let frame = Frame::read(&bytes[SESSION_BYTES..]).unwrap();
        (frame.channel, frame.kind, frame.flags, frame.body.to_vec())
    }

    async fn expect(&mut self, channel: ChannelId, kind: FrameKind) -> Vec<u8> {
        let (got, got_kind, _, body) = self.frame().await;
        assert_eq!((got, got_kind), (channel, kind), "{}", String::from_utf8_lossy(&body));
        body
    }

    async fn expect_end(&mut self, channel: ChannelId) -> ChannelEnd {
        let body = self.expect(channel, FrameKind::End).await;
        serde_json::from_slice(&body).unwrap()
    }

    async fn expect_error(&mut self, channel: ChannelId, code: ErrorCode) {
        let end = self.expect_end(channel).await;
        assert_eq!(end.error.as_ref().map(|error| error.code), Some(code), "{end:?}");
    }

    async fn expect_opened(&mut self, channel: ChannelId) -> Opened {
        let body = self.expect(channel, FrameKind::Opened).await;
        serde_json::from_slice(&body).unwrap()
    }

    async fn terminal(&mut self, channel: ChannelId, window: u32) {
        self.send(channel, FrameKind::Open, &terminal(window));
        assert_eq!(self.expect_opened(channel).await, Opened { window: WINDOW_BYTES, ..Opened::default() });
    }

    /// Lets everything that can happen happen; nothing may come of it.
    async fn nothing(&mut self) {
        let more = timeout(Duration::from_millis(50), self.out.next()).await;
        assert!(more.is_err(), "{more:?}");
    }
}

fn order(tunnel_id: TunnelId) -> TunnelOpen {
    let channels = vec![ChannelKind::Terminal, ChannelKind::Forward];
    TunnelOpen {
        tunnel_id,
        tech: "Ada".into(),
        rules: TunnelRules { channels, ..TunnelRules::default() },
        consent: Consent::Never,
    }
}

fn open(window: u32, channel: OpenChannel) -> Vec<u8> {
    json_body(&Open { window, channel }).unwrap()
}

fn terminal(window: u32) -> Vec<u8> {
    format!(r#"{{"window":{window},"channel":{{"kind":"terminal","columns":80,"rows":24}}}}"#).into_bytes()
}

fn forward() -> OpenChannel {
    OpenChannel::Forward(OpenForward { host: "localhost".into(), port: 1 })
}

#[tokio::test]
async fn a_channel_says_what_it_is_for_and_what_came_comes_back() {
    let mut bench = Bench::new().await;
    bench.terminal(1, 100_000).await;
    bench.send(1, FrameKind::Data, &data_body(0, b"ls"));
    assert_eq!(bench.expect(1, FrameKind::Data).await, data_body(0, b"ls"));
    bench.send(1, FrameKind::Data, &data_body(1, b"s -l"));
    // What was sent again is left out.
    assert_eq!(bench.expect(1, FrameKind::Data).await, data_body(2, b" -l"));
    bench.send(1, FrameKind::Message, b"5");
    assert_eq!(bench.expect(1, FrameKind::Message).await, b"\"5\"");
    bench.send(1, FrameKind::Data, &data_body(6, b"gap"));
    bench.expect_error(1, ErrorCode::Invalid).await;
    // Asked for again, it is still ended as it was.
    bench.attach(1, 0, 9_999);
    bench.expect_error(1, ErrorCode::Invalid).await;
    let ready = bench.open(order(bench.session)).await;
    assert_eq!(ready.channels, []);
}

#[tokio::test]
async fn nothing_is_sent_beyond_the_credit() {
    let mut bench = Bench::new().await;
    bench.terminal(1, OFFSET_BYTES as u32 + 3).await;
    bench.send(1, FrameKind::Data, &data_body(0, b"hello world"));
    assert_eq!(bench.expect(1, FrameKind::Data).await, data_body(0, b"hel"));
    bench.nothing().await;
    // Not even an offset alone.
    bench.credit(1, OFFSET_BYTES as u32);
    bench.nothing().await;
    bench.credit(1, 2);
    assert_eq!(bench.expect(1, FrameKind::Data).await, data_body(3, b"lo"));
    bench.nothing().await;
    // More than may ever be granted is cut, and pieces have their size.
    for _ in 0..3 {
        bench.credit(1, u32::MAX);
    }
    let mut granted = MAX_WINDOW_BYTES as usize;
    bench.expect(1, FrameKind::Data).await;
    granted -= OFFSET_BYTES + 6;
    let mut offset = 11;
    let piece = vec![b'x'; PIECE_BYTES];
    while granted > OFFSET_BYTES {
        bench.send(1, FrameKind::Data, &data_body(offset, &piece));
        let mut got = 0;
        while got < piece.len() && granted > OFFSET_BYTES {
            let (_, kind, _, body) = bench.frame().await;
            if kind == FrameKind::Data {
                got += body.len() - OFFSET_BYTES;
                granted -= body.len();
            }
        }
        offset += piece.len() as u64;
    }
    bench.nothing().await;
}

#[tokio::test]
async fn what_was_dealt_with_is_granted_again_and_more_than_that_ends_the_channel() {
    let mut bench = Bench::new().await;
    bench.terminal(1, MAX_WINDOW_BYTES).await;
    let piece = vec![b'x'; PIECE_BYTES];
    let (mut offset, mut credit) = (0, WINDOW_BYTES as usize);
    for _ in 0..40 {
        bench.send(1, FrameKind::Data, &data_body(offset, &piece));
        offset += piece.len() as u64;
        credit -= OFFSET_BYTES + piece.len();
        while credit < WINDOW_BYTES as usize / 2 {
            let (_, kind, _, body) = bench.frame().await;
            if kind == FrameKind::Credit {
                credit += u32::from_be_bytes(body.try_into().unwrap()) as usize;
                assert!(credit <= WINDOW_BYTES as usize);
            }
        }
    }
    bench.terminal_stalled(2).await;
    let zeros = vec![0; PIECE_BYTES];
    for number in 0..=WINDOW_BYTES as usize / zeros.len() {
        bench.send(2, FrameKind::Data, &data_body((number * zeros.len()) as u64, &zeros));
    }
    loop {
        let (channel, kind, _, body) = bench.frame().await;
        if (channel, kind) == (2, FrameKind::End) {
            let end: ChannelEnd = serde_json::from_slice(&body).unwrap();
            break assert_eq!(end.error.unwrap().code, ErrorCode::Invalid);
        }
        assert_eq!(channel, 1);
    }
}

impl Bench {
    /// One that deals with nothing any more.
    async fn terminal_stalled(&mut self, channel: ChannelId) {
        self.send(channel, FrameKind::Open, &terminal(1_000));
        loop {
            let (got, kind, ..) = self.frame().await;
            if got == channel {
                break assert_eq!(kind, FrameKind::Opened);
            }
        }
        self.send(channel, FrameKind::Message, b"\"stall\"");
    }
}

#[tokio::test]
async fn while_the_tech_is_away_what_was_opened_waits_and_the_servers_own_goes_on() {
    let mut bench = Bench::new().await;
    let (own, of_server) = (1, SERVER_CHANNELS);
    bench.terminal(own, 1_000).await;
    bench.terminal(of_server, 1_000).await;
    // What nobody knows means nothing.
    for body in [&br#"{"tech":"on holiday"}"#[..], br#"{"tech":7}"#, b"{"] {
        bench.send(SESSION_CHANNEL, FrameKind::Message, body);
    }
    bench.send(own, FrameKind::Data, &data_body(0, b"a"));
    assert_eq!(bench.expect(own, FrameKind::Data).await, data_body(0, b"a"));
    bench.send(SESSION_CHANNEL, FrameKind::Message, br#"{"tech":"away"}"#);
    bench.send(own, FrameKind::Data, &data_body(1, b"b"));
    bench.send(of_server, FrameKind::Data, &data_body(0, b"c"));
    assert_eq!(bench.expect(of_server, FrameKind::Data).await, data_body(0, b"c"));
    bench.nothing().await;
    bench.attach(own, 1, 1_000);
    assert_eq!(bench.expect_opened(own).await.received, 2);
    assert_eq!(bench.expect(own, FrameKind::Data).await, data_body(1, b"b"));
    // One that ends meanwhile says how to who asks.
    bench.send(SESSION_CHANNEL, FrameKind::Message, br#"{"tech":"away"}"#);
    bench.send(own, FrameKind::End, b"{}");
    bench.nothing().await;
    bench.attach(own, 0, 1_000);
    assert_eq!(bench.expect_end(own).await.exit_code, Some(7));
}

#[tokio::test]
async fn messages_that_cost_nothing_are_bounded_as_well() {
    let mut bench = Bench::new().await;
    bench.terminal_stalled(1).await;
    for _ in 0..=channel::QUEUE + 1 {
        bench.send(1, FrameKind::Message, b"");
    }
    bench.expect_error(1, ErrorCode::TooMany).await;
}

#[tokio::test]
async fn forged_numbers_are_answered_with_closed_and_nothing_else_happens() {
    let mut bench = Bench::new().await;
    bench.terminal(1, 1_000).await;
    for kind in [FrameKind::Data, FrameKind::Message, FrameKind::Attach] {
        bench.send(9, kind, &data_body(0, b"rm -r"));
        bench.expect_error(9, ErrorCode::Closed).await;
    }
    for kind in [FrameKind::Credit, FrameKind::End, FrameKind::Opened] {
        bench.send(9, kind, &data_body(0, b""));
    }
    bench.nothing().await;
    // Of a session that is somebody else's, or nobody's.
    let own = std::mem::replace(&mut bench.session, TunnelId::new());
    bench.send(1, FrameKind::Open, &terminal(1_000));
    bench.expect_error(1, ErrorCode::Closed).await;
    bench.send(1, FrameKind::Data, &data_body(0, b"rm -r"));
    bench.expect_error(1, ErrorCode::Closed).await;
    bench.send(SESSION_CHANNEL, FrameKind::Message, br#"{"ping":1}"#);
    bench.send(1, FrameKind::Credit, &[0, 0, 1, 0]);
    bench.nothing().await;
    bench.session = own;
    for bytes in [&b""[..], &[0; 15], &[0; 23], &[0xff; 300]] {
        bench.tunnels.frame(bytes);
    }
    bench.send(1, FrameKind::Data, &data_body(0, b"here"));
    assert_eq!(bench.expect(1, FrameKind::Data).await, data_body(0, b"here"));
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_its_channel_alone() {
    let mut bench = Bench::new().await;
    bench.terminal(1, 1_000).await;
    for (kind, body) in [
        (FrameKind::Open, terminal(1_000)),
        (FrameKind::Opened, b"{}".to_vec()),
        (FrameKind::Attach, b"not json".to_vec()),
    ] {
        bench.terminal(2, 1_000).await;
        bench.send(2, kind, &body);
        bench.expect_error(2, ErrorCode::Invalid).await;
        let until = Instant::now() + PATIENCE;
        while bench.tunnels.inner().running > 1 {
            assert!(Instant::now() < until);
            tokio::task::yield_now().await;
        }
    }
    for body in [&b"not json"[..], br#"{"window":1}"#] {
        bench.send(3, FrameKind::Open, body);
        bench.expect_error(3, ErrorCode::Invalid).await;
    }
    bench.send(3, FrameKind::Open, br#"{"window":1,"channel":{"kind":"teleport"}}"#);
    bench.expect_error(3, ErrorCode::Unsupported).await;
    bench.send(3, FrameKind::Open, &open(1, OpenChannel::Files {}));
    bench.expect_error(3, ErrorCode::NotAllowed).await;
    bench.send(1, FrameKind::Data, &data_body(0, b"here"));
    assert_eq!(bench.expect(1, FrameKind::Data).await, data_body(0, b"here"));
}

#[tokio::test]
async fn there_are_so_many_channels_and_sessions_and_no_more() {
    let mut bench = Bench::new().await;
    for channel in 1..=MAX_CHANNELS as u32 {
        bench.terminal(channel, 1_000).await;
    }
    let beyond = MAX_CHANNELS as u32 + 1;
    bench.send(beyond, FrameKind::Open, &terminal(1_000));
    bench.expect_error(beyond, ErrorCode::TooMany).await;
    bench.send(1, FrameKind::End, b"{}");
    assert_eq!(bench.expect_end(1).await.exit_code, Some(7));
    let until = Instant::now() + PATIENCE;
    while bench.tunnels.inner().running == MAX_CHANNELS {
        assert!(Instant::now() < until);
        tokio::task::yield_now().await;
    }
    bench.terminal(beyond, 1_000).await;
    for _ in 1..MAX_SESSIONS {
        bench.open(order(TunnelId::new())).await;
    }
    bench.tunnels.open(order(TunnelId::new()));
    let AgentMessage::TunnelRefused(refused) = bench.answer().await else { panic!("it is not refused") };
    assert_eq!(refused.reason, Refusal::TooManySessions);
    bench.tunnels.close(bench.session);
    bench.open(order(TunnelId::new())).await;
}

#[tokio::test]
async fn a_channel_goes_on_after_a_lost_link_with_nothing_twice_and_nothing_lost() {
    let mut bench = Bench::new().await;
    bench.terminal(1, OFFSET_BYTES as u32 + 4).await;
    bench.send(1, FrameKind::Data, &data_body(0, b"abcdefgh"));
    assert_eq!(bench.expect(1, FrameKind::Data).await, data_body(0, b"abcd"));
    let now = Instant::now();
    bench.reconnect(now);
    // Until the server speaks of the session it means nothing, whoever sends it.
    bench.attach(1, 2, 10_000);
    bench.send(1, FrameKind::Data, &data_body(8, b"evil"));
    bench.nothing().await;
    let ready = bench.open(order(bench.session)).await;
    assert_eq!(ready.channels.len(), 1);
    assert_eq!((ready.channels[0].channel, ready.channels[0].kind), (1, ChannelKind::Terminal));
    bench.nothing().await;
    bench.attach(1, 2, 10_000);
    let opened = bench.expect_opened(1).await;
    assert_eq!((opened.from, opened.received), (2, 8));
    assert_eq!(opened.window, WINDOW_BYTES, "what was dealt with is granted");
    assert_eq!(bench.expect(1, FrameKind::Data).await, data_body(2, b"cdefgh"));
    bench.send(1, FrameKind::Data, &data_body(5, b"fghij"));
    assert_eq!(bench.expect(1, FrameKind::Data).await, data_body(8, b"ij"));
}

#[tokio::test]
async fn of_two_who_attach_at_once_only_the_last_is_answered() {
    let mut bench = Bench::new().await;
    bench.terminal(1, 10_000).await;
    bench.send(1, FrameKind::Data, &data_body(0, b"abcdefgh"));
    bench.expect(1, FrameKind::Data).await;
    bench.attach(1, 1, OFFSET_BYTES as u32 + 1);
    // Credit for who was there before is void.
    bench.credit(1, 50_000);
    bench.attach(1, 4, OFFSET_BYTES as u32 + 2);
    let opened = bench.expect_opened(1).await;
    assert_eq!(opened.from, 4);
    assert_eq!(bench.expect(1, FrameKind::Data).await, data_body(4, b"ef"));
    bench.nothing().await;
}

#[tokio::test]
async fn a_session_that_no_server_speaks_of_is_kept_for_a_while() {
    let mut bench = Bench::new().await;
    bench.terminal(1, 1_000).await;
    let now = Instant::now();
    assert_eq!(bench.tunnels.next(), None);
    bench.tunnels.disconnected(now);
    assert_eq!(bench.tunnels.kept(), [bench.session]);
    assert_eq!(bench.tunnels.next(), Some(now + KEEP));
    // Another link, and no word of it there; then that link is gone as well.
    bench.reconnect(now + KEEP / 2);
    bench.tunnels.run(now + KEEP - Duration::from_millis(1));
    assert_eq!(bench.tunnels.kept(), [bench.session]);
    assert!(bench.tunnels.is_busy());
    bench.tunnels.run(now + KEEP);
    assert_eq!(bench.tunnels.kept(), []);
    let until = Instant::now() + PATIENCE;
    while bench.tunnels.is_busy() {
        assert!(Instant::now() < until, "its channel runs on");
        tokio::task::yield_now().await;
    }
    bench.attach(1, 0, 1_000);
    bench.expect_error(1, ErrorCode::Closed).await;
    bench.open(order(bench.session)).await;
    bench.tunnels.disconnected(now);
    let (lanes, out) = Lanes::new();
    bench.tunnels.connected(lanes);
    bench.out = out;
    bench.open(order(bench.session)).await;
    bench.tunnels.run(now + 2 * KEEP);
    assert_eq!(bench.tunnels.kept(), [bench.session], "it was spoken of");
}

#[tokio::test]
async fn other_rules_end_what_they_do_not_allow() {
    let mut bench = Bench::new().await;
    bench.terminal(1, 1_000).await;
    bench.send(2, FrameKind::Open, &open(1_000, forward()));
    bench.expect_opened(2).await;
    let mut rules = order(bench.session).rules;
    rules.forwards.push("*:*".into());
    let ready = bench.open(TunnelOpen { rules: rules.clone(), ..order(bench.session) }).await;
    let live: Vec<_> = ready.channels.iter().map(|live| live.channel).collect();
    assert_eq!(live, [1], "a connection was let through by what is no rule any more");
    rules.channels = vec![ChannelKind::Forward];
    let ready = bench.open(TunnelOpen { rules, ..order(bench.session) }).await;
    assert_eq!(ready.channels, []);
    bench.send(3, FrameKind::Open, &terminal(1_000));
    loop {
        let (channel, kind, _, body) = bench.frame().await;
        assert_eq!(kind, FrameKind::End);
        let end: ChannelEnd = serde_json::from_slice(&body).unwrap();
        assert_eq!(end.error.unwrap().code, ErrorCode::NotAllowed);
        if channel == 3 {
            break;
        }
    }
}

#[tokio::test]
async fn a_closed_session_takes_its_channels_along() {
    let mut bench = Bench::new().await;
    bench.terminal(1, 1_000).await;
    bench.terminal(2, OFFSET_BYTES as u32).await;
    // It waits for credit, and is told all the same.
    bench.send(2, FrameKind::Data, &data_body(0, b"x"));
    bench.tunnels.close(bench.session);
    let until = Instant::now() + PATIENCE;
    while bench.tunnels.is_busy() {
        assert!(Instant::now() < until, "its channels run on");
        tokio::task::yield_now().await;
    }
    bench.nothing().await;
    assert_eq!(bench.tunnels.kept(), []);
}

#[tokio::test]
async fn a_channel_that_does_not_notice_its_end_is_dropped() {
    let mut bench = Bench::new().await;
    bench.terminal_stalled(1).await;
    bench.send(1, FrameKind::End, b"{}");
    bench.nothing().await;
    assert!(bench.tunnels.is_busy(), "it has its time");
    bench.expect_error(1, ErrorCode::Closed).await;
    assert!(!bench.tunnels.is_busy());
}

#[tokio::test]
async fn a_channel_that_fails_says_so() {
    let mut bench = Bench::new().await;
    bench.terminal(1, 1_000).await;
    bench.send(1, FrameKind::Message, b"\"panic\"");
    bench.expect_error(1, ErrorCode::Failed).await;
    assert!(!bench.tunnels.is_busy());
    bench.attach(1, 0, 1_000);
    bench.expect_error(1, ErrorCode::Failed).await;
}

#[tokio::test]
async fn who_would_have_to_be_asked_is_not_passed_over() {
    let mut bench = Bench::new().await;
    for consent in [Consent::Always, Consent::Unknown] {
        bench.tunnels.open(TunnelOpen { consent, ..order(TunnelId::new()) });
        let AgentMessage::TunnelRefused(refused) = bench.answer().await else { panic!("it is open") };
        assert_eq!(refused.reason, Refusal::ConsentUnavailable);
        assert!(!refused.detail.is_empty());
    }
    assert_eq!(bench.tunnels.kept(), [bench.session]);
}

#[tokio::test]
async fn a_session_that_is_closed_before_it_is_open_never_is() {
    let mut bench = Bench::new().await;
    let other = TunnelId::new();
    bench.tunnels.open(order(other));
    bench.tunnels.close(other);
    // One that begins later is open by then.
    bench.open(order(TunnelId::new())).await;
    assert!(!bench.tunnels.kept().contains(&other));
    assert!(bench.tunnels.take_answers().is_empty());
}

#[tokio::test]
async fn pings_come_back_and_transfers_let_others_go_first() {
    let mut bench = Bench::new().await;
    bench.send(2, FrameKind::Open, &open(1_000_000, forward()));
    let (_, kind, ..) = bench.frame().await;
    assert_eq!(kind, FrameKind::Opened);
    bench.terminal(1, 1_000_000).await;
    for offset in [0, 40_000] {
        bench.send(2, FrameKind::Data, &data_body(offset, &[1; 40_000]));
    }
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    bench.send(1, FrameKind::Data, &data_body(0, b"k"));
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    let ping = json_body(&Ping { ping: 42 }).unwrap();
    bench.send(SESSION_CHANNEL, FrameKind::Message, &ping);
    // What was taken of the transfer that comes.
    for _ in 0..2 {
        bench.expect(2, FrameKind::Credit).await;
    }
    assert_eq!(bench.expect(SESSION_CHANNEL, FrameKind::Message).await, ping);
    assert_eq!(bench.expect(1, FrameKind::Data).await, data_body(0, b"k"));
    for offset in [0, PIECE_BYTES as u64] {
        let (channel, kind, flags, body) = bench.frame().await;
        assert_eq!((channel, kind), (2, FrameKind::Data));
        assert!(flags.has(Flags::BULK));
        assert_eq!(body, data_body(offset, &vec![1; PIECE_BYTES]));
    }
}
