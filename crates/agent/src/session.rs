//! The connection's life as a state machine: hello, heartbeat, loss, back-off, resume.
//!
//! No socket and no clock: time is passed in, and what is to be done is asked for. [`Session::poll_transmit`] gives
//! what to send, [`Session::poll_action`] what to do else, [`Session::deadline`] when to look again.

pub mod backoff;
pub mod ledger;
mod reports;
#[cfg(test)]
mod tests;

use crate::outbox::Outbox;
use backoff::{Backoff, Setback};
use chrono::{DateTime, Utc};
use gururmm_protocol::command::CommandEnd;
use gururmm_protocol::follow::{FollowMe, FollowReport, FollowState};
use gururmm_protocol::log::LogRequest;
use gururmm_protocol::metrics::Sample;
use gururmm_protocol::network::NetworkState;
use gururmm_protocol::policy::AgentConfig;
use gururmm_protocol::to_agent::{GoodbyeReason, Welcome};
use gururmm_protocol::to_server::Hello;
use gururmm_protocol::tunnel::TunnelOpen;
use gururmm_protocol::uninstall::{UninstallOrder, UninstallReport, UninstallState};
use gururmm_protocol::update::{UpdateOrder, UpdateReport, UpdateState};
use gururmm_protocol::{
    AgentId, AgentMessage, CommandId, CrashId, LogId, SUPPORTED, ServerMessage, TunnelId, UninstallId,
    UpdateId,
};
use ledger::{Ledger, Order, Sending};
use reports::Reports;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long connecting may take: name, TCP, TLS and upgrade.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);
/// How long the server may take to welcome.
const WELCOME_WITHIN: Duration = Duration::from_secs(20);
/// A connection that stood this long was a good one.
const GOOD_AFTER: Duration = Duration::from_secs(10);
/// How often something about commands, crashes or the log is sent in the long run: eighty full chunks are two and a
/// half megabytes a second. Servers hold back agents that send more, and think ill of those that never let up.
const SEND_EVERY: Duration = Duration::from_micros(12_500);
/// How far sending may run ahead of that.
const SEND_AHEAD: Duration = Duration::from_millis(500);
/// What a server may ask for as heartbeat, in seconds.
const HEARTBEAT_SECONDS: std::ops::RangeInclusive<u32> = 1..=300;
/// What a server may ask for as live interval, in milliseconds.
const LIVE_INTERVAL_MS: std::ops::RangeInclusive<u32> = 1_000..=10_000;

/// Something to do beside sending.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Open a connection; answer with [`Session::connected`] or [`Session::lost`].
    Connect,
    /// Close the connection, or stop opening it.
    Disconnect {
        /// Why, for the log.
        reason: &'static str,
    },
    /// The server welcomed the agent.
    Welcomed {
        /// The server's version.
        server_version: String,
        /// The id the server knows this agent by.
        agent_id: AgentId,
        /// The address the server sees this agent come from.
        observed_ip: Option<IpAddr>,
    },
    /// The server told its time.
    ServerTime(DateTime<Utc>),
    /// These settings are in force.
    Configure(AgentConfig),
    /// Samples for someone who looks: at this interval, or no more.
    Live(Option<Duration>),
    /// Something about a command.
    Order(Order),
    /// Someone wants to read the agent's log, or nobody does any more.
    Log(Option<LogRequest>),
    /// The server has this crash report for good.
    ForgetCrash(CrashId),
    /// The agent is to become another version.
    Update(UpdateOrder),
    /// The server has this stage of an update for good.
    UpdateAcknowledged(UpdateId, UpdateState),
    /// Where the server is to be found, and whose word about that counts.
    Follow(FollowMe),
    /// The server has what became of this record.
    FollowAcknowledged(u64, FollowState),
    /// The agent is to remove itself from the machine.
    Uninstall(UninstallOrder),
    /// It is not to, if it has not begun.
    UninstallCancelled(UninstallId),
    /// The server has this stage of the removal for good.
    UninstallAcknowledged(UninstallId, UninstallState),
    /// A tech's session is to be open.
    OpenTunnel(TunnelOpen),
    /// A tech's session is over.
    CloseTunnel(TunnelId),
}

