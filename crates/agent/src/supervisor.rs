//! Brings session, transport and capabilities together, and stops them in order.
//!
//! One task, one loop: the session says what to do, this does it, and tells the session what came of it.

mod connect;
mod disk;
mod follow;
mod removal;
mod reports;
mod run;
mod schedule;
mod shutdown;
mod updates;

pub use connect::connector;
pub use run::{Run, Supervised};

use crate::capabilities::channels;
use crate::capabilities::commands::{Event, Leader, Runner, Scripts, Stop, StopHandle, end_tree};
use crate::capabilities::machine_uid::{self, NoMachineUid};
use crate::capabilities::virtualization::VirtualizationWatch;
use crate::clock::{Keeper, ServerClock};
use crate::follow::Place;
use crate::identity::{Identity, IdentityError};
use crate::journal::{JOURNAL_DIR, Journal, Recovered, SpoolReader, SpoolState};
use crate::os::run_folder;
use crate::outbox::store::{Done, Store};
use crate::outbox::{Outbox, first_seq};
use crate::session::backoff::Setback;
use crate::session::ledger::{Ledger, Order, Sending};
use crate::session::{Action, Session};
use crate::state::{StateDir, StateError};
use crate::status::RuntimeStatus;
use crate::transport::{Connector, Received, Socket, TakeFrame};
use crate::tunnel::Tunnels;
use chrono::Utc;
use connect::{Connecting, Wanted};
use disk::Disk;
use follow::{Following, Target};
use gururmm_protocol::command::{CommandEnd, OutputChunk};
use gururmm_protocol::limits::{DEFAULT_OUTPUT_LIMIT_BYTES, MAX_OUTPUT_CHUNK_BYTES};
use gururmm_protocol::system::MachineIdentity;
use gururmm_protocol::{AgentId, AgentMessage, CommandId, Decoded, decode_server_message, encode};
use removal::Removal;
use reports::Reports;
use schedule::Schedule;
use std::collections::HashMap;
use std::fs;
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};
use updates::Updates;

/// Events of commands on their way to the loop.
const EVENTS: usize = 64;
/// What policy may ask to be kept of a command's output.
const OUTPUT_LIMIT_BYTES: std::ops::RangeInclusive<u64> =
    MAX_OUTPUT_CHUNK_BYTES as u64..=16 * DEFAULT_OUTPUT_LIMIT_BYTES;
/// The status file is written at most this often for a changed number of commands.
const STATUS_PAUSE: Duration = Duration::from_secs(2);

