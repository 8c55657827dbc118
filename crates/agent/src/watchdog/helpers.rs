//! One helper for each person's session with a screen: started when the session begins, started again when it dies, and
//! ended with the session and with the watchdog. Each has a socket of its own, and is believed as far as its own session.

#[cfg(test)]
mod tests;

use super::Failures;
use crate::os::local_socket::{Listener, Peer, Stream};
use crate::os::user_session::{Desktop, Launch, UserSession};
use crate::os::{self, run_folder};
use crate::state::StateDir;
use crate::user_activity::Board;
use crate::user_helper::TELL_EVERY;
use crate::user_helper::wire::{self, Frames, FromHelper, ToHelper, WireError};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::process::{ChildStdin, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until, timeout};

/// How often it is looked who is signed in.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Sessions that get a helper; a machine has as many screens as it has, a terminal server a few dozen.
const MAX_HELPERS: usize = 64;
/// How long a helper may take to end when it is asked to.
const STOP_WITHIN: Duration = Duration::from_millis(400);
/// A helper that says nothing for this long hangs.
const SILENT_AFTER: Duration = TELL_EVERY.saturating_mul(4);
/// What a helper may say at once, and how fast it may say more after that.
const MAX_AT_ONCE: u32 = 8;
const ONE_MORE_EVERY: Duration = Duration::from_secs(1);
/// After a connection that was refused, none is taken for this long: whoever makes them makes the watchdog work.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// How long a helper may take to read an answer.
const WRITE_WITHIN: Duration = Duration::from_secs(2);

/// The helpers of all sessions.
pub(super) struct Helpers {
    stop: oneshot::Sender<()>,
    watching: JoinHandle<()>,
}

impl Helpers {
    /// From now on. To be called within a runtime.
    pub(super) fn start(state: &StateDir) -> Self {
        let folder = run_folder::of(state);
        let place = Arc::new(Place { board: Board::new(&folder), folder });
        let (stop, stopped) = oneshot::channel();
        Self { stop, watching: tokio::spawn(watch(place, stopped)) }
    }

    /// Ends them all.
    pub(super) async fn stop(self) {
        drop(self.stop);
        if let Err(error) = self.watching.await {
            tracing::error!(%error, "users' helpers were not ended in order");
        }
    }
}

struct Place {
    folder: PathBuf,
    board: Board,
}

/// One session's helper, and how it is ended.
struct Kept {
    stop: oneshot::Sender<()>,
    keeping: JoinHandle<()>,
}

async fn watch(place: Arc<Place>, mut stopped: oneshot::Receiver<()>) {
    let mut kept: HashMap<Desktop, Kept> = HashMap::new();
    let mut ending = Vec::new();
    loop {
        let desktops = Desktop::all();
        ending.extend(kept.extract_if(|desktop, _| !desktops.contains(desktop)).map(
            |(_, Kept { stop, keeping })| {
                drop(stop);
                keeping
            },
        ));
        ending.retain(|keeping| !keeping.is_finished());
        for desktop in desktops {
            if kept.len() < MAX_HELPERS && !kept.contains_key(&desktop) {
                let (stop, stopped) = oneshot::channel();
                let keeping = tokio::spawn(keep(desktop.clone(), Arc::clone(&place), stopped));
                kept.insert(desktop, Kept { stop, keeping });
            }
        }
        tokio::select! {
            _ = &mut stopped => break,
            () = sleep(LOOK_EVERY) => {}
        }
    }
    ending.extend(kept.into_values().map(|Kept { stop, keeping }| {
        drop(stop);
        keeping
    }));
    for keeping in ending {
        // One that died has no helper left: it goes with its task.
        let _ = keeping.await;
    }
}

/// Keeps a helper running in that session until it is to stop.
async fn keep(desktop: Desktop, place: Arc<Place>, mut stopped: oneshot::Receiver<()>) {
    let mut failures = Failures::default();
    loop {
        let begun = Instant::now();
        let ended = run_once(&desktop, &place, &mut stopped).await;
        place.board.forget(desktop.id());
        let why = match ended {
            Ok(Why::Stopped) => return,
            Ok(why) => why.to_string(),
            Err(error) => format!("it cannot be started: {error}"),
        };
        let pause = failures.next(begun.elapsed());
        tracing::warn!(session = desktop.id(), why, pause_seconds = pause.as_secs(), "a user's helper ended");
        if timeout(pause, &mut stopped).await.is_ok() {
            return;
        }
    }
}

/// Why a helper does not run any more.
#[derive(Debug, thiserror::Error)]
enum Why {
    #[error("it was asked to")]
    Stopped,
    #[error("it ended by itself: {0}")]
    Ended(String),
    #[error(transparent)]
    Misbehaved(#[from] Misbehaved),
}

/// What a helper does not do.
#[derive(Debug, thiserror::Error)]
enum Misbehaved {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("it did not begin with its version, or another one")]
    Stranger,
    #[error("it says too much")]
    TooFast,
    #[error("it says nothing")]
    Silent,
    #[error("it does not read what it is answered")]
    Deaf,
    #[error("its socket failed: {0}")]
    Socket(io::Error),
}

async fn run_once(
    desktop: &Desktop,
    place: &Place,
    stopped: &mut oneshot::Receiver<()>,
) -> Result<Why, Box<dyn std::error::Error + Send + Sync>> {
    let of = desktop.clone();
    let session = tokio::task::spawn_blocking(move || UserSession::of_desktop(&of)).await??;
    let folder = run_folder::open(&place.folder)?;
    let mut listener = Listener::open(folder, desktop.id(), &session)?;
    let mut helper = Helper::start(&session, listener.address())?;
    let expected = helper.peer(&session)?;
    tracing::info!(
        session = desktop.id(),
        user = session.user(),
        pid = expected.pid,
        "a user's helper was started"
    );
    let note = |idle_seconds| place.board.note(desktop.id(), session.user(), idle_seconds);
    let why = tokio::select! {
        _ = stopped => Why::Stopped,
        status = helper.process.wait() => Why::Ended(status?.to_string()),
        misbehaved = serve(&mut listener, expected, note) => misbehaved.into(),
    };
    helper.stop().await;
    Ok(why)
}