/// One agent's side of its connections, one after the other.
#[derive(Debug)]
pub struct Session {
    phase: Phase,
    backoff: Backoff,
    /// What the current connection's end will count as, once the server said something about it.
    announced: Option<Setback>,
    ledger: Ledger,
    outbox: Outbox,
    reports: Reports,
    actions: VecDeque<Action>,
    live_sample: Option<Sample>,
    /// About techs' sessions: said once, on this connection or never.
    answers: VecDeque<AgentMessage>,
    hello: Option<Hello>,
    /// Whether a server ever told this agent its time.
    is_clock_told: bool,
    /// Up to when the allowance for messages about commands and reports is used up.
    sent_up_to: Instant,
    /// Whether something waits for the next allowance.
    is_held_back: bool,
}

#[derive(Debug)]
enum Phase {
    Waiting { until: Instant },
    Connecting { deadline: Instant },
    AwaitingWelcome { deadline: Instant },
    Online(Online),
}

#[derive(Debug)]
struct Online {
    since: Instant,
    heartbeat: Duration,
    next_heartbeat: Instant,
    /// When the server's silence is a lost link.
    silent_at: Instant,
}

impl Session {
    /// Connects at once. `seed` makes the random waits repeatable.
    pub fn new(now: Instant, seed: u64, ledger: Ledger, outbox: Outbox) -> Self {
        Self {
            phase: Phase::Waiting { until: now },
            backoff: Backoff::new(seed),
            announced: None,
            ledger,
            outbox,
            reports: Reports::default(),
            actions: VecDeque::new(),
            live_sample: None,
            answers: VecDeque::new(),
            hello: None,
            is_clock_told: false,
            sent_up_to: now,
            is_held_back: false,
        }
    }

    /// The connection stands; says hello on it. `hello.protocols` and `hello.commands` are filled in here.
    pub fn connected(&mut self, now: Instant, mut hello: Hello) {
        if !matches!(self.phase, Phase::Connecting { .. }) {
            return;
        }
        hello.protocols = SUPPORTED.to_vec();
        hello.commands = self.ledger.resumed();
        self.hello = Some(hello);
        self.phase = Phase::AwaitingWelcome { deadline: now + WELCOME_WITHIN };
    }

    /// The connection is gone, or could not be opened.
    pub fn lost(&mut self, now: Instant, setback: Setback) {
        let was_online = match &self.phase {
            Phase::Waiting { .. } => return,
            Phase::Online(online) => Some(online.since),
            _ => None,
        };
        if was_online.is_some_and(|since| now.saturating_duration_since(since) >= GOOD_AFTER) {
            self.backoff.reset();
        }
        if was_online.is_some() {
            self.actions.push_back(Action::Live(None));
        }
        let setback = self.announced.take().unwrap_or(setback);
        let wait = self.backoff.next(setback);
        tracing::info!(?setback, wait_seconds = wait.as_secs_f32(), "not connected");
        self.phase = Phase::Waiting { until: now + wait };
        self.ledger.disconnected();
        self.outbox.rewind();
        if self.reports.disconnected() {
            self.actions.push_back(Action::Log(None));
        }
        self.live_sample = None;
        self.answers.clear();
        self.hello = None;
    }

