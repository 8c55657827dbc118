//! A shell in a terminal of its own.
//!
//! As long as a tech is there, the shell's output is read only as it can be sent: a shell whose output nobody takes stands
//! still. While nobody is there, it is read and the last of it kept, so that a tech who is back finds it.

mod lines;
mod scrollback;
pub mod shells;

use crate::os::Unsupported;
use crate::os::terminal::Terminal;
use crate::os::user_session::{NoUserSession, UserSession};
use crate::tunnel::channel::{Channel, ChannelSender, Gone, Incoming, unseen};
use gururmm_protocol::command::RunContext;
use gururmm_protocol::tunnel::terminal::{OpenTerminal, TerminalKind, TerminalMessage, TerminalSize};
use gururmm_protocol::tunnel::{ChannelEnd, ChannelError, ErrorCode, Flags, Opened};
use lines::{Lines, Typed};
use scrollback::Scrollback;
use std::collections::VecDeque;
use std::io;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// Output is read in pieces of this size.
const READ_BYTES: usize = 16 * 1024;
/// How much output that was not sent yet is read ahead.
const AHEAD_BYTES: u64 = READ_BYTES as u64;
/// How long the terminal may stay open after its shell ended: what the shell left running may hold it for ever.
const OPEN_AFTER_EXIT: Duration = Duration::from_secs(1);
/// How long it may take to learn who is signed in: a directory service may be asked.
const LOOKED_UP_WITHIN: Duration = Duration::from_secs(10);
/// Whole lines that wait for a shell without a terminal; what is typed beyond is lost, as in a terminal.
const MAX_WAITING_BYTES: usize = 64 * 1024;
/// What a terminal says to that.
const BELL: &[u8] = b"\x07";
/// Columns and rows.
const SIZES: std::ops::RangeInclusive<u16> = 1..=1_000;

/// Runs until the shell ends, or the channel.
pub async fn run(open: OpenTerminal, channel: Channel) -> ChannelEnd {
    let terminal = match start(open).await {
        Ok(terminal) => terminal,
        Err(error) => return error.into(),
    };
    let mut desk = Desk::new(terminal, channel.sender.clone());
    let end = match desk.serve(channel).await {
        Ok(exit_code) => ChannelEnd { exit_code, ..ChannelEnd::default() },
        Err(error) => error.into(),
    };
    desk.terminal.end().await;
    end
}

async fn start(open: OpenTerminal) -> Result<Terminal, ChannelError> {
    let OpenTerminal { shell, context, size } = open;
    let looking = tokio::task::spawn_blocking(move || {
        let session = match context {
            RunContext::System => None,
            RunContext::UserSession => Some(UserSession::foremost().map_err(nobody)?),
        };
        let program = shells::choose(shell.as_deref(), session.as_ref())
            .ok_or_else(|| ChannelError::new(ErrorCode::NotFound, "this machine has no such shell"))?;
        Ok((session, program))
    });
    let looked = timeout(LOOKED_UP_WITHIN, looking).await.map_err(io::Error::from);
    let (session, program) = looked
        .and_then(|looked| looked.map_err(io::Error::other))
        .map_err(|error| ChannelError::new(ErrorCode::Failed, format!("who is signed in: {error}")))??;
    let started = Terminal::start(&program, within(size), session.as_ref());
    let user = session.as_ref().map(UserSession::user);
    let name = program.path.display();
    tracing::info!(shell = %name, user, "a tech opens a terminal");
    started.map_err(|error| {
        let code = match error.kind() {
            io::ErrorKind::PermissionDenied => ErrorCode::PermissionDenied,
            io::ErrorKind::Unsupported => ErrorCode::Unsupported,
            _ => ErrorCode::Failed,
        };
        ChannelError::new(code, format!("{name} cannot be started: {error}"))
    })
}

fn nobody(error: NoUserSession) -> ChannelError {
    let code = match &error {
        NoUserSession::Nobody => ErrorCode::NoUserSession,
        NoUserSession::Unsupported(Unsupported { .. }) => ErrorCode::Unsupported,
        NoUserSession::Account(_) => ErrorCode::Failed,
    };
    ChannelError::new(code, error.to_string())
}

fn within(size: TerminalSize) -> TerminalSize {
    let clamp = |characters: u16| characters.clamp(*SIZES.start(), *SIZES.end());
    TerminalSize { columns: clamp(size.columns), rows: clamp(size.rows) }
}

/// A terminal with whoever is before it.
struct Desk {
    terminal: Terminal,
    sender: ChannelSender,
    screen: Scrollback,
    /// Of the screen's bytes.
    sent: u64,
    is_attached: bool,
    /// Stands for the terminal where there is none.
    lines: Option<Lines>,
    typed: VecDeque<u8>,
    /// Bytes that were typed in all.
    received: u64,
}

/// What comes next.
enum Next {
    Incoming(Option<Incoming>),
    Detached,
    Shown(io::Result<usize>),
    Sent(Result<usize, Gone>),
    Typed(io::Result<usize>),
    Exited(Option<i64>),
    Late,
}

