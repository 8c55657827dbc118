//! One running process: feeds it, reads it, ends it at its limit or on request.

use super::Stop;
use super::tree::{Leader, end_tree};
use crate::journal::SpoolWriter;
use crate::os;
use gururmm_protocol::command::{CommandStart, Outcome, Stream};
use gururmm_protocol::limits::MAX_OUTPUT_CHUNK_BYTES;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// How long output may stay open after the process ended: a child it left behind may hold it for ever.
const OPEN_AFTER_EXIT: Duration = Duration::from_secs(2);
/// Small pieces that go out at once; after them small pieces are gathered.
const PROMPT_PIECES: u32 = 32;
/// How long small pieces are gathered, while they are sent as fast as they come.
const GATHER: Duration = Duration::from_millis(40);
/// How long they are gathered at most, when there is no server to send them to, or many commands print at once.
const GATHER_AT_MOST: Duration = Duration::from_secs(1);

/// How the process ended.
pub(super) struct Exit {
    pub outcome: Outcome,
    pub exit_code: Option<i32>,
    pub error: Option<String>,
    pub error_code: Option<&'static str>,
}

pub(super) async fn drive(
    mut child: os::Process,
    start: &CommandStart,
    spool: &mut SpoolWriter,
    output: &Notify,
    mut stopped: watch::Receiver<Option<Stop>>,
) -> Exit {
    let leader = Leader::new(child.id());
    let mut stdout = Pipe::new(Stream::Stdout, child.stdout.take());
    let mut stderr = Pipe::new(Stream::Stderr, child.stderr.take());
    let stdin = child.stdin.take();
    let mut feed = std::pin::pin!(async move {
        if let (Some(mut stdin), Some(text)) = (stdin, &start.stdin) {
            // A process that does not read its input is free to do so.
            let _ = stdin.write_all(text.as_bytes()).await;
        }
    });
    let mut is_fed = false;
    let mut status: Option<io::Result<ExitStatus>> = None;
    let mut cut_short: Option<Outcome> = None;
    let mut is_stopping = false;
    let mut kill: Option<JoinHandle<io::Result<usize>>> = None;
    let mut survivors = 0;
    // First the time limit; once the process ended, how long its output may stay open.
    let mut deadline = Instant::now() + Duration::from_secs(start.timeout_seconds.max(1).into());
    let end_all = |leader: &Leader| Some(tokio::spawn(end_tree(start.command_id, leader.clone())));

    while status.is_none() || stdout.is_open() || stderr.is_open() || kill.is_some() {
        let due = [stdout.due, stderr.due].into_iter().flatten().min();
        tokio::select! {
            result = child.wait(), if status.is_none() => {
                leader.clear();
                status = Some(result);
                deadline = Instant::now() + OPEN_AFTER_EXIT;
            }
            count = stdout.read(), if stdout.is_open() => stdout.keep(count, spool, output),
            count = stderr.read(), if stderr.is_open() => stderr.keep(count, spool, output),
            () = sleep_until(due.unwrap_or(deadline)), if due.is_some() => {
                stdout.flush_if_due(spool, output);
                stderr.flush_if_due(spool, output);
            }
            () = &mut feed, if !is_fed => is_fed = true,
            stop = wanted(&mut stopped), if !is_stopping => {
                is_stopping = true;
                match (&status, stop) {
                    (Some(_), Stop::Shutdown) => break,
                    // It ended by itself: only what it left behind is ended now.
                    (Some(_), Stop::Cancel) => {}
                    (None, Stop::Cancel) => cut_short = cut_short.or(Some(Outcome::Cancelled)),
                    (None, Stop::Shutdown) => cut_short = cut_short.or(Some(Outcome::Interrupted)),
                }
                kill = kill.or_else(|| end_all(&leader));
            }
            left = finished(&mut kill), if kill.is_some() => {
                kill = None;
                deadline = Instant::now() + OPEN_AFTER_EXIT;
                match left {
                    Ok(left) => survivors = left,
                    Err(error) => {
                        tracing::warn!(command_id = %start.command_id, %error, "only the first process is ended");
                        let _ = child.start_kill();
                    }
                }
            }
            () = sleep_until(deadline), if kill.is_none() => {
                if status.is_some() || cut_short.is_some() {
                    break;
                }
                cut_short = Some(Outcome::Timeout);
                kill = end_all(&leader);
            }
        }
    }
    // What was being gathered when the output was left open.
    stdout.flush(spool, output);
    stderr.flush(spool, output);
    exit(status, cut_short, survivors)
}