    /// A message came. `clock` is the server's time as far as it is known.
    pub fn received(&mut self, now: Instant, clock: DateTime<Utc>, message: ServerMessage) {
        match &mut self.phase {
            Phase::Online(online) => online.silent_at = now + silence(online.heartbeat),
            Phase::AwaitingWelcome { .. } => {}
            Phase::Waiting { .. } | Phase::Connecting { .. } => return,
        }
        match message {
            ServerMessage::Welcome(welcome) => self.welcomed(now, clock, welcome),
            ServerMessage::Goodbye { reason, reconnect_within_seconds } => {
                self.announced = Some(match reason {
                    GoodbyeReason::Revoked | GoodbyeReason::NoCommonVersion => Setback::Refused,
                    // Whoever else runs under this identity must not be thrown out in turn at once.
                    GoodbyeReason::Replaced => Setback::Busy { at_least: Duration::from_secs(60) },
                    GoodbyeReason::ServerStopping => {
                        Setback::Invited { within: Duration::from_secs(reconnect_within_seconds.into()) }
                    }
                    GoodbyeReason::ProtocolError | GoodbyeReason::TooSlow | GoodbyeReason::Other => {
                        Setback::Busy { at_least: Duration::from_secs(reconnect_within_seconds.into()) }
                    }
                });
                tracing::info!(?reason, reconnect_within_seconds, "the server says goodbye");
                self.disconnect(now, "the server says goodbye");
            }
            _ if !self.is_online() => {
                tracing::warn!("a message before the welcome is ignored");
            }
            ServerMessage::HeartbeatAck { server_time, reconnect_within_seconds } => {
                let within = reconnect_within_seconds.unwrap_or_default();
                self.backoff.spread(Duration::from_secs(within.into()));
                self.actions.push_back(Action::ServerTime(server_time));
            }
            ServerMessage::MetricsAck { seq } => self.outbox.ack_samples(now, seq),
            ServerMessage::GapAck { gap_id } => self.outbox.ack_gap(now, gap_id),
            ServerMessage::NetworkStateAck { seq } => self.outbox.ack_network(seq),
            ServerMessage::CommandStart(start) => self.ledger.start(start, now, clock),
            ServerMessage::CommandCancel { command_id } => self.ledger.cancel(command_id, clock),
            ServerMessage::CommandOutputAck { command_id, seq } => self.ledger.ack_output(command_id, seq),
            ServerMessage::CommandEndAck { command_id } => self.ledger.ack_end(command_id, clock),
            ServerMessage::ConfigUpdate { config } => self.actions.push_back(Action::Configure(config)),
            ServerMessage::LiveMetrics { interval_ms } => {
                let clamp = |ms: u32| ms.clamp(*LIVE_INTERVAL_MS.start(), *LIVE_INTERVAL_MS.end());
                let interval = interval_ms.map(|ms| Duration::from_millis(clamp(ms).into()));
                self.actions.push_back(Action::Live(interval));
            }
            ServerMessage::LogRequest(request) => {
                self.reports.want_log(request.log_id);
                self.actions.push_back(Action::Log(Some(request)));
            }
            ServerMessage::CrashReportAck { crash_id } => {
                if self.reports.forget(crash_id) {
                    self.actions.push_back(Action::ForgetCrash(crash_id));
                }
            }
            ServerMessage::UpdateOrder(order) => self.actions.push_back(Action::Update(order)),
            ServerMessage::UpdateReportAck { update_id, state } => {
                if self.reports.forget_update(update_id, state) {
                    self.actions.push_back(Action::UpdateAcknowledged(update_id, state));
                }
            }
            ServerMessage::UninstallOrder(order) => self.actions.push_back(Action::Uninstall(order)),
            ServerMessage::UninstallCancel { uninstall_id } => {
                self.reports.drop_uninstall(uninstall_id);
                self.actions.push_back(Action::UninstallCancelled(uninstall_id));
            }
            ServerMessage::UninstallReportAck { uninstall_id, state } => {
                if self.reports.forget_uninstall(uninstall_id, state) {
                    self.actions.push_back(Action::UninstallAcknowledged(uninstall_id, state));
                }
            }
            ServerMessage::FollowMe(follow) => self.actions.push_back(Action::Follow(follow)),
            ServerMessage::FollowReportAck { serial, state } => {
                if self.reports.forget_follow(serial, state) {
                    self.actions.push_back(Action::FollowAcknowledged(serial, state));
                }
            }
            ServerMessage::TunnelOpen(open) => self.actions.push_back(Action::OpenTunnel(open)),
            ServerMessage::TunnelClose(close) => {
                self.actions.push_back(Action::CloseTunnel(close.tunnel_id));
            }
            ServerMessage::Unknown => {}
        }
    }

