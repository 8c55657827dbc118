//! What Windows brings along, and PowerShell where its newer one is installed.

use crate::os::folders;
use crate::os::terminal::Program;
use crate::os::user_session::UserSession;
use gururmm_protocol::tunnel::order::Shell;
use std::path::{Path, PathBuf};

pub(super) fn found() -> Vec<Shell> {
    let system = folders::system();
    let candidates: [(&str, PathBuf); 3] = [
        ("PowerShell", system.join(r"WindowsPowerShell\v1.0\powershell.exe")),
        ("PowerShell 7", folders::program_files().join(r"PowerShell\7\pwsh.exe")),
        ("Command Prompt", system.join("cmd.exe")),
    ];
    let there = candidates.into_iter().filter(|(_, path)| path.is_file());
    let shell = |(name, path): (&str, PathBuf)| {
        Some(Shell { name: name.to_owned(), program: path.to_str()?.to_owned() })
    };
    there.filter_map(shell).collect()
}

/// Accounts have none of their own here.
pub(super) fn login_shell(_session: &UserSession) -> Option<String> {
    None
}

pub(super) fn program(path: &Path) -> Program {
    let is_power = path.file_name().is_some_and(|name| name != "cmd.exe");
    let arguments = if is_power { vec!["-NoLogo".into()] } else { Vec::new() };
    Program { path: path.to_owned(), arguments }
}
