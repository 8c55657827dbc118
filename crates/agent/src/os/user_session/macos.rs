//! By `launchctl asuser`, which starts a program within the user's session, though as root still; that program is this
//! one, and becomes the user before it becomes the command. Built here, not run.

use super::{Launch, NoUserSession};
use crate::os::{self, Unsupported, terminal};
use nix::unistd::{Uid, User};
use rustix::fs::{Mode, fchmod, fchown};
use rustix::process::{chdir, umask};
use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use tokio::process::{Child, Command};

const LAUNCHCTL: &str = "/bin/launchctl";
/// As a terminal has it.
const SEARCH_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";
/// New files are everybody's to read and their owner's to change.
const UMASK: Mode = Mode::from_bits_truncate(0o022);

/// The session of the one who sits at the machine: there is one screen, and it belongs to them.
#[derive(Debug, Clone)]
pub struct UserSession {
    account: User,
}

/// The same, not looked up yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Desktop {
    id: String,
    uid: u32,
}

impl Desktop {
    /// The one that this process can serve, if any.
    pub fn all() -> Vec<Self> {
        let uid = console_uid().filter(|uid| may_become(*uid)).map(Uid::as_raw);
        uid.map(|uid| Self { id: uid.to_string(), uid }).into_iter().collect()
    }

    /// Its name.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl UserSession {
    /// The one at the screen.
    pub fn foremost() -> Result<Self, NoUserSession> {
        Self::of(console_uid().ok_or(NoUserSession::Nobody)?)
    }

    /// The one of that desktop, unless somebody else is there by now.
    pub fn of_desktop(desktop: &Desktop) -> Result<Self, NoUserSession> {
        let uid = console_uid().filter(|uid| uid.as_raw() == desktop.uid);
        Self::of(uid.ok_or(NoUserSession::Nobody)?)
    }

    fn of(uid: Uid) -> Result<Self, NoUserSession> {
        if !may_become(uid) {
            let reason = "this agent does not run with full rights, and someone else is signed in";
            return Err(Unsupported::here(reason).into());
        }
        Ok(Self { account: account(uid).map_err(NoUserSession::Account)? })
    }

    /// The user's name, as the samples have it.
    pub fn user(&self) -> &str {
        &self.account.name
    }

    /// The user's account.
    pub fn uid(&self) -> rustix::process::Uid {
        rustix::process::Uid::from_raw(self.account.uid.as_raw())
    }

    /// Where programs are looked for when a command does not say.
    pub fn search_path(&self) -> OsString {
        OsString::from(SEARCH_PATH)
    }

    /// A command's environment before its own variables: what a login has, and nothing of the agent's.
    pub fn set_base_environment(&self, command: &mut std::process::Command) {
        let account = &self.account;
        command.env_clear().env("PATH", SEARCH_PATH).env("LANG", "C.UTF-8");
        command.env("HOME", &account.dir).env("SHELL", &account.shell);
        command.env("USER", &account.name).env("LOGNAME", &account.name);
    }

    /// Makes a folder that the user can enter and not change.
    pub fn create_folder(&self, path: &Path) -> io::Result<()> {
        os::create_passable_dir(path)
    }

    /// Makes `file` readable by the user, and by nobody else but root.
    pub fn hand_over(&self, file: &File) -> io::Result<()> {
        if os::is_elevated() {
            let group = rustix::process::Gid::from_raw(self.account.gid.as_raw());
            fchown(file, Some(self.uid()), Some(group))?;
        }
        Ok(fchmod(file, Mode::RUSR)?)
    }

    /// Starts `command` as the user. It is killed when what comes back is dropped.
    pub fn spawn(&self, command: &mut Command, launch: Launch<'_>) -> io::Result<Child> {
        let (_held, own) = os::own_program()?;
        let mut outer = self.enter(command, own, launch.directory);
        let stream = |is_used| if is_used { Stdio::piped() } else { Stdio::null() };
        outer.stdin(stream(launch.is_fed)).stdout(stream(launch.is_read)).stderr(stream(launch.is_read));
        os::own_process_group(outer.as_std_mut());
        os::spawn(outer.current_dir("/").kill_on_drop(true))
    }

    /// Starts `command` as the user, with that terminal. It is killed when what comes back is dropped.
    pub fn spawn_in_terminal(&self, command: &mut Command, slave: &OwnedFd) -> io::Result<Child> {
        if os::is_elevated() {
            // For programs that open it by its name.
            fchown(slave, Some(self.uid()), None)?;
        }
        let (_held, own) = os::own_program()?;
        let mut outer = self.enter(command, own, None);
        terminal::attach_streams(&mut outer, slave)?;
        terminal::own_session(outer.as_std_mut());
        terminal::take_control(outer.as_std_mut());
        os::spawn(outer.current_dir("/").kill_on_drop(true))
    }

    /// The program that the user's logins start.
    pub fn login_shell(&self) -> &Path {
        &self.account.shell
    }

    /// What becomes the user, and then `command`.
    fn enter(&self, command: &mut Command, own: OsString, directory: Option<&Path>) -> Command {
        let inner = command.as_std();
        let mut outer = if os::is_elevated() {
            let mut outer = Command::new(LAUNCHCTL);
            outer.arg("asuser").arg(self.account.uid.to_string()).arg(own);
            outer
        } else {
            Command::new(own)
        };
        outer.arg("as-user").arg(self.account.uid.to_string());
        if let Some(directory) = directory {
            outer.arg("--directory").arg(directory);
        }
        outer.arg("--").arg(inner.get_program()).args(inner.get_args()).env_clear();
        outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        outer
    }
}

/// Becomes that user, and then the program; comes back only when it cannot.
pub fn become_program(uid: u32, directory: Option<&Path>, program: &[OsString]) -> io::Error {
    let become_it = || {
        let (name, arguments) = program.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let account = account(Uid::from_raw(uid))?;
        if os::is_elevated() {
            become_user(&account)?;
        }
        umask(UMASK);
        match directory {
            Some(directory) => chdir(directory)?,
            None => chdir(&account.dir).or_else(|_| chdir("/"))?,
        }
        Err(std::process::Command::new(name).args(arguments).exec())
    };
    match become_it() {
        Ok(()) => io::ErrorKind::Other.into(),
        Err(error) => error,
    }
}

/// There is one thread yet. The system's answer is looked at each time: a process that is root for a moment longer is
/// root for good.
#[expect(unsafe_code, reason = "the system's call about groups")]
fn become_user(account: &User) -> io::Result<()> {
    use nix::unistd::{setgid, setuid};
    let name = CString::new(account.name.as_bytes())?;
    let group = i32::try_from(account.gid.as_raw()).map_err(io::Error::other)?;
    // SAFETY: the name ends with a NUL and lives until the call returns.
    if unsafe { nix::libc::initgroups(name.as_ptr(), group) } != 0 {
        return Err(io::Error::last_os_error());
    }
    setgid(account.gid)?;
    setuid(account.uid)?;
    if !account.uid.is_root() && setuid(Uid::from_raw(0)).is_ok() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(())
}

fn account(uid: Uid) -> io::Result<User> {
    User::from_uid(uid)?.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it has no entry"))
}

/// The screen belongs to whoever sits there; to the system, where nobody does.
fn console_uid() -> Option<Uid> {
    let uid = fs::metadata("/dev/console").ok()?.uid();
    Some(Uid::from_raw(uid)).filter(|uid| !uid.is_root())
}

fn may_become(uid: Uid) -> bool {
    os::is_elevated() || Uid::effective() == uid
}
