//! By logind's session files and the account database. The program is in no session of logind's: it is the agent's
//! child, and takes from the session what its user's own programs have.
//!
//! Whatever a user could have put in the way is met with that user's rights only: between `fork` and `exec` the new
//! process gives up the agent's first, and looks at the user's folders after that.

mod desktop;

use super::{Launch, NoUserSession};
use crate::os::linux_sessions::{self, LoginSession, SESSIONS_DIR, SessionKind};
use crate::os::{self, Unsupported, own_limits, terminal};
use nix::unistd::{User, getgrouplist};
use rustix::fs::{Mode, fchmod, fchown};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{Gid, Uid, chdir, geteuid, setsid, umask};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, set_capabilities, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid, set_thread_uid,
};
use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::{Child, Command};

/// Where a user's programs are looked for, as `login(1)` has it.
const SEARCH_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// The same for root.
const ROOT_SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// New files are everybody's to read and their owner's to change.
const UMASK: Mode = Mode::from_bits_truncate(0o022);

/// Somebody's session.
#[derive(Debug, Clone)]
pub struct UserSession {
    session: LoginSession,
    account: Account,
}

#[derive(Debug, Clone)]
struct Account {
    name: String,
    uid: Uid,
    gid: Gid,
    /// All of them.
    groups: Vec<Gid>,
    home: PathBuf,
    shell: PathBuf,
}

/// A session with a screen. Terminals have none: what is typed there touches their device, and they show no window.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Desktop {
    id: String,
    uid: u32,
    began: u64,
}

impl Desktop {
    /// All that this process can serve.
    pub fn all() -> Vec<Self> {
        let sessions = linux_sessions::signed_in(Path::new(SESSIONS_DIR));
        let with_screen = sessions.filter(|session| session.kind != SessionKind::Text);
        let desktops = with_screen.filter_map(|session| Self::of(&session));
        desktops.filter(|desktop| may_become(Uid::from_raw(desktop.uid))).collect()
    }

    fn of(session: &LoginSession) -> Option<Self> {
        Some(Self { id: session.id.clone(), uid: session.uid?, began: session.began })
    }

    /// Its name, among those of today.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl UserSession {
    /// The one of that desktop, unless it has ended. May take its time as well.
    pub fn of_desktop(desktop: &Desktop) -> Result<Self, NoUserSession> {
        let mut sessions = linux_sessions::signed_in(Path::new(SESSIONS_DIR));
        let is_it = |session: &LoginSession| Desktop::of(session).as_ref() == Some(desktop);
        Self::of(sessions.find(is_it).ok_or(NoUserSession::Nobody)?)
    }