/// The process, and the pipe whose end tells it to end.
struct Helper {
    process: os::Process,
    alive: Option<ChildStdin>,
}

impl Helper {
    /// This very program, as the session's user.
    fn start(session: &UserSession, socket: &Path) -> io::Result<Self> {
        let (_held, program) = os::own_program()?;
        let mut command = Command::new(program);
        command.arg("user-helper").arg("--socket").arg(socket);
        session.set_base_environment(command.as_std_mut());
        // What it would write is not the service's to say.
        let launch = Launch { is_fed: true, ..Launch::default() };
        let mut process = session.spawn(&mut command, launch)?;
        let alive = process.stdin.take();
        Ok(Self { process, alive })
    }

    /// Who is going to connect, and nobody else.
    fn peer(&self, session: &UserSession) -> io::Result<Peer> {
        let pid = self.process.id().ok_or(io::ErrorKind::NotFound)?;
        Peer::started(pid, session)
    }

    async fn stop(mut self) {
        drop(self.alive.take());
        if timeout(STOP_WITHIN, self.process.wait()).await.is_err()
            && let Err(error) = self.process.kill().await
        {
            tracing::error!(%error, "a user's helper cannot be killed");
        }
    }
}

/// Listens to the one process that is expected, until it does what it should not.
async fn serve(listener: &mut Listener, expected: Peer, note: impl Fn(u64)) -> Misbehaved {
    let mut connection: Option<Connection> = None;
    let mut accept_from = tokio::time::Instant::now();
    let mut was_refused = false;
    let silent = sleep(SILENT_AFTER);
    let mut silent = std::pin::pin!(silent);
    loop {
        tokio::select! {
            accepted = async { sleep_until(accept_from).await; listener.accept().await } => match accepted {
                Ok((stream, Some(peer))) if peer == expected && connection.is_none() => {
                    connection = Some(Connection::new(stream));
                }
                Ok((_, peer)) => {
                    if !std::mem::replace(&mut was_refused, true) {
                        tracing::warn!(?peer, ?expected, "a connection to a user's helper's socket is refused");
                    }
                    accept_from = tokio::time::Instant::now() + REFUSED_PAUSE;
                }
                Err(error) => return Misbehaved::Socket(error),
            },
            said = said(&mut connection) => match said {
                Ok((connection, said)) => {
                    silent.as_mut().reset(tokio::time::Instant::now() + SILENT_AFTER);
                    match connection.answer(said).await {
                        Ok(Some(idle_seconds)) => note(idle_seconds),
                        Ok(None) => {}
                        Err(misbehaved) => return misbehaved,
                    }
                }
                Err(error) => return error.into(),
            },
            () = &mut silent => return Misbehaved::Silent,
        }
    }
}

/// Nothing is lost when it is not waited for.
async fn said(connection: &mut Option<Connection>) -> Result<(&mut Connection, FromHelper), WireError> {
    match connection {
        Some(connection) => {
            let said = connection.frames.next().await?;
            Ok((connection, said))
        }
        None => std::future::pending().await,
    }
}

struct Connection {
    frames: Frames<ReadHalf<Stream>, FromHelper>,
    sender: WriteHalf<Stream>,
    is_known: bool,
    allowance: Allowance,
}

impl Connection {
    fn new(stream: Stream) -> Self {
        let (receiver, sender) = tokio::io::split(stream);
        Self { frames: Frames::new(receiver), sender, is_known: false, allowance: Allowance::default() }
    }

    /// Since when its user is idle, if that was said.
    async fn answer(&mut self, said: FromHelper) -> Result<Option<u64>, Misbehaved> {
        if !self.allowance.take(Instant::now()) {
            return Err(Misbehaved::TooFast);
        }
        let (answer, idle_seconds) = match (said, self.is_known) {
            (FromHelper::Hello { version: wire::VERSION }, false) => (ToHelper::Welcome {}, None),
            (FromHelper::Ping {}, true) => (ToHelper::Noted {}, None),
            (FromHelper::Idle { seconds }, true) => (ToHelper::Noted {}, Some(seconds)),
            (FromHelper::Hello { .. } | FromHelper::Ping {} | FromHelper::Idle { .. }, _) => {
                return Err(Misbehaved::Stranger);
            }
        };
        self.is_known = true;
        let line = wire::encode(&answer);
        let written = timeout(WRITE_WITHIN, self.sender.write_all(&line)).await;
        written.map_err(|_| Misbehaved::Deaf)?.map_err(WireError::Io)?;
        Ok(idle_seconds)
    }
}

/// How much more may be said.
struct Allowance {
    left: u32,
    counted: Instant,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { left: MAX_AT_ONCE, counted: Instant::now() }
    }
}

impl Allowance {
    fn take(&mut self, now: Instant) -> bool {
        while self.left < MAX_AT_ONCE && now.saturating_duration_since(self.counted) >= ONE_MORE_EVERY {
            self.left += 1;
            self.counted += ONE_MORE_EVERY;
        }
        if self.left == MAX_AT_ONCE {
            self.counted = now;
        }
        self.left.checked_sub(1).inspect(|left| self.left = *left).is_some()
    }
}
