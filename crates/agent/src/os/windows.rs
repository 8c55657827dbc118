//! Private files, accounts and services on Windows.

pub(super) mod account;
pub mod adapters;
pub(super) mod attribute;
mod console;
pub mod event_log;
pub mod events;
pub mod figures;
pub mod folders;
pub mod hardware;
pub mod held;
pub mod names;
pub mod priority;
pub(super) mod private;
pub(super) mod process;
pub mod products;
pub mod registry;
pub mod registry_tree;
mod secret;
pub(super) mod service;
pub mod services;
pub mod sessions;
pub mod wide;
pub mod wmi;

pub use account::is_elevated;
pub(crate) use console::interrupt;
pub use private::{check_only_ours, check_private, create_private_dir, private_mode};
pub use process::{Process, own_program, spawn};
pub use secret::{protect_secret, reveal_secret};

use chrono::{DateTime, Utc};
use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use windows_sys::Win32::System::Threading::{CREATE_NEW_PROCESS_GROUP, CREATE_NO_WINDOW};

/// How a command's first process is made: in a process group of its own, which is asked to end as a whole, and on a
/// console that nobody sees.
pub(super) const COMMAND_FLAGS: u32 = CREATE_NEW_PROCESS_GROUP | CREATE_NO_WINDOW;

/// Threads for what blocks: the disk, look-ups, and here every stream of a command that runs and says nothing, since the
/// runtime reads anonymous pipes that way. Up to 256 commands have three each.
pub const BLOCKING_THREADS: usize = 4 + 3 * 256;

/// Ends when a person asks the process to stop.
pub fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        // Without a handler the system ends the process itself.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

/// Where an agent keeps its state: a folder of the machine with full rights, one of the account's own else.
pub fn default_state_dir() -> PathBuf {
    if is_elevated() {
        folders::program_data().join("GuruRMM")
    } else {
        folders::local_app_data().join("GuruRMM")
    }
}

/// Where the agent with this state folder has its run folder.
pub fn run_folder(state: &Path) -> PathBuf {
    state.join("run")
}

/// Makes a folder that nobody else can list or change. What is below can be reached all the same by whom its own access
/// list lets: every account passes through folders here.
pub fn create_passable_dir(path: &Path) -> io::Result<()> {
    create_private_dir(path)
}

/// Opens what stands at the path itself, be it a link, and lets nobody write or rename it meanwhile.
pub fn no_links(options: &mut OpenOptions) {
    use std::os::windows::fs::OpenOptionsExt;
    use windows_sys::Win32::Storage::FileSystem::{FILE_FLAG_OPEN_REPARSE_POINT, FILE_SHARE_READ};
    options.custom_flags(FILE_FLAG_OPEN_REPARSE_POINT).share_mode(FILE_SHARE_READ);
}

/// Nothing to set here: files inherit the folder's access list.
pub fn program_mode(_options: &mut OpenOptions) {}

/// What to execute so that it is the program that was opened: its name, which nobody can give to another file while it
/// is open as [`no_links`] opens it.
pub fn executable(_file: &std::fs::File, path: &Path) -> io::Result<OsString> {
    Ok(path.as_os_str().to_owned())
}

/// NTFS journals names itself.
pub fn sync_dir(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Whether what stands on the disk cannot be read, today or tomorrow; not whether this process may, or has room to.
pub fn is_unreadable(error: &io::Error) -> bool {
    const ERROR_CRC: i32 = 23;
    const ERROR_IO_DEVICE: i32 = 1117;
    error.kind() == io::ErrorKind::IsADirectory
        || matches!(error.raw_os_error(), Some(ERROR_CRC | ERROR_IO_DEVICE))
}

/// The machine's name.
pub fn hostname() -> String {
    const KEY: &str = r"SYSTEM\CurrentControlSet\Services\Tcpip\Parameters";
    // As it was given; the environment has it cut to fifteen capitals.
    registry::read_text(KEY, "Hostname")
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| std::env::var("COMPUTERNAME").unwrap_or_default())
}

/// Nothing is done: the system finds out itself how much it should hold.
pub fn limit_unsent(_stream: &tokio::net::TcpStream, _bytes: u32) {}

/// Whether `path` is a program this process may run.
pub fn is_executable(path: &Path) -> bool {
    path.is_file()
}

/// Where programs are looked for when a command does not say.
pub fn search_path() -> OsString {
    std::env::var_os("PATH").unwrap_or_default()
}

/// A command's environment before its own variables: programs need most of the system's here.
pub fn set_base_environment(_command: &mut Command) {}

/// Where a command runs when it does not say. Programs are looked for in the working folder first here, so it is one
/// that no ordinary account can put a program into.
pub fn default_working_directory() -> PathBuf {
    folders::system()
}

/// Console events go to process groups; a command gets its own.
pub fn own_process_group(command: &mut Command) {
    use std::os::windows::process::CommandExt;
    command.creation_flags(COMMAND_FLAGS);
}

/// No process becomes another program here: it goes on, and has to run that program as a child.
pub fn become_program(
    _program: &OsStr,
    _name: &Path,
    _arguments: &[OsString],
    _within: Duration,
) -> io::Result<()> {
    Ok(())
}

/// Nothing is to be done: who runs a program as a child can end it.
pub fn do_not_end_this_process() {}

/// Nothing is to be done: Windows writes a service's dump only where the machine's owner set that up for it by name.
pub fn leave_no_core_dump() -> io::Result<()> {
    Ok(())
}

/// A `FILETIME`: 100 ns since 1601.
pub(crate) fn time(filetime: i64) -> Option<DateTime<Utc>> {
    const SECONDS_1601_TO_1970: i64 = 11_644_473_600;
    let seconds = filetime.div_euclid(10_000_000) - SECONDS_1601_TO_1970;
    DateTime::from_timestamp(seconds, (filetime.rem_euclid(10_000_000) * 100) as u32)
}
