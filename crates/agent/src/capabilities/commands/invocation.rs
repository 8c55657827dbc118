//! From an order to a program with arguments. The order's text goes through a private file and never through the
//! argument list, which every account on the machine can read.

use super::NotRun;
use crate::os;
use crate::os::process_tree::MARK;
use gururmm_protocol::command::{CommandKind, CommandStart};
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

/// A program ready to be started.
pub(super) struct Invocation {
    pub command: Command,
    pub script: Option<ScriptFile>,
}

/// A script's text on disk while it runs.
pub(super) struct ScriptFile(PathBuf);

impl Drop for ScriptFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(%error, "a script's text cannot be removed");
        }
    }
}

pub(super) fn prepare(start: &CommandStart, scripts: &Path) -> Result<Invocation, NotRun> {
    let (names, arguments, extension): (Vec<&str>, &[&str], &str) = match start.kind {
        CommandKind::Shell if cfg!(windows) => (vec!["cmd.exe"], &["/d", "/c"], "cmd"),
        CommandKind::Shell => (vec!["/bin/sh"], &[], "sh"),
        CommandKind::Powershell if cfg!(windows) => (
            vec!["powershell.exe"],
            &["-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-File"],
            "ps1",
        ),
        CommandKind::Powershell => (vec!["pwsh"], &["-NoProfile", "-NonInteractive", "-File"], "ps1"),
        // Unbuffered: output is to be seen when it is printed.
        CommandKind::Python => (vec!["python3", "python"], &["-u"], "py"),
        CommandKind::Script => {
            let interpreter = start.interpreter.as_deref().filter(|name| !name.is_empty());
            let interpreter = interpreter.ok_or_else(|| {
                NotRun::refused("NOT_FOUND", "a script needs an interpreter and none was given")
            })?;
            (vec![interpreter], &[], "script")
        }
    };
    let search = start.environment.get("PATH").map(OsString::from).unwrap_or_else(os::search_path);
    let program = names.iter().find_map(|name| find(name, &search)).ok_or_else(|| {
        NotRun::refused("NOT_FOUND", format!("{} is not installed on this machine", names.join(" or ")))
    })?;
    if let Some(directory) = &start.working_directory
        && !Path::new(directory).is_dir()
    {
        return Err(NotRun::refused(
            "SPAWN_FAILED",
            format!("the working directory {directory} does not exist"),
        ));
    }
    let script = write_script(start, scripts, extension).map_err(|error| {
        NotRun::refused("JOURNAL_FAILED", format!("the command cannot be written to disk: {error}"))
    })?;
    let mut command = Command::new(program);
    command.args(arguments).arg(&script.0);
    os::set_base_environment(command.as_std_mut());
    command.envs(&start.environment).env(MARK, start.command_id.to_string());
    if let Some(directory) = &start.working_directory {
        command.current_dir(directory);
    } else {
        command.current_dir(os::default_working_directory());
    }
    os::own_process_group(command.as_std_mut());
    command
        .stdin(if start.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    Ok(Invocation { command, script: Some(script) })
}

fn write_script(start: &CommandStart, scripts: &Path, extension: &str) -> io::Result<ScriptFile> {
    let path = scripts.join(format!("{}.{extension}", start.command_id));
    let mut options = OpenOptions::new();
    options.create_new(true).write(true);
    os::private_mode(&mut options);
    let mut file = options.open(&path)?;
    let script = ScriptFile(path);
    file.write_all(start.command.as_bytes())?;
    Ok(script)
}

/// A program by path, or by name in the search path. Only from the root on: the folder the agent was started in may be
/// anybody's.
fn find(name: &str, search: &OsString) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| path.is_absolute() && os::is_executable(path);
    if Path::new(name).components().count() > 1 {
        return Some(PathBuf::from(name)).filter(is_program);
    }
    std::env::split_paths(search).map(|folder| folder.join(name)).find(is_program)
}
