//! By the system's pseudo-terminals. The program leads a session of its own, whose terminal it has.

use super::Program;
use crate::os;
use crate::os::process_tree::in_session;
use crate::os::user_session::UserSession;
use gururmm_protocol::tunnel::terminal::TerminalSize;
use nix::unistd::User;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, FdFlags, fcntl_setfd, ioctl_fionbio};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, geteuid, ioctl_tiocsctty, kill_process, setsid, waitid,
};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{InputModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// How long a shell may take to end once its terminal is gone, and to end what it has started.
const HUNG_UP: Duration = Duration::from_millis(500);
/// How long the system may take to end the rest.
const MADE: Duration = Duration::from_millis(500);
/// What a shell that a signal ended says, beyond the signal's number.
const BY_SIGNAL: i64 = 128;

/// A running program and its terminal. Dropped: the program is ended, with what is in its session.
#[derive(Debug)]
pub struct Terminal {
    pub screen: Screen,
    pub keyboard: Keyboard,
    pub shell: Shell,
}

/// What is shown.
#[derive(Debug)]
pub struct Screen(Option<Arc<AsyncFd<OwnedFd>>>);

/// What is typed.
#[derive(Debug)]
pub struct Keyboard(Option<Arc<AsyncFd<OwnedFd>>>);

/// The program.
#[derive(Debug)]
pub struct Shell {
    child: Child,
    /// The session's leader; `None` once it was waited for, since its number may then be another's.
    leader: Option<u32>,
}

impl Terminal {
    /// Starts `program` in a new terminal: as the user of that session, or as this process's account.
    pub fn start(program: &Program, size: TerminalSize, session: Option<&UserSession>) -> io::Result<Self> {
        let (master, slave) = open_pair(size)?;
        let mut command = Command::new(&program.path);
        command.args(&program.arguments);
        let child = match session {
            Some(session) => {
                session.set_base_environment(command.as_std_mut());
                set_terminal_environment(&mut command);
                session.spawn_in_terminal(&mut command, &slave)?
            }
            None => {
                let account = User::from_uid(nix::unistd::Uid::from_raw(geteuid().as_raw())).ok().flatten();
                set_account_environment(&mut command, account.as_ref());
                set_terminal_environment(&mut command);
                attach_streams(&mut command, &slave)?;
                own_session(command.as_std_mut());
                take_control(command.as_std_mut());
                os::spawn(command.kill_on_drop(true))?
            }
        };
        ioctl_fionbio(&master, true)?;
        let leader = child.id();
        let master = Some(Arc::new(register(master)?));
        Ok(Self {
            screen: Screen(master.clone()),
            keyboard: Keyboard(master),
            shell: Shell { child, leader },
        })
    }

    /// Whether it is none, and the shell reads lines from a pipe.
    pub fn takes_lines(&self) -> bool {
        false
    }

    /// The window has another size.
    pub fn resize(&self, size: TerminalSize) -> io::Result<()> {
        self.screen.0.as_ref().map_or(Ok(()), |master| Ok(tcsetwinsize(master.get_ref(), window(size))?))
    }

    fn hang_up(&mut self) {
        self.screen.0 = None;
        self.keyboard.0 = None;
    }

    /// Hangs up, and ends what does not go by itself.
    pub async fn end(mut self) {
        self.hang_up();
        let Some(leader) = self.shell.leader else { return };
        let until = Instant::now() + HUNG_UP;
        while !has_ended(leader) && Instant::now() < until {
            sleep(Duration::from_millis(10)).await;
        }
        let until = Instant::now() + MADE;
        while kill_session(leader) > 0 && Instant::now() < until {
            sleep(Duration::from_millis(10)).await;
        }
        self.shell.exit().await;
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.hang_up();
        if let Some(leader) = self.shell.leader {
            kill_session(leader);
        }
    }
}

impl Screen {
    /// What the screen shows next. Nothing: nobody can write to it any more.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(master) = &self.0 else { return Ok(0) };
        let mut filled = 0;
        let read = master
            .async_io(Interest::READABLE, |master| {
                // The system gives a page at a time.
                while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
                    match rustix::io::read(master, room) {
                        Ok(0) => break,
                        Ok(count) => filled += count,
                        Err(_) if filled > 0 => break,
                        Err(error) => return Err(error.into()),
                    }
                }
                Ok(filled)
            })
            .await;
        match read {
            // Linux says so when the last program has closed it.
            Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => Ok(0),
            read => read,
        }
    }
}

