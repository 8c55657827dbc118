//! The session alone, with time made up.

mod model;

use super::ledger::{Sending, never_ran};
use super::*;
use chrono::TimeDelta;
use gururmm_protocol::AgentId;
use gururmm_protocol::command::Outcome;
use gururmm_protocol::system::{MachineIdentity, OsType, SystemInfo, UidSource};
use std::collections::HashMap;

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
        self.session.tick(self.now, Utc::now());
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
        self.session.tick(self.now, Utc::now());
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
            virtualization: None,
        },
        identity: MachineIdentity {
            machine_uid: "uid".into(),
            machine_uid_source: UidSource::OsId,
            board_serial: None,
            disk_serial: None,
        },
        commands: Vec::new(),
        update: None,
        tunnels: Vec::new(),
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
    alone.session.tick(alone.now, Utc::now());
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
    let heartbeat = Sending::Message(AgentMessage::Heartbeat { clock: None });
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
                Sending::Message(AgentMessage::Heartbeat { .. }) => heartbeats += 1,
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
    assert_eq!(running, ledger::MAX_YOUNG);
    let Some(Sending::Message(AgentMessage::CommandEnded(end))) = alone.session.poll_transmit(alone.now)
    else {
        panic!("no end");
    };
    assert_eq!(end.error_code.as_deref(), Some("BUSY"));
}

/// The commands that are to be run now.
fn runs(alone: &mut Alone) -> usize {
    alone.actions().iter().filter(|action| matches!(action, Action::Order(Order::Run(_)))).count()
}

#[test]
fn stuck_commands_hold_up_the_next_one_for_seconds_only() {
    let mut alone = Alone::online(30);
    for _ in 0..=ledger::MAX_YOUNG {
        alone.receive(ServerMessage::CommandStart(model::start(CommandId::new())));
    }
    assert_eq!(runs(&mut alone), ledger::MAX_YOUNG);
    // Nobody has to wake it: the session asks to be looked at.
    assert!(alone.wait() <= Duration::from_secs(5), "{:?}", alone.wait());
    alone.now = alone.session.deadline();
    alone.session.tick(alone.now, Utc::now());
    assert_eq!(runs(&mut alone), 1);
}

#[test]
fn on_a_machine_full_of_stuck_commands_the_next_fails_at_once_and_says_how_many_there_are() {
    let mut alone = Alone::online(300);
    let mut running = 0;
    while running < 256 {
        alone.receive(ServerMessage::CommandStart(model::start(CommandId::new())));
        running += runs(&mut alone);
        if running % ledger::MAX_YOUNG == 0 {
            alone.pass(5);
        }
    }
    let command_id = CommandId::new();
    alone.receive(ServerMessage::CommandStart(model::start(command_id)));
    assert_eq!(runs(&mut alone), 0);
    alone.now += Duration::from_secs(1);
    let sent = std::iter::from_fn(|| alone.session.poll_transmit(alone.now));
    let end_of = |sending| match sending {
        Sending::Message(AgentMessage::CommandEnded(end)) => Some(end),
        _ => None,
    };
    let ends: Vec<_> = sent.filter_map(end_of).collect();
    let [end] = &ends[..] else { panic!("{ends:?}") };
    assert_eq!((end.command_id, end.outcome), (command_id, Outcome::Failed));
    assert_eq!(end.error_code.as_deref(), Some("BUSY"));
    assert_eq!(end.error.as_deref(), Some("256 commands run on this machine: cancel some, or wait for them"));
}