    /// One of this process's own account.
    #[cfg(test)]
    pub fn of_this_process() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("UID={}\nUSER=ada\nCLASS=user\n", geteuid().as_raw());
        fs::write(folder.path().join("1"), text).unwrap();
        Self::of(linux_sessions::foremost(folder.path()).unwrap()).unwrap()
    }

    /// The user's name, as the samples have it.
    pub fn user(&self) -> &str {
        &self.session.user
    }

    /// The user's account.
    pub fn uid(&self) -> Uid {
        self.account.uid
    }

    /// The active session of a seat, else the one that began last. May ask a directory service, and so take its time.
    pub fn foremost() -> Result<Self, NoUserSession> {
        let session = linux_sessions::foremost(Path::new(SESSIONS_DIR)).ok_or(NoUserSession::Nobody)?;
        Self::of(session)
    }

    fn of(session: LoginSession) -> Result<Self, NoUserSession> {
        let uid = session.uid.map(Uid::from_raw).ok_or(NoUserSession::Nobody)?;
        if !may_become(uid) {
            return Err(Unsupported::here(
                "this agent does not run with full rights, and someone else is signed in",
            )
            .into());
        }
        let account = Account::of(uid).map_err(NoUserSession::Account)?;
        Ok(Self { session, account })
    }

    /// Where programs are looked for when a command does not say.
    pub fn search_path(&self) -> OsString {
        OsString::from(if self.account.uid.is_root() { ROOT_SEARCH_PATH } else { SEARCH_PATH })
    }

    /// A command's environment before its own variables: what a login has, and what the session's programs have to find
    /// its screen and its bus; nothing of the agent's.
    pub fn set_base_environment(&self, command: &mut std::process::Command) {
        let account = &self.account;
        command.env_clear().env("PATH", self.search_path());
        command.env("HOME", &account.home).env("SHELL", &account.shell);
        command.env("USER", &account.name).env("LOGNAME", &account.name);
        command.env("LANG", "C.UTF-8").env("XDG_SESSION_ID", &self.session.id);
        command.envs(desktop::environment(&self.session, account.uid));
    }

    /// Makes a folder that the user can enter and not change.
    pub fn create_folder(&self, path: &Path) -> io::Result<()> {
        os::create_passable_dir(path)
    }

    /// Makes `file` readable by the user, and by nobody else but root.
    pub fn hand_over(&self, file: &File) -> io::Result<()> {
        if geteuid().is_root() {
            fchown(file, Some(self.account.uid), Some(self.account.gid))?;
        }
        Ok(fchmod(file, Mode::RUSR)?)
    }

    /// Starts `command` as the user. It is killed when what comes back is dropped.
    pub fn spawn(&self, command: &mut Command, launch: Launch<'_>) -> io::Result<Child> {
        let stream = |is_used| if is_used { Stdio::piped() } else { Stdio::null() };
        command.stdin(stream(launch.is_fed)).stdout(stream(launch.is_read)).stderr(stream(launch.is_read));
        // Some of it takes the rights that are given up after that.
        own_limits::without_ours(command.as_std_mut());
        self.enter(command.as_std_mut(), launch.directory)?;
        command.kill_on_drop(true).spawn()
    }

    /// Starts `command` as the user, with that terminal. It is killed when what comes back is dropped.
    pub fn spawn_in_terminal(&self, command: &mut Command, slave: &OwnedFd) -> io::Result<Child> {
        if geteuid().is_root() {
            // For programs that open it by its name.
            fchown(slave, Some(self.account.uid), None)?;
        }
        terminal::attach_streams(command, slave)?;
        own_limits::without_ours(command.as_std_mut());
        self.enter(command.as_std_mut(), None)?;
        terminal::take_control(command.as_std_mut());
        command.kill_on_drop(true).spawn()
    }

    /// The program that the user's logins start.
    pub fn login_shell(&self) -> &Path {
        &self.account.shell
    }

    /// Has `command` become the user's after everything else that is to be done before it runs.
    #[expect(
        unsafe_code,
        reason = "what runs between fork and exec must be safe to run there; these are system calls on values made before"
    )]
    fn enter(&self, command: &mut std::process::Command, directory: Option<&Path>) -> io::Result<()> {
        let path = |path: &Path| CString::new(path.as_os_str().as_bytes());
        let (home, directory) = (path(&self.account.home)?, directory.map(path).transpose()?);
        let (uid, gid, groups) = (self.account.uid, self.account.gid, self.account.groups.clone());
        let gives_up = geteuid().is_root();
        let open = open_descriptors()?;
        // SAFETY: no allocation and no lock.
        unsafe {
            command.pre_exec(move || {
                for descriptor in &open {
                    // SAFETY: only a flag is set, which a number that is closed by now refuses.
                    let _ = fcntl_setfd(BorrowedFd::borrow_raw(*descriptor), FdFlags::CLOEXEC);
                }
                // Away from the agent's terminal, into which its programs could type.
                setsid()?;
                umask(UMASK);
                if gives_up {
                    become_user(uid, gid, &groups)?;
                }
                match &directory {
                    Some(directory) => chdir(directory.as_c_str())?,
                    None => chdir(home.as_c_str()).or_else(|_| chdir(c"/"))?,
                }
                Ok(())
            });
        }
        Ok(())
    }
}

/// The system's answer is looked at each time: a process that is root for a moment longer is root for good.
fn become_user(uid: Uid, gid: Gid, groups: &[Gid]) -> io::Result<()> {
    // Kernels before 4.3 know no ambient set.
    let _ = clear_ambient_capability_set();
    set_thread_groups(groups)?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    if !uid.is_root() {
        let none = CapabilitySet::empty();
        set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
        if set_thread_uid(Uid::ROOT).is_ok() {
            return Err(Errno::PERM.into());
        }
    }
    Ok(())
}

/// Everything this process has open but its standard streams. What is opened later is closed on `exec` anyway.
fn open_descriptors() -> io::Result<Vec<RawFd>> {
    let entries = fs::read_dir("/proc/self/fd")?;
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(numbers.filter(|number| *number > 2).collect())
}

fn may_become(uid: Uid) -> bool {
    let own = geteuid();
    own.is_root() || own == uid
}

impl Account {
    fn of(uid: Uid) -> io::Result<Self> {
        let user = User::from_uid(nix::unistd::Uid::from_raw(uid.as_raw()))?
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it has no entry"))?;
        let groups = getgrouplist(&CString::new(user.name.as_bytes())?, user.gid)?;
        Ok(Self {
            uid,
            gid: Gid::from_raw(user.gid.as_raw()),
            groups: groups.into_iter().map(|group| Gid::from_raw(group.as_raw())).collect(),
            home: user.dir,
            shell: user.shell,
            name: user.name,
        })
    }
}