fn exit(status: Option<io::Result<ExitStatus>>, cut_short: Option<Outcome>, survivors: usize) -> Exit {
    let status = status.and_then(Result::ok);
    let exit_code = status.and_then(|status| status.code());
    if let Some(outcome) = cut_short {
        let error = match (survivors, outcome) {
            (0, Outcome::Interrupted) => Some("the agent was stopped while the command ran".to_owned()),
            (0, _) => None,
            (left, _) => Some(format!("{left} of its processes could not be ended")),
        };
        return Exit { outcome, exit_code, error, error_code: None };
    }
    match status {
        Some(status) if status.success() => {
            Exit { outcome: Outcome::Completed, exit_code, error: None, error_code: None }
        }
        Some(status) if exit_code.is_none() => Exit {
            outcome: Outcome::Failed,
            exit_code,
            // `ExitStatus` says which signal it was.
            error: Some(format!("the command was ended by a signal ({status})")),
            error_code: Some("SIGNAL"),
        },
        Some(_) => Exit { outcome: Outcome::Failed, exit_code, error: None, error_code: None },
        None => Exit {
            outcome: Outcome::Failed,
            exit_code,
            error: Some("how the command ended cannot be known".into()),
            error_code: None,
        },
    }
}

async fn wanted(stopped: &mut watch::Receiver<Option<Stop>>) -> Stop {
    loop {
        if let Some(stop) = *stopped.borrow_and_update() {
            return stop;
        }
        if stopped.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn finished(kill: &mut Option<JoinHandle<io::Result<usize>>>) -> io::Result<usize> {
    match kill {
        Some(kill) => kill.await.map_err(io::Error::other).flatten(),
        None => std::future::pending().await,
    }
}

/// One of the process's outputs. It is always read: a process never waits for those who look at it.
struct Pipe<R> {
    stream: Stream,
    source: Option<R>,
    buffer: Box<[u8]>,
    /// How much of the buffer waits to be spooled.
    filled: usize,
    /// When that is to be spooled at the latest.
    due: Option<Instant>,
    small_pieces: u32,
}

impl<R: AsyncRead + Unpin> Pipe<R> {
    fn new(stream: Stream, source: Option<R>) -> Self {
        let buffer = vec![0; MAX_OUTPUT_CHUNK_BYTES].into_boxed_slice();
        Self { stream, source, buffer, filled: 0, due: None, small_pieces: 0 }
    }

    fn is_open(&self) -> bool {
        self.source.is_some()
    }

    async fn read(&mut self) -> io::Result<usize> {
        match (&mut self.source, self.buffer.get_mut(self.filled..)) {
            (Some(source), Some(room)) => source.read(room).await,
            _ => std::future::pending().await,
        }
    }

    /// Takes over what was read; nothing, or an error, is the end.
    fn keep(&mut self, read: io::Result<usize>, spool: &mut SpoolWriter, output: &Notify) {
        let count = read.unwrap_or_default();
        self.filled += count;
        if count == 0 {
            self.source = None;
        }
        let is_small = count > 0 && self.filled < self.buffer.len();
        if is_small {
            self.small_pieces = self.small_pieces.saturating_add(1);
        }
        if is_small && self.small_pieces > PROMPT_PIECES {
            // A message per byte would help nobody.
            self.due.get_or_insert_with(|| Instant::now() + gathering(spool.state().backlog()));
        } else {
            self.flush(spool, output);
        }
    }

    fn flush_if_due(&mut self, spool: &mut SpoolWriter, output: &Notify) {
        if self.due.is_some_and(|due| due <= Instant::now()) {
            self.flush(spool, output);
        }
    }

    fn flush(&mut self, spool: &mut SpoolWriter, output: &Notify) {
        self.due = None;
        let piece = self.buffer.get(..self.filled).unwrap_or_default();
        if !piece.is_empty() {
            spool.append(self.stream, piece);
            output.notify_one();
        }
        self.filled = 0;
    }
}

/// The further behind the sender is, the larger the pieces.
fn gathering(backlog: u32) -> Duration {
    GATHER.saturating_mul(1 + backlog / 8).min(GATHER_AT_MOST)
}
