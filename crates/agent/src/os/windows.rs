//! Private files on Windows. Their access lists come with the Windows build; until then nothing is stored unprotected.

use crate::os::Unsupported;
use crate::state::StateError;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

const NO_ACCESS_LISTS: &str = "protecting the state folder by access lists is not built yet";

/// Whether this process may do everything on the machine.
pub fn is_elevated() -> bool {
    false
}

/// Ends when a person asks the process to stop.
pub fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        // Without a handler the system ends the process itself.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

/// Where an agent keeps its state.
pub fn default_state_dir() -> PathBuf {
    PathBuf::from(r"C:\ProgramData\GuruRMM")
}

/// Makes a folder that only its owner can enter.
pub fn create_private_dir(_path: &Path) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, Unsupported::here(NO_ACCESS_LISTS)))
}

/// Nothing to set here: files inherit the folder's access list.
pub fn private_mode(_options: &mut OpenOptions) {}

/// Fails: nothing here can be proven private yet.
pub fn check_private(path: &Path) -> Result<(), StateError> {
    let source = io::Error::new(io::ErrorKind::Unsupported, Unsupported::here(NO_ACCESS_LISTS));
    Err(StateError::Io { path: path.to_owned(), source })
}

/// Fails: who may change a program here cannot be told yet, so none is started but the installed one.
pub fn check_only_ours(_path: &Path) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, Unsupported::here(NO_ACCESS_LISTS)))
}

/// Opens what stands at the path itself, be it a link, and lets nobody write or rename it meanwhile.
pub fn no_links(options: &mut OpenOptions) {
    use std::os::windows::fs::OpenOptionsExt;
    const FILE_FLAG_OPEN_REPARSE_POINT: u32 = 0x0020_0000;
    const FILE_SHARE_READ: u32 = 1;
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
    std::env::var("COMPUTERNAME").unwrap_or_default()
}

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

/// Where a command runs when it does not say.
pub fn default_working_directory() -> PathBuf {
    std::env::temp_dir()
}

/// Console events go to process groups; a command gets its own.
pub fn own_process_group(command: &mut Command) {
    use std::os::windows::process::CommandExt;
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
    const CREATE_NO_WINDOW: u32 = 0x0800_0000;
    command.creation_flags(CREATE_NEW_PROCESS_GROUP | CREATE_NO_WINDOW);
}

/// Nothing is to be done: Windows writes a service's dump only where the machine's owner set that up for it by name.
pub fn leave_no_core_dump() -> std::io::Result<()> {
    Ok(())
}