    fn welcomed(&mut self, now: Instant, clock: DateTime<Utc>, welcome: Welcome) {
        if self.is_online() {
            tracing::warn!("a second welcome is ignored");
            return;
        }
        if !SUPPORTED.contains(&welcome.protocol) {
            self.announced = Some(Setback::Refused);
            self.disconnect(now, "the server chose a protocol version this agent does not speak");
            return;
        }
        let seconds = welcome.heartbeat_seconds.clamp(*HEARTBEAT_SECONDS.start(), *HEARTBEAT_SECONDS.end());
        let heartbeat = Duration::from_secs(seconds.into());
        self.phase = Phase::Online(Online {
            since: now,
            heartbeat,
            next_heartbeat: now + heartbeat,
            silent_at: now + silence(heartbeat),
        });
        if !std::mem::replace(&mut self.is_clock_told, true) {
            // Until now there was only the machine's clock to go by.
            let offset = welcome.server_time - clock;
            self.outbox.clock_told(offset);
            self.ledger.clock_told(offset);
        }
        self.outbox.welcomed(welcome.protocol);
        self.ledger.prune(welcome.server_time);
        self.actions.push_back(Action::ServerTime(welcome.server_time));
        let Welcome { agent_id, server_version, observed_ip, .. } = welcome;
        self.actions.push_back(Action::Welcomed { server_version, agent_id, observed_ip });
        self.actions.push_back(Action::Configure(welcome.config));
    }

    /// Anything else came from the server: a ping, an unknown kind, a frame that is no message.
    pub fn heard(&mut self, now: Instant) {
        if let Phase::Online(online) = &mut self.phase {
            online.silent_at = now + silence(online.heartbeat);
        }
    }

    /// When [`Session::tick`] is to be called at the latest.
    pub fn deadline(&self) -> Instant {
        match &self.phase {
            Phase::Waiting { until } => *until,
            Phase::Connecting { deadline } | Phase::AwaitingWelcome { deadline } => *deadline,
            Phase::Online(online) => {
                let beat = online.next_heartbeat.min(online.silent_at);
                let beat = self.ledger.next_turn().map_or(beat, |turn| turn.min(beat));
                let beat = self.outbox.next_send().map_or(beat, |send| send.min(beat));
                if self.is_held_back { beat.min(self.sent_up_to - SEND_AHEAD) } else { beat }
            }
        }
    }

    /// Time passed; it is `clock` for the server. A heartbeat that is due is found by [`Session::poll_transmit`].
    pub fn tick(&mut self, now: Instant, clock: DateTime<Utc>) {
        self.ledger.promote(now, clock);
        match &self.phase {
            Phase::Waiting { until } if now >= *until => {
                self.phase = Phase::Connecting { deadline: now + CONNECT_WITHIN };
                self.announced = None;
                self.actions.push_back(Action::Connect);
            }
            Phase::Connecting { deadline } if now >= *deadline => {
                self.disconnect(now, "connecting took too long");
            }
            Phase::AwaitingWelcome { deadline } if now >= *deadline => {
                self.disconnect(now, "the server did not welcome the agent");
            }
            Phase::Online(online) if now >= online.silent_at => {
                self.disconnect(now, "the server is silent");
            }
            _ => {}
        }
    }