/// Why the agent cannot run at all.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// The identity in it.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Another agent runs on the same folder.
    #[error("an agent already runs on this state folder")]
    AlreadyRunning,
    /// The server's address in the identity.
    #[error(transparent)]
    Url(#[from] crate::http::InvalidServerUrl),
    /// TLS, or the pinned CA.
    #[error(transparent)]
    Tls(#[from] crate::transport::TlsSetupError),
    /// The journal's folder.
    #[error("the journal cannot be opened")]
    Journal(#[source] io::Error),
    /// The machine's own id.
    #[error(transparent)]
    MachineUid(#[from] NoMachineUid),
}

/// A running agent.
pub struct Supervisor {
    state: StateDir,
    identity: Identity,
    machine: MachineIdentity,
    connector: Connector,
    virtualization: Arc<VirtualizationWatch>,
    following: Following,
    /// The place that the connector leads to.
    place: Option<Place>,
    socket_path: Option<String>,
    clock: Arc<ServerClock>,
    clock_keeper: Keeper,
    session: Session,
    disk: Disk,
    runner: Arc<Runner>,
    events: mpsc::Receiver<Event>,
    running: HashMap<CommandId, Running>,
    readers: HashMap<CommandId, SpoolReader>,
    schedule: Schedule,
    link: Link,
    status: RuntimeStatus,
    /// When a changed status is to be written.
    status_due: Option<Instant>,
    reports: Reports,
    updates: Updates,
    removal: Removal,
    tunnels: Arc<Tunnels>,
    /// Why it is to stop, once something is.
    stopped: Option<Stopped>,
    _run: Run,
}

/// Why an agent stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Someone wanted it to.
    Asked,
    /// The watchdog is to start another version.
    ForAnotherVersion,
    /// Another process removes it.
    ForRemoval,
}

#[derive(Debug)]
struct Running {
    stop: StopHandle,
    spool: Option<Arc<SpoolState>>,
}

enum Link {
    Down,
    Opening(Connecting),
    Up(Socket),
}

/// What the loop waited for.
enum Wake {
    Stop,
    Opened(Result<connect::Opened, connect::Failed>),
    Received(Received),
    Room,
    Event(Option<Event>),
    Output,
    Disk(Done),
    /// Of a tech's session.
    Tunnel,
    Time,
}

impl Supervisor {
    /// Opens everything that is needed to run; nothing is connected yet.
    pub fn open(run: Run) -> Result<Self, StartError> {
        let (state, clock) = (run.state.clone(), Arc::clone(&run.clock));
        let identity = Identity::load(&state)?;
        let now = Instant::now();
        let following = Following::open(&state, &clock, run.follow_within, now);
        let place = following.place(Target::Current).cloned();
        let connector = connect::connector_to(&state, &identity, place.as_ref(), Arc::clone(&clock))?;
        let (journal, recovered) =
            Journal::open(&state.sub_dir(JOURNAL_DIR)?).map_err(StartError::Journal)?;
        let journal = Arc::new(journal);
        let run_folder = run_folder::of(&state);
        let scripts =
            Scripts { own: state.sub_dir("scripts")?, of_users: run_folder.join(run_folder::SCRIPTS) };
        remove_files(&scripts.own);
        run_folder::clear(&scripts.of_users);
        let machine = machine_uid::read(&state)?;
        let updates = Updates::open(&state, &identity, &connector, &clock, run.supervised.as_ref());
        let removal = Removal::open(&state, &clock, run.supervised.as_ref());
        let (sender, events) = mpsc::channel(EVENTS);
        let runner = Arc::new(Runner {
            journal,
            clock: Arc::clone(&clock),
            scripts,
            events: sender,
            output: Arc::new(Notify::new()),
        });
        let Recovered { ended, interrupted, finished, damaged: _ } = recovered;
        let unfinished: Vec<_> = interrupted.iter().map(|end| end.command_id).collect();
        let ledger = Ledger::new(ended, &unfinished, finished);
        let (store, found) = Store::open(&state, first_seq(clock.at(now)), run.outbox_bytes);
        let outbox = Outbox::with_disk(found).replaying_every(run.replay_every);
        let session = Session::new(now, rand::random(), ledger, outbox);
        let supervisor = Self {
            schedule: Schedule::new(now, run_folder),
            state,
            identity,
            machine,
            connector,
            virtualization: Arc::default(),
            following,
            place,
            socket_path: None,
            clock,
            clock_keeper: Keeper::default(),
            session,
            disk: Disk::new(store),
            runner,
            events,
            running: HashMap::new(),
            readers: HashMap::new(),
            link: Link::Down,
            status: RuntimeStatus {
                run: run.supervised.as_ref().map(|supervised| supervised.run),
                ..RuntimeStatus::default()
            },
            status_due: None,
            reports: Reports::new(&run),
            updates,
            removal,
            tunnels: Tunnels::new(channels::serve),
            stopped: None,
            _run: run,
        };
        supervisor.end_leftovers(interrupted);
        Ok(supervisor)
    }

    /// Runs until `stop` resolves, until the watchdog is to start another version, or until the agent is removed; then
    /// stops within five seconds.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Stopped {
        tracing::info!(agent_id = %self.identity.agent_id, version = crate::version(), "agent started");
        let mut stop = std::pin::pin!(stop);
        self.update_status(|status| status.since = None);
        loop {
            self.turn();
            if self.stopped.is_some() {
                break;
            }
            match self.wait(stop.as_mut()).await {
                Wake::Stop => break,
                wake => self.handle(wake),
            }
        }
        let stopped = self.stopped.unwrap_or(Stopped::Asked);
        self.shut_down().await;
        stopped
    }

    /// Does everything that can be done without waiting.
    fn turn(&mut self) {
        let now = Instant::now();
        self.session.tick(now, self.clock.at(now));
        self.schedule.run(now, &mut self.session, &self.clock);
        self.reports.look_for_crashes(&mut self.session);
        let is_busy = !self.running.is_empty() || self.tunnels.is_busy();
        if self.updates.run(now, &mut self.session, is_busy) {
            self.stopped = Some(Stopped::ForAnotherVersion);
        }
        if self.removal.run(now, &mut self.session) {
            self.stopped = Some(Stopped::ForRemoval);
        }
        if self.following.run(now, self.session.is_online(), &mut self.session) {
            self.session.go_elsewhere(now);
        }
        while let Some(action) = self.session.poll_action() {
            self.act(now, action);
        }
        self.tunnels.run(now);
        self.session.answer(self.tunnels.take_answers());
        self.clock_keeper.run(now, &self.clock, &self.state);
        self.disk.run(now, self.session.outbox());
        self.send(now);
        let pending = self.session.pending_commands();
        if pending != self.status.pending_commands && self.status_due.is_none() {
            self.status_due = Some(now + STATUS_PAUSE);
        }
        if self.status_due.is_some_and(|due| due <= now) {
            self.update_status(|_| {});
        }
    }

    async fn wait(&mut self, stop: impl Future<Output = ()>) -> Wake {
        let schedule = self.schedule.next().min(self.session.deadline());
        let disk = self.session.outbox().next_job_at();
        let others =
            [self.updates.next(), self.removal.next(), self.following.next(), disk, self.tunnels.next()];
        let schedule = others.into_iter().flatten().fold(schedule, Instant::min);
        let deadline = self.status_due.map_or(schedule, |due| due.min(schedule));
        let (opened, received, room) = match &mut self.link {
            Link::Down => (None, None, None),
            Link::Opening(connecting) => (Some(connecting), None, None),
            // Room is waited for only when there was none: else this would spin.
            Link::Up(socket) if socket.outgoing.capacity() == 0 => {
                (None, Some(&mut socket.incoming), Some(&socket.outgoing))
            }
            Link::Up(socket) => (None, Some(&mut socket.incoming), None),
        };
        tokio::select! {
            () = stop => Wake::Stop,
            opened = async { match opened { Some(o) => o.as_mut().await, None => std::future::pending().await } } => Wake::Opened(opened),
            received = async { match received { Some(r) => r.recv().await, None => std::future::pending().await } } => {
                Wake::Received(received.unwrap_or(Received::Closed { reason: "the connection is closed".into() }))
            }
            () = async { match room { Some(r) => drop(r.reserve().await), None => std::future::pending().await } } => Wake::Room,
            event = self.events.recv() => Wake::Event(event),
            () = self.runner.output.notified() => Wake::Output,
            done = self.disk.done() => Wake::Disk(done),
            () = self.tunnels.news() => Wake::Tunnel,
            () = tokio::time::sleep_until(deadline.into()) => Wake::Time,
        }
    }

    fn handle(&mut self, wake: Wake) {
        let now = Instant::now();
        match wake {
            Wake::Stop | Wake::Room | Wake::Tunnel | Wake::Time => {}
            Wake::Opened(Ok(opened)) => {
                self.socket_path = Some(opened.socket_path);
                self.link = Link::Up(opened.socket);
                self.session.connected(now, self.hello(self.updates.ability(), opened.virtualization));
            }
            Wake::Opened(Err(failed)) => {
                if failed.forget_path {
                    self.socket_path = None;
                }
                // A place that is tried has no say in anything before its welcome, not even in how soon it is asked again.
                let is_trying = self.following.is_trying();
                let setback = if is_trying { Setback::Lost } else { failed.setback };
                match failed.wanted.filter(|_| !is_trying) {
                    Some(Wanted::Newer(order)) => self.updates.order(order, &mut self.session),
                    Some(Wanted::Older) => self.updates.go_back(&mut self.session),
                    None => {}
                }
                self.link_lost(now, setback, failed.reason);
            }
            Wake::Received(Received::Text(text)) => self.received(now, &text),
            Wake::Received(Received::Other) => self.session.heard(now),
            Wake::Received(Received::Closed { reason }) => self.link_lost(now, Setback::Lost, reason),
            Wake::Event(event) => self.command_event(event),
            Wake::Output => self.output_grew(),
            Wake::Disk(done) => self.session.outbox().job_done(now, done),
        }
    }

    fn received(&mut self, now: Instant, text: &str) {
        match decode_server_message(text) {
            Ok(Decoded::Known(message)) => self.session.received(now, self.clock.at(now), message),
            Ok(Decoded::Unknown { kind }) => {
                tracing::info!(%kind, "a message of an unknown kind is ignored");
                self.session.heard(now);
            }
            Err(error) => {
                tracing::warn!(%error, bytes = text.len(), "a frame that is no message is ignored");
                self.session.heard(now);
            }
        }
    }

    fn act(&mut self, now: Instant, action: Action) {
        match action {
            Action::Connect => {
                self.find_server(now);
                self.link = Link::Opening(connect::open(
                    self.connector.clone(),
                    self.identity.clone(),
                    self.socket_path.clone(),
                    Arc::clone(&self.virtualization),
                    self.take_frame(),
                ));
            }
            Action::Disconnect { reason } => {
                tracing::info!(reason, "disconnecting");
                self.following.not_connected(reason);
                self.link = Link::Down;
                self.tunnels.disconnected(now);
                self.disconnected(reason.to_owned());
            }
            Action::ServerTime(time) => self.clock.set(now, time),
            Action::Welcomed { server_version, agent_id, observed_ip } => {
                tracing::info!(%server_version, "connected");
                if let Link::Up(socket) = &self.link {
                    self.tunnels.connected(socket.lanes.clone());
                }
                if self.following.welcomed(now, &mut self.session) {
                    self.updates.server_moved(&self.connector);
                }
                self.schedule.observed(now, observed_ip);
                self.adopt(agent_id);
                let since = self.clock.now();
                self.update_status(|status| {
                    status.connected = true;
                    status.since = Some(since);
                    status.last_error = None;
                    status.server_version = Some(server_version);
                });
            }
            Action::Configure(config) => self.schedule.configure(now, config),
            Action::Live(interval) => self.schedule.watch(now, interval),
            Action::Order(order) => self.obey(order),
            Action::Log(request) => self.reports.read_log(request),
            Action::ForgetCrash(crash_id) => self.reports.forget_crash(crash_id),
            Action::Update(order) => self.updates.order(order, &mut self.session),
            Action::UpdateAcknowledged(update_id, state) => self.updates.acknowledged(update_id, state),
            Action::Follow(follow) => {
                if self.following.told(now, &follow, &mut self.session) {
                    self.session.go_elsewhere(now);
                }
            }
            Action::FollowAcknowledged(serial, state) => self.following.acknowledged(serial, state),
            Action::Uninstall(order) => self.removal.order(&order, &mut self.session),
            Action::UninstallCancelled(id) => self.removal.cancelled(id),
            Action::UninstallAcknowledged(id, state) => self.removal.acknowledged(now, id, state),
            Action::OpenTunnel(order) => self.tunnels.open(order),
            Action::CloseTunnel(tunnel_id) => self.tunnels.close(tunnel_id),
        }
    }

    /// Binary messages go to the sessions of techs without a detour through the loop.
    fn take_frame(&self) -> TakeFrame {
        let tunnels = Arc::clone(&self.tunnels);
        Arc::new(move |frame| tunnels.frame(frame))
    }

    /// Where the next connection goes.
    fn find_server(&mut self, now: Instant) {
        let target = self.following.next_target(now);
        let place = self.following.place(target).cloned();
        if place == self.place {
            return;
        }
        let clock = Arc::clone(&self.clock);
        match connect::connector_to(&self.state, &self.identity, place.as_ref(), clock) {
            Ok(connector) => {
                self.connector = connector;
                self.place = place;
                self.socket_path = None;
            }
            Err(error) => {
                tracing::error!(%error, "there is no way to where the server is to be found");
                self.following.not_connected(&error.to_string());
                if self.following.give_up(now, &mut self.session) {
                    // To where it was before, which the connector still leads to.
                    self.following.next_target(now);
                }
            }
        }
    }

    /// The server knows this machine by another id since two records of it were found to be one. The key stays.
    fn adopt(&mut self, agent_id: AgentId) {
        if agent_id == self.identity.agent_id {
            return;
        }
        tracing::info!(%agent_id, before = %self.identity.agent_id, "this machine has another id from now on");
        self.identity.agent_id = agent_id;
        // The server also knows the id before; without a disk to write to, it says so again at the next connect.
        if let Err(error) = self.identity.save(&self.state) {
            tracing::warn!(%error, "the machine's new id cannot be kept");
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Run(start) => {
                let limit = self.schedule.config().output_limit_bytes;
                let limit = limit.clamp(*OUTPUT_LIMIT_BYTES.start(), *OUTPUT_LIMIT_BYTES.end());
                let command_id = start.command_id;
                let stop = self.runner.run(start, limit);
                self.running.insert(command_id, Running { stop, spool: None });
            }
            Order::Cancel(command_id) => {
                if let Some(running) = self.running.get(&command_id) {
                    running.stop.send_replace(Some(Stop::Cancel));
                }
            }
            Order::ReleaseOutput { command_id, seq } => {
                if let Some(reader) = self.readers.get_mut(&command_id) {
                    reader.release(seq);
                }
            }
            Order::Forget(command_id) => {
                self.readers.remove(&command_id);
                if let Err(error) = self.runner.journal.forget(command_id, self.clock.now()) {
                    tracing::warn!(%command_id, %error, "an acknowledged command cannot be put away");
                }
            }
        }
    }

    /// Sends as long as there is something to send and room for it.
    fn send(&mut self, now: Instant) {
        let Link::Up(socket) = &self.link else { return };
        while let Ok(permit) = socket.outgoing.try_reserve() {
            let Some(sending) = self.session.poll_transmit(now) else { break };
            let message = match sending {
                // Only the machine knows what its own clock shows; the server compares.
                Sending::Message(AgentMessage::Heartbeat { .. }) => {
                    AgentMessage::Heartbeat { clock: Some(Utc::now()) }
                }
                Sending::Message(message) => message,
                Sending::Crash(crash_id) => match self.reports.crash(&mut self.session, crash_id) {
                    Some(message) => message,
                    None => continue,
                },
                Sending::Log(log_id) => match self.reports.log_piece(&mut self.session, log_id) {
                    Some(message) => message,
                    None => continue,
                },
                Sending::Output { command_id, seq } => {
                    let journal = &self.runner.journal;
                    let reader = self.readers.entry(command_id).or_insert_with(|| journal.reader(command_id));
                    if let Some(spool) =
                        self.running.get(&command_id).and_then(|running| running.spool.as_ref())
                    {
                        spool.note_sent(seq);
                    }
                    AgentMessage::CommandOutput(chunk(reader, &mut self.session, command_id, seq))
                }
            };
            match encode(&message) {
                Ok(text) => permit.send(text),
                Err(error) => tracing::error!(%error, "a message cannot be sent"),
            }
        }
    }

    fn command_event(&mut self, event: Option<Event>) {
        match event {
            Some(Event::Started { command_id, started_at, spool }) => {
                if let Some(running) = self.running.get_mut(&command_id) {
                    running.spool = Some(spool);
                }
                self.session.command_started(command_id, started_at);
            }
            Some(Event::Ended(end)) => {
                self.running.remove(&end.command_id);
                self.session.command_ended(end);
            }
            // The runner lives as long as this does, and holds a sender.
            None => {}
        }
    }

    fn output_grew(&mut self) {
        for (command_id, running) in &self.running {
            if let Some(spool) = &running.spool {
                self.session.command_output(*command_id, spool.last_seq());
            }
        }
    }

    fn link_lost(&mut self, now: Instant, setback: Setback, reason: String) {
        tracing::warn!(%reason, "the connection is gone");
        self.following.not_connected(&reason);
        self.link = Link::Down;
        self.tunnels.disconnected(now);
        self.session.lost(now, setback);
        self.disconnected(reason);
    }

    fn disconnected(&mut self, reason: String) {
        let since = self.clock.now();
        self.update_status(|status| {
            if status.connected || status.since.is_none() {
                status.since = Some(since);
            }
            status.connected = false;
            status.last_error = Some(reason);
        });
    }

    fn update_status(&mut self, change: impl FnOnce(&mut RuntimeStatus)) {
        change(&mut self.status);
        self.status.pending_commands = self.session.pending_commands();
        self.status.write(&self.state);
        self.status_due = None;
    }

    /// Commands that ran when an earlier agent died: their processes are ended, then their ends are known.
    fn end_leftovers(&self, interrupted: Vec<CommandEnd>) {
        if interrupted.is_empty() {
            return;
        }
        let runner = Arc::clone(&self.runner);
        tokio::spawn(async move {
            for mut end in interrupted {
                let command_id = end.command_id;
                match end_tree(command_id, Leader::unknown()).await {
                    Ok(0) => {}
                    Ok(left) => {
                        tracing::warn!(%command_id, left, "processes of an earlier command cannot be ended")
                    }
                    Err(error) => {
                        tracing::warn!(%command_id, %error, "an earlier command's processes are not ended")
                    }
                }
                // By the best that is known; the session corrects it when the server tells its time.
                end.ended_at = end.started_at.map_or(runner.clock.now(), |at| at.max(runner.clock.now()));
                tracing::info!(%command_id, "a command was interrupted");
                if let Err(error) = runner.journal.end(&end) {
                    tracing::error!(%command_id, %error, "an end cannot be journaled");
                }
                let _ = runner.events.send(Event::Ended(end)).await;
            }
        });
    }
}

fn chunk(reader: &mut SpoolReader, session: &mut Session, command_id: CommandId, seq: u32) -> OutputChunk {
    let (stream, data) = reader.read(seq).unwrap_or_else(|error| {
        // The sequence has no gaps: an empty chunk stands where something is lost, and the end says so.
        tracing::error!(%command_id, seq, %error, "spooled output cannot be read");
        session.command_output_lost(command_id);
        (gururmm_protocol::command::Stream::Stdout, Vec::new())
    });
    OutputChunk { command_id, seq, stream, data: gururmm_protocol::command::Bytes(data) }
}

/// Scripts of an agent that was killed.
fn remove_files(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if let Err(error) = fs::remove_file(entry.path()) {
            tracing::warn!(%error, "a leftover script cannot be removed");
        }
    }
}