#[test]
fn what_was_stamped_before_the_server_told_its_time_is_put_right() {
    let now = Instant::now();
    let command_id = CommandId::new();
    let ledger = Ledger::new(Vec::new(), &[command_id], HashMap::new());
    let mut alone = Alone { session: Session::new(now, 1, ledger, Outbox::new(1)), now };
    // The machine's clock stands at its factory's date: an end as old as that would be given up.
    let factory: DateTime<Utc> = "2000-01-01T00:00:00Z".parse().unwrap();
    alone.session.command_ended(never_ran(command_id, Outcome::Interrupted, factory));
    let sample: Sample = serde_json::from_str(r#"{"taken_at":"2000-01-01T00:00:00Z"}"#).unwrap();
    alone.session.push_sample(now, sample);
    alone.connect();
    let told = welcome(30);
    let server_time = told.server_time;
    alone.session.received(alone.now, factory + TimeDelta::minutes(1), ServerMessage::Welcome(told));
    let expected = server_time - TimeDelta::minutes(1);
    let sent: Vec<_> = std::iter::from_fn(|| alone.session.poll_transmit(alone.now)).collect();
    let times: Vec<_> = sent
        .into_iter()
        .filter_map(|sending| match sending {
            Sending::Message(AgentMessage::Metrics { sample, .. }) => Some(sample.taken_at),
            Sending::Message(AgentMessage::CommandEnded(end)) => Some(end.ended_at),
            _ => None,
        })
        .collect();
    assert_eq!(times, [expected, expected]);
    // Once told, nothing is moved again, whatever the machine's clock does.
    alone.session.lost(alone.now, Setback::Lost);
    alone.actions();
    alone.connect();
    alone.session.received(alone.now, factory, ServerMessage::Welcome(welcome(30)));
    let again =
        std::iter::from_fn(|| alone.session.poll_transmit(alone.now)).find_map(|sending| match sending {
            Sending::Message(AgentMessage::Metrics { sample, .. }) => Some(sample.taken_at),
            _ => None,
        });
    assert_eq!(again, Some(expected));
}

#[test]
fn output_lost_while_a_command_runs_is_said_at_its_end() {
    let now = Instant::now();
    let command_id = CommandId::new();
    let ledger = Ledger::new(Vec::new(), &[command_id], HashMap::new());
    let mut alone = Alone { session: Session::new(now, 1, ledger, Outbox::new(1)), now };
    alone.connect();
    alone.receive(ServerMessage::Welcome(welcome(30)));
    alone.session.command_started(command_id, Utc::now());
    alone.session.command_output(command_id, 1);
    assert!(sent(&mut alone, 0).contains(&Sending::Output { command_id, seq: 1 }));
    alone.session.command_output_lost(command_id);
    let end = never_ran(command_id, Outcome::Completed, Utc::now());
    alone.session.command_ended(CommandEnd { last_seq: 1, ..end });
    let ends: Vec<_> = sent(&mut alone, 0)
        .into_iter()
        .filter_map(|sending| match sending {
            Sending::Message(AgentMessage::CommandEnded(end)) => Some(end.truncated),
            _ => None,
        })
        .collect();
    assert_eq!(ends, [true]);
}

/// What is sent until nothing is any more, with time passing; a log's pieces end after `pieces`.
fn sent(alone: &mut Alone, pieces: usize) -> Vec<Sending> {
    let mut sent = Vec::new();
    let mut left = pieces;
    while let Some(sending) = alone.session.poll_transmit(alone.now) {
        match &sending {
            Sending::Log(log_id) if left == 0 => alone.session.log_sent(*log_id),
            Sending::Log(_) => left -= 1,
            _ => {}
        }
        sent.push(sending);
        alone.now += Duration::from_millis(20);
    }
    sent
}

fn log_request() -> LogRequest {
    LogRequest { log_id: LogId::new(), max_bytes: 1 }
}

#[test]
fn a_log_is_sent_after_commands_but_not_kept_back_by_them_for_ever() {
    let mut alone = Alone::online(300);
    let request = log_request();
    alone.receive(ServerMessage::LogRequest(request.clone()));
    assert_eq!(alone.actions(), [Action::Log(Some(request))]);
    (0..20).for_each(|_| alone.receive(ServerMessage::CommandCancel { command_id: CommandId::new() }));
    let is_log: Vec<_> = sent(&mut alone, 2).iter().map(|sent| matches!(sent, Sending::Log(_))).collect();
    let places: Vec<_> = (0..is_log.len()).filter(|place| is_log[*place]).collect();
    assert_eq!((is_log.len(), places), (23, vec![8, 17, 22]));
}

#[test]
fn a_log_is_paced_like_output() {
    let mut alone = Alone::online(300);
    alone.receive(ServerMessage::LogRequest(log_request()));
    let at_once = std::iter::from_fn(|| alone.session.poll_transmit(alone.now)).count();
    assert!((30..=50).contains(&at_once), "{at_once}");
    assert!(alone.wait() < Duration::from_millis(20), "{:?}", alone.wait());
}

#[test]
fn the_newest_request_for_a_log_replaces_the_one_before_and_a_lost_connection_drops_it() {
    let mut alone = Alone::online(300);
    let (first, second) = (log_request(), log_request());
    alone.receive(ServerMessage::LogRequest(first.clone()));
    assert_eq!(alone.session.poll_transmit(alone.now), Some(Sending::Log(first.log_id)));
    alone.receive(ServerMessage::LogRequest(second.clone()));
    assert_eq!(alone.session.poll_transmit(alone.now), Some(Sending::Log(second.log_id)));
    // The end of the first, told late, ends nothing.
    alone.session.log_sent(first.log_id);
    assert_eq!(alone.session.poll_transmit(alone.now), Some(Sending::Log(second.log_id)));
    // Once more the same: again from its beginning, which is the reader's to do.
    alone.receive(ServerMessage::LogRequest(second.clone()));
    let asked = [Some(first), Some(second.clone()), Some(second)].map(Action::Log);
    assert_eq!(alone.actions(), asked);
    alone.session.lost(alone.now, Setback::Lost);
    assert!(alone.actions().contains(&Action::Log(None)));
    alone.connect();
    alone.receive(ServerMessage::Welcome(welcome(300)));
    assert_eq!(sent(&mut alone, 0), []);
}

#[test]
fn a_crash_is_reported_on_every_connection_until_it_is_acknowledged() {
    let mut alone = Alone::new();
    let (first, second) = (CrashId::new(), CrashId::new());
    alone.session.crash_found(first);
    alone.connect();
    assert_eq!(alone.session.poll_transmit(alone.now), None, "not before the welcome");
    alone.receive(ServerMessage::Welcome(welcome(300)));
    alone.session.crash_found(first);
    assert_eq!(sent(&mut alone, 0), [Sending::Crash(first)]);
    // One more, of a task of this very process.
    alone.session.crash_found(second);
    assert_eq!(sent(&mut alone, 0), [Sending::Crash(second)]);
    alone.actions();
    alone.receive(ServerMessage::CrashReportAck { crash_id: CrashId::new() });
    alone.receive(ServerMessage::CrashReportAck { crash_id: second });
    alone.receive(ServerMessage::CrashReportAck { crash_id: second });
    assert_eq!(alone.actions(), [Action::ForgetCrash(second)]);
    alone.session.lost(alone.now, Setback::Lost);
    alone.actions();
    alone.connect();
    alone.receive(ServerMessage::Welcome(welcome(300)));
    assert_eq!(sent(&mut alone, 0), [Sending::Crash(first)]);
    // Its file is gone: nothing is left to be sent.
    alone.session.crash_lost(first);
    alone.session.lost(alone.now, Setback::Lost);
    alone.actions();
    alone.connect();
    alone.receive(ServerMessage::Welcome(welcome(300)));
    assert_eq!(sent(&mut alone, 0), []);
}