    /// The next thing to send. To be asked only when there is room to send it.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Sending> {
        if let Some(hello) = self.hello.take() {
            return Some(Sending::Message(AgentMessage::Hello(hello)));
        }
        let Phase::Online(online) = &mut self.phase else { return None };
        if now >= online.next_heartbeat {
            online.next_heartbeat = now + online.heartbeat;
            return Some(Sending::Message(AgentMessage::Heartbeat { clock: None }));
        }
        if let Some(answer) = self.answers.pop_front() {
            return Some(Sending::Message(answer));
        }
        if let Some(sample) = self.live_sample.take() {
            return Some(Sending::Message(AgentMessage::Metrics { seq: 0, sample }));
        }
        if let Some(message) = self.outbox.poll(now) {
            return Some(Sending::Message(message));
        }
        self.is_held_back = self.sent_up_to > now + SEND_AHEAD;
        if self.is_held_back {
            return None;
        }
        let sending = self.reports.poll_after(|| self.ledger.poll_sending())?;
        self.sent_up_to = self.sent_up_to.max(now) + SEND_EVERY;
        Some(sending)
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front().or_else(|| self.ledger.poll_order().map(Action::Order))
    }

    /// A sample to be stored by the server.
    pub fn push_sample(&mut self, now: Instant, sample: Sample) {
        self.outbox.push_sample(now, sample);
    }

    /// What the server has not acknowledged, for whoever keeps it on disk.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// A sample to be shown at once or never; one not yet sent is replaced.
    pub fn push_live_sample(&mut self, sample: Sample) {
        if self.is_online() {
            self.live_sample = Some(sample);
        }
    }

    /// Something to be said at once about a tech's session. Whoever has them bounds them.
    pub fn answer(&mut self, answers: VecDeque<AgentMessage>) {
        if self.is_online() {
            self.answers.extend(answers);
        }
    }

    /// The network state changed.
    pub fn set_network(&mut self, state: NetworkState) {
        self.outbox.set_network(state);
    }

    /// A command's process runs.
    pub fn command_started(&mut self, command_id: CommandId, started_at: DateTime<Utc>) {
        self.ledger.started(command_id, started_at);
    }

    /// A command's spool holds chunks up to `last_seq`.
    pub fn command_output(&mut self, command_id: CommandId, last_seq: u32) {
        self.ledger.spooled(command_id, last_seq);
    }

    /// A command ended; the next [`Session::tick`] starts what waited for its place.
    pub fn command_ended(&mut self, end: CommandEnd) {
        self.ledger.ended(end);
    }

    /// A chunk that was to be sent cannot be read.
    pub fn command_output_lost(&mut self, command_id: CommandId) {
        self.ledger.output_lost(command_id);
    }

    /// A crash is to be reported, until the server has it.
    pub fn crash_found(&mut self, crash_id: CrashId) {
        self.reports.found(crash_id);
    }

    /// A crash report that was to be sent cannot be read.
    pub fn crash_lost(&mut self, crash_id: CrashId) {
        self.reports.forget(crash_id);
    }

    /// An update came this far: reported until the server has it, or something newer.
    pub fn set_update_report(&mut self, report: UpdateReport) {
        self.reports.set_update(report);
    }

    /// The agent's removal came this far: reported until the server has it.
    pub fn set_uninstall_report(&mut self, report: UninstallReport) {
        self.reports.set_uninstall(report);
    }

    /// This became of a record of the server's new place: reported until the server has it.
    pub fn set_follow_report(&mut self, report: FollowReport) {
        self.reports.set_follow(report);
    }

    /// The server is elsewhere from now on: it is looked for there at once.
    pub fn go_elsewhere(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Waiting { .. }) {
            self.disconnect(now, "the server is to be found elsewhere");
        }
        self.phase = Phase::Waiting { until: now };
    }

    /// The end of this log was sent.
    pub fn log_sent(&mut self, log_id: LogId) {
        self.reports.log_sent(log_id);
    }

    /// The agent stops: no command is started any more, and a connection that is lost is not opened again.
    pub fn close(&mut self) {
        self.ledger.close();
    }

    /// Whether the server welcomed this connection.
    pub fn is_online(&self) -> bool {
        matches!(self.phase, Phase::Online(_))
    }

    /// Commands whose end the server does not have.
    pub fn pending_commands(&self) -> usize {
        self.ledger.len()
    }

    fn disconnect(&mut self, now: Instant, reason: &'static str) {
        self.actions.push_back(Action::Disconnect { reason });
        self.lost(now, Setback::Lost);
    }
}

fn silence(heartbeat: Duration) -> Duration {
    heartbeat.mul_f32(2.5)
}