impl Desk {
    fn new(terminal: Terminal, sender: ChannelSender) -> Self {
        Self {
            lines: terminal.takes_lines().then(Lines::default),
            terminal,
            sender,
            screen: Scrollback::default(),
            sent: 0,
            is_attached: true,
            typed: VecDeque::new(),
            received: 0,
        }
    }

    /// Gives the shell's exit code.
    async fn serve(&mut self, mut channel: Channel) -> Result<Option<i64>, ChannelError> {
        let over = |_: Gone| ChannelError::new(ErrorCode::Closed, "the terminal is closed");
        self.sender.opened(self.as_it_stands()).await.map_err(over)?;
        let mut buffer = vec![0; READ_BYTES].into_boxed_slice();
        let mut exited: Option<(Option<i64>, Instant)> = None;
        let mut is_open = true;
        loop {
            let unsent = self.screen.end() - self.sent;
            if let Some((exit_code, _)) = exited
                && !is_open
                && unsent == 0
                && self.is_attached
            {
                return Ok(exit_code);
            }
            let is_read = is_open && (!self.is_attached || unsent < AHEAD_BYTES);
            let late = exited.map_or_else(Instant::now, |(_, at)| at + OPEN_AFTER_EXIT);
            let Self { terminal, sender, screen, sent, typed, is_attached, .. } = self;
            let Terminal { screen: seat, keyboard, shell, .. } = &mut *terminal;
            let piece = screen.from(*sent);
            let next = tokio::select! {
                incoming = channel.incoming.recv() => Next::Incoming(incoming),
                () = sender.detached(), if *is_attached => Next::Detached,
                shown = seat.read(&mut buffer), if is_read => Next::Shown(shown),
                sent = sender.piece(*sent, piece, Flags::default()), if unsent > 0 => Next::Sent(sent),
                typed = keyboard.write(typed.as_slices().0), if !typed.is_empty() => Next::Typed(typed),
                exit_code = shell.exit(), if exited.is_none() => Next::Exited(exit_code),
                () = sleep_until(late), if exited.is_some() && is_open => Next::Late,
            };
            match next {
                Next::Incoming(None) => return Err(over(Gone)),
                Next::Incoming(Some(incoming)) => self.take(incoming).await?,
                Next::Detached => self.is_attached = false,
                Next::Shown(Ok(count)) if count > 0 => {
                    self.show(buffer.get(..count).unwrap_or_default());
                }
                Next::Shown(_) | Next::Late => is_open = false,
                Next::Sent(sent) => self.sent += sent.map_err(over)? as u64,
                Next::Typed(Ok(count)) => {
                    self.typed.drain(..count.min(self.typed.len()));
                    // Of lines, all was granted when they were typed.
                    let count = if self.lines.is_some() { 0 } else { count };
                    self.sender.grant(u32::try_from(count).unwrap_or(u32::MAX)).await.map_err(over)?;
                }
                // Nobody reads it any more; the shell's end follows.
                Next::Typed(Err(_)) => self.typed.clear(),
                Next::Exited(exit_code) => exited = Some((exit_code, Instant::now())),
            }
        }
    }

    fn as_it_stands(&self) -> Opened {
        let terminal = self.lines.as_ref().map(|_| TerminalKind::Lines);
        Opened { from: self.sent, received: self.received, terminal, ..Opened::default() }
    }

    fn show(&mut self, bytes: &[u8]) {
        self.screen.push(bytes);
        // Nobody is there: what falls out of the scrollback was never seen.
        self.sent = self.sent.max(self.screen.start());
    }

    async fn take(&mut self, incoming: Incoming) -> Result<(), ChannelError> {
        let cost = incoming.cost();
        let dealt_with = match incoming {
            Incoming::Data { offset, bytes, .. } => {
                let new = unseen(self.received, offset, &bytes)?;
                self.received += new.len() as u64;
                match &mut self.lines {
                    None => {
                        self.typed.extend(new);
                        // The rest when it is typed.
                        cost.saturating_sub(u32::try_from(new.len()).unwrap_or(u32::MAX))
                    }
                    Some(lines) => {
                        let Typed { to_shell, to_screen } = lines.type_in(new);
                        self.show(&to_screen);
                        if self.typed.len() + to_shell.len() <= MAX_WAITING_BYTES {
                            self.typed.extend(to_shell);
                        } else {
                            self.show(BELL);
                        }
                        cost
                    }
                }
            }
            Incoming::Message(body) => {
                match serde_json::from_slice(&body) {
                    Ok(TerminalMessage::Resize(size)) => {
                        if let Err(error) = self.terminal.resize(within(size)) {
                            tracing::debug!(%error, "a terminal keeps its size");
                        }
                    }
                    Ok(TerminalMessage::Unknown) => {}
                    Err(_) => {
                        return Err(ChannelError::new(ErrorCode::Invalid, "the message is not understood"));
                    }
                }
                cost
            }
            Incoming::Attach(attach) => {
                self.sent = attach.have.clamp(self.screen.start(), self.screen.end());
                self.is_attached = true;
                let opened = self.as_it_stands();
                // Answered below; an error is the channel's end, which is noticed there.
                let _ = self.sender.opened(opened).await;
                0
            }
        };
        let over = |_: Gone| ChannelError::new(ErrorCode::Closed, "the terminal is closed");
        self.sender.grant(dealt_with).await.map_err(over)
    }
}
