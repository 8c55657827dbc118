//! The session alone, with time made up.

mod model;

use super::ledger::Sending;
use super::*;
use gururmm_protocol::AgentId;
use gururmm_protocol::system::{MachineIdentity, OsType, SystemInfo, UidSource};

struct Alone {
    session: Session,
    now: Instant,
}

impl Alone {
    fn new() -> Self {
        let now = Instant::now();
        Self { session: Session::new(now, 1, Ledger::default(), Outbox::new(1)), now }
    }

    fn connect(&mut self) {
        self.now = self.now.max(self.session.deadline());
        self.session.tick(self.now);
        assert_eq!(self.session.poll_action(), Some(Action::Connect));
        self.session.connected(self.now, hello());
        let hello = self.session.poll_transmit(self.now);
        assert!(matches!(hello, Some(Sending::Message(AgentMessage::Hello(_)))));
    }

    fn receive(&mut self, message: ServerMessage) {
        self.session.received(self.now, Utc::now(), message);
    }

    fn online(heartbeat_seconds: u32) -> Self {
        let mut alone = Self::new();
        alone.connect();
        alone.receive(ServerMessage::Welcome(welcome(heartbeat_seconds)));
        assert!(alone.session.is_online());
        alone.actions();
        alone
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.session.poll_action()).collect()
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.session.tick(self.now);
    }

    /// How long until it connects again.
    fn wait(&self) -> Duration {
        self.session.deadline().saturating_duration_since(self.now)
    }
}

pub(super) fn hello() -> Hello {
    Hello {
        protocols: Vec::new(),
        agent_version: "0".into(),
        system: SystemInfo {
            hostname: "ws-01.example.com".into(),
            os_type: OsType::Linux,
            os_version: "12".into(),
            arch: "x86_64".into(),
            kernel: None,
            cpu_model: None,
            cpu_cores: None,
            memory_bytes: None,
            manufacturer: None,
            model: None,
            serial: None,
            boot_time: None,
        },
        identity: MachineIdentity {
            machine_uid: "uid".into(),
            machine_uid_source: UidSource::OsId,
            board_serial: None,
            disk_serial: None,
        },
        commands: Vec::new(),
    }
}

pub(super) fn welcome(heartbeat_seconds: u32) -> Welcome {
    Welcome {
        agent_id: AgentId::new(),
        protocol: SUPPORTED[0],
        server_version: "0".into(),
        server_time: Utc::now(),
        heartbeat_seconds,
        config: AgentConfig::default(),
        observed_ip: None,
    }
}

#[test]
fn silence_of_two_and_a_half_heartbeats_is_a_lost_link() {
    let mut alone = Alone::online(30);
    alone.pass(74);
    assert!(alone.session.is_online());
    alone.session.heard(alone.now);
    alone.pass(74);
    assert!(alone.session.is_online());
    alone.pass(2);
    assert_eq!(alone.actions()[0], Action::Disconnect { reason: "the server is silent" });
    assert!(alone.wait() <= Duration::from_secs(2));
}

#[test]
fn a_server_that_takes_the_connection_and_says_nothing_is_left() {
    let mut alone = Alone::new();
    alone.connect();
    alone.pass(WELCOME_WITHIN.as_secs());
    assert!(matches!(alone.actions()[..], [Action::Disconnect { .. }]));
}

#[test]
fn a_connection_that_does_not_come_about_is_given_up() {
    let mut alone = Alone::new();
    alone.session.tick(alone.now);
    assert_eq!(alone.actions(), [Action::Connect]);
    alone.pass(CONNECT_WITHIN.as_secs());
    assert!(matches!(alone.actions()[..], [Action::Disconnect { .. }]));
}

#[test]
fn a_server_that_closes_at_once_again_and_again_is_asked_ever_more_rarely() {
    let mut longest = Duration::ZERO;
    let mut alone = Alone::new();
    for _ in 0..12 {
        alone.connect();
        alone.receive(ServerMessage::Welcome(welcome(30)));
        alone.session.lost(alone.now, Setback::Lost);
        alone.actions();
        longest = longest.max(alone.wait());
    }
    assert!(longest > Duration::from_secs(10), "{longest:?}");
}

