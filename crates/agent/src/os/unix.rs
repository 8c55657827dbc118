//! Private files and accounts on Linux and macOS.

use crate::state::StateError;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use zeroize::Zeroizing;

/// Whether this process may do everything on the machine.
pub fn is_elevated() -> bool {
    rustix::process::geteuid().is_root()
}

/// Ends when the system or a person asks the process to stop.
pub fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Where an agent keeps its state: a system folder for root, one of the account's own else.
pub fn default_state_dir() -> PathBuf {
    if is_elevated() {
        let folder = if cfg!(target_os = "macos") {
            "/Library/Application Support/GuruRMM/state"
        } else {
            "/var/lib/gururmm-agent"
        };
        return PathBuf::from(folder);
    }
    let home = std::env::var_os("HOME").unwrap_or_else(|| OsString::from("/tmp"));
    PathBuf::from(home).join(".local/state/gururmm-agent")
}

/// Where the agent with this state folder has its run folder: a folder of the system's with full rights, one of the
/// account's own else.
pub fn run_folder(state: &Path) -> PathBuf {
    if !is_elevated() {
        return state.join("run");
    }
    let folder = if cfg!(target_os = "macos") { "/var/run/gururmm-agent" } else { "/run/gururmm-agent" };
    if state == default_state_dir() {
        return PathBuf::from(folder);
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, state.as_os_str().as_bytes());
    let name: String = digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    PathBuf::from(format!("{folder}-{name}"))
}

/// Makes a folder that everyone can pass through who knows a name in it, and nobody but its owner can list or change.
pub fn create_passable_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    // Not by `mode`, from which the process's mask is taken.
    fs::set_permissions(path, Permissions::from_mode(0o711))
}

/// Makes a folder that only its owner can enter.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Files opened with `options` are readable by their owner only, and a link is never followed.
pub fn private_mode(options: &mut OpenOptions) {
    options.mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
}

/// Fails when another account owns `path`; takes away rights of group and others.
pub fn check_private(path: &Path) -> Result<(), StateError> {
    let failed = |source| StateError::Io { path: path.to_owned(), source };
    let metadata = fs::symlink_metadata(path).map_err(failed)?;
    if metadata.file_type().is_symlink() {
        return Err(StateError::NotPlain(path.to_owned()));
    }
    let process = rustix::process::geteuid().as_raw();
    if metadata.uid() != process {
        let account = |uid: u32| format!("uid {uid}");
        let (owner, process) = (account(metadata.uid()), account(process));
        return Err(StateError::ForeignOwner { path: path.to_owned(), owner, process });
    }
    let mode = metadata.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), mode = format_args!("{:o}", mode & 0o777), "rights narrowed");
        fs::set_permissions(path, Permissions::from_mode(mode & 0o700)).map_err(failed)?;
    }
    Ok(())
}

/// Fails unless nobody but this account and root can change `path`: what stands there is going to be executed.
pub fn check_only_ours(path: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    let denied = |why: &str| io::Error::other(format!("{} {why}", path.display()));
    if metadata.file_type().is_symlink() {
        return Err(denied("is a link"));
    }
    if metadata.uid() != 0 && metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(denied("belongs to another account"));
    }
    if metadata.permissions().mode() & 0o022 != 0 {
        return Err(denied("can be changed by other accounts"));
    }
    Ok(())
}

/// Opening with `options` follows no link, and does not wait where a pipe was put.
pub fn no_links(options: &mut OpenOptions) {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    options.custom_flags(flags.bits() as i32);
}

/// Files made with `options` can be run by everyone and changed by their owner.
pub fn program_mode(options: &mut OpenOptions) {
    options.mode(0o755).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
}

/// Threads for what blocks: the disk and look-ups.
pub const BLOCKING_THREADS: usize = 4;

/// A process that was started.
pub type Process = tokio::process::Child;

/// Starts a process of this account's, with what it would have without the agent.
pub fn spawn(command: &mut tokio::process::Command) -> io::Result<Process> {
    super::own_limits::without_ours(command.as_std_mut());
    command.spawn()
}

/// The program of this process, and what to execute as long as it is held.
#[cfg(target_os = "linux")]
pub fn own_program() -> io::Result<(File, OsString)> {
    let path = Path::new("/proc/self/exe");
    let file = File::open(path)?;
    let name = executable(&file, path)?;
    Ok((file, name))
}