impl Keyboard {
    /// Types; says how many bytes went.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(master) = &self.0 else { return Ok(bytes.len()) };
        master.async_io(Interest::WRITABLE, |master| Ok(rustix::io::write(master, bytes)?)).await
    }
}

impl Shell {
    /// How the program ended. To be asked again and again; nothing is lost when the answer is not waited for.
    pub async fn exit(&mut self) -> Option<i64> {
        let status = self.child.wait().await;
        self.leader = None;
        status.ok().map(code)
    }
}

/// Has the runtime tell when there is something to read, or room to write.
#[expect(unsafe_code, reason = "the runtime wants to be told that the descriptor stays what it is")]
fn register(master: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stays open, and the same descriptor, for as long as the `AsyncFd` owns it.
    Ok(unsafe { AsyncFd::register(master) }?)
}

/// Makes both ends.
fn open_pair(size: TerminalSize) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    #[cfg(target_os = "linux")]
    let flags = flags | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    fcntl_setfd(&master, FdFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let slave = open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    tcsetwinsize(&master, window(size))?;
    let mut modes = tcgetattr(&slave)?;
    // A character is erased as a whole.
    modes.input_modes |= InputModes::IUTF8;
    tcsetattr(&slave, OptionalActions::Now, &modes)?;
    Ok((master, slave))
}

fn window(size: TerminalSize) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// The terminal is what `command` reads and writes.
pub fn attach_streams(command: &mut Command, slave: &OwnedFd) -> io::Result<()> {
    let stream = || slave.try_clone().map(Stdio::from);
    command.stdin(stream()?).stdout(stream()?).stderr(stream()?);
    Ok(())
}

/// `command` leads a session.
#[expect(
    unsafe_code,
    reason = "what runs between fork and exec must be safe to run there; this is a system call"
)]
pub fn own_session(command: &mut std::process::Command) {
    // SAFETY: no allocation and no lock.
    unsafe {
        command.pre_exec(|| Ok(setsid().map(drop)?));
    }
}

/// Its session's terminal is the one that it reads. To be said after the session is its own.
#[expect(
    unsafe_code,
    reason = "what runs between fork and exec must be safe to run there; this is a system call"
)]
pub fn take_control(command: &mut std::process::Command) {
    // SAFETY: no allocation and no lock; standard input is open, it was just put there.
    unsafe {
        command.pre_exec(|| Ok(ioctl_tiocsctty(BorrowedFd::borrow_raw(0))?));
    }
}

/// What a login of this process's account has.
fn set_account_environment(command: &mut Command, account: Option<&User>) {
    os::set_base_environment(command.as_std_mut());
    let Some(account) = account else {
        command.current_dir(os::default_working_directory());
        return;
    };
    command.env("HOME", &account.dir).env("SHELL", &account.shell);
    command.env("USER", &account.name).env("LOGNAME", &account.name);
    let home = account.dir.as_path();
    command.current_dir(if home.is_dir() { home } else { Path::new("/") });
}

/// What the page can show.
fn set_terminal_environment(command: &mut Command) {
    command.env("TERM", "xterm-256color").env("COLORTERM", "truecolor");
}

fn code(status: ExitStatus) -> i64 {
    let code = status.code().map(i64::from);
    code.or_else(|| status.signal().map(|signal| BY_SIGNAL + i64::from(signal))).unwrap_or(-1)
}

fn has_ended(leader: u32) -> bool {
    let Some(pid) = pid(leader) else { return true };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::Pid(pid), options), Ok(None))
}

/// Says how many there were. `leader` was not waited for, so that its number is its own.
fn kill_session(leader: u32) -> usize {
    let members = in_session(leader).unwrap_or_else(|_| vec![leader]);
    for pid in members.iter().filter_map(|member| pid(*member)) {
        // One that is gone is as good as ended.
        let _ = kill_process(pid, Signal::KILL);
    }
    members.len()
}

fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}