#[test]
fn a_replaced_agent_does_not_fight_for_its_place() {
    let mut alone = Alone::online(30);
    alone.receive(ServerMessage::Goodbye { reason: GoodbyeReason::Replaced, reconnect_within_seconds: 0 });
    assert!(alone.wait() >= Duration::from_secs(60));
}

#[test]
fn a_stopping_servers_window_is_kept_to() {
    for window in [0, 5, 120] {
        let mut alone = Alone::online(30);
        let reason = GoodbyeReason::ServerStopping;
        alone.receive(ServerMessage::Goodbye { reason, reconnect_within_seconds: window });
        assert!(alone.wait() <= Duration::from_secs(window.into()));
        // The closing of the socket that follows changes nothing about it.
        let wait = alone.wait();
        alone.session.lost(alone.now, Setback::Lost);
        assert_eq!(alone.wait(), wait);
    }
}

#[test]
fn a_version_the_agent_does_not_speak_ends_the_session() {
    let mut alone = Alone::new();
    alone.connect();
    let protocol = "99.0".parse().unwrap();
    alone.receive(ServerMessage::Welcome(Welcome { protocol, ..welcome(30) }));
    assert!(!alone.session.is_online());
    assert!(alone.wait() >= Duration::from_secs(30));
}

#[test]
fn nothing_is_done_for_a_server_before_its_welcome() {
    let mut alone = Alone::new();
    alone.connect();
    alone.receive(ServerMessage::CommandStart(model::start(CommandId::new())));
    alone.receive(ServerMessage::LiveMetrics { interval_ms: Some(1) });
    assert_eq!(alone.actions(), []);
    assert!(alone.session.poll_transmit(alone.now).is_none());
}

#[test]
fn out_of_range_wishes_are_brought_within_range() {
    let mut alone = Alone::online(0);
    alone.receive(ServerMessage::LiveMetrics { interval_ms: Some(0) });
    assert_eq!(alone.actions(), [Action::Live(Some(Duration::from_secs(1)))]);
    alone.pass(1);
    let heartbeat = Sending::Message(AgentMessage::Heartbeat {});
    assert_eq!(alone.session.poll_transmit(alone.now), Some(heartbeat));
    assert_eq!(alone.session.poll_transmit(alone.now), None);
}

#[test]
fn an_agent_that_stops_starts_nothing_any_more() {
    let mut alone = Alone::online(30);
    alone.session.close();
    alone.receive(ServerMessage::CommandStart(model::start(CommandId::new())));
    assert_eq!(alone.actions(), []);
}

#[test]
fn messages_about_commands_are_paced_and_heartbeats_are_not_held_up_by_them() {
    let mut alone = Alone::online(1);
    let count = 200;
    for _ in 0..count {
        let command_id = CommandId::new();
        alone.receive(ServerMessage::CommandCancel { command_id });
    }
    let begun = alone.now;
    let (mut ends, mut heartbeats) = (0, 0);
    while ends < count {
        while let Some(sending) = alone.session.poll_transmit(alone.now) {
            match sending {
                Sending::Message(AgentMessage::Heartbeat {}) => heartbeats += 1,
                _ => ends += 1,
            }
        }
        alone.now = alone.now.max(alone.session.deadline());
        alone.session.heard(alone.now);
    }
    let took = alone.now - begun;
    assert!(took >= Duration::from_millis(1_900) && took < Duration::from_millis(2_200), "{took:?}");
    assert!(heartbeats >= 1);
}

#[test]
fn an_agent_full_of_commands_says_so() {
    let mut alone = Alone::online(30);
    let count = gururmm_protocol::limits::MAX_RESUMED_COMMANDS + 1;
    (0..count).for_each(|_| alone.receive(ServerMessage::CommandStart(model::start(CommandId::new()))));
    let running = alone.actions().len();
    assert_eq!(running, ledger::MAX_RUNNING);
    let Some(Sending::Message(AgentMessage::CommandEnded(end))) = alone.session.poll_transmit(alone.now)
    else {
        panic!("no end");
    };
    assert_eq!(end.error_code.as_deref(), Some("BUSY"));
}