/// The program of this process, and what to execute as long as it is held.
#[cfg(not(target_os = "linux"))]
pub fn own_program() -> io::Result<(File, OsString)> {
    let path = std::env::current_exe()?;
    let file = File::open(&path)?;
    let name = executable(&file, &path)?;
    Ok((file, name))
}

/// What to execute so that it is the program that was opened.
#[cfg(target_os = "linux")]
pub fn executable(file: &File, _path: &Path) -> io::Result<OsString> {
    use std::os::fd::AsRawFd;
    Ok(format!("/proc/self/fd/{}", file.as_raw_fd()).into())
}

/// What to execute so that it is the program that was opened: here a name, in a folder only this account can change,
/// and only while it is still the file that was opened.
#[cfg(not(target_os = "linux"))]
pub fn executable(file: &File, path: &Path) -> io::Result<OsString> {
    let (opened, named) = (file.metadata()?, fs::symlink_metadata(path)?);
    if (opened.dev(), opened.ino()) != (named.dev(), named.ino()) {
        return Err(io::Error::other(format!("{} was replaced", path.display())));
    }
    Ok(path.as_os_str().to_owned())
}

/// Nothing is to be done: the file's rights are its protection.
pub fn protect_secret(secret: &str, _purpose: &str) -> io::Result<String> {
    Ok(secret.to_owned())
}

/// What [`protect_secret`] made of a secret.
pub fn reveal_secret(protected: &str, _purpose: &str) -> io::Result<Zeroizing<String>> {
    Ok(Zeroizing::new(protected.to_owned()))
}

/// Makes the names in a folder survive a power cut.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Whether what stands on the disk cannot be read, today or tomorrow; not whether this process may, or has room to.
pub fn is_unreadable(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::IsADirectory
        || error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

/// The machine's name.
pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Whether `path` is a program this process may run.
pub fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Where programs are looked for when a command does not say: the agent's own search path, without what is relative to
/// the folder it was started in.
pub fn search_path() -> OsString {
    const USUAL: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let own = std::env::var_os("PATH").unwrap_or_default();
    let safe = std::env::join_paths(std::env::split_paths(&own).filter(|folder| folder.is_absolute()));
    safe.ok().filter(|path| !path.is_empty()).unwrap_or_else(|| OsString::from(USUAL))
}

/// A command's environment before its own variables: what a login has, nothing of the service manager's.
pub fn set_base_environment(command: &mut Command) {
    command.env_clear().env("PATH", search_path());
    for name in ["HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    if std::env::var_os("HOME").is_none() && is_elevated() {
        command.env("HOME", "/root");
    }
    if std::env::var_os("LANG").is_none() {
        command.env("LANG", "C.UTF-8");
    }
}

/// Where a command runs when it does not say.
pub fn default_working_directory() -> PathBuf {
    std::env::var_os("HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_dir())
        .unwrap_or_else(|| PathBuf::from("/"))
}

/// Executes a program in this process's place. Unless it says [`do_not_end_this_process`] within that time, the system ends
/// it, whatever it does: an alarm is one of the few things that outlive this. Returns when it is not possible.
pub fn become_program(
    program: &OsStr,
    name: &Path,
    arguments: &[OsString],
    within: Duration,
) -> io::Result<()> {
    nix::unistd::alarm::set(u32::try_from(within.as_secs().max(1)).unwrap_or(u32::MAX));
    let error = Command::new(program).arg0(name).args(arguments).exec();
    do_not_end_this_process();
    Err(error)
}

/// Ends the time that [`become_program`] gave this process.
pub fn do_not_end_this_process() {
    nix::unistd::alarm::cancel();
}

/// The command gets a process group of its own, so that a signal to it spares the agent.
pub fn own_process_group(command: &mut Command) {
    command.process_group(0);
}

/// Has the system take no more than so many bytes that it has not sent. Where it does not, a transfer is as quick, and what
/// comes behind it slower.
#[cfg(target_os = "linux")]
pub fn limit_unsent(stream: &tokio::net::TcpStream, bytes: u32) {
    let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(bytes);
}

/// Nothing is done: no library here reaches the system's option.
#[cfg(not(target_os = "linux"))]
pub fn limit_unsent(_stream: &tokio::net::TcpStream, _bytes: u32) {}
