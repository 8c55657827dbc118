//! From an order to a program with arguments. The order's text goes through a private file and never through the
//! argument list, which every account on the machine can read.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as platform;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as platform;

use super::{NotRun, Scripts};
use crate::os;
use crate::os::process_tree::MARK;
use crate::os::run_folder;
use crate::os::user_session::UserSession;
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
    /// As whom, where not as the agent.
    pub session: Option<UserSession>,
}

/// What can run a script.
struct Interpreter<'a> {
    /// Programs, by name or path, the best first.
    names: &'a [&'a str],
    /// What stands before the script's file.
    arguments: &'a [&'a str],
    /// Of the script's file.
    extension: &'a str,
    /// Written into the file before the script.
    before: &'a str,
}

/// The interpreter that was found.
struct Program<'a> {
    path: PathBuf,
    arguments: &'a [&'a str],
}

/// A script's text on disk while it runs.
pub(super) struct ScriptFile {
    path: PathBuf,
    /// Made for it alone.
    folder: Option<PathBuf>,
}

impl Drop for ScriptFile {
    fn drop(&mut self) {
        let removed =
            fs::remove_file(&self.path).and_then(|()| self.folder.as_ref().map_or(Ok(()), fs::remove_dir));
        if let Err(error) = removed {
            tracing::warn!(%error, "a script's text cannot be removed");
        }
    }
}

pub(super) fn prepare(
    start: &CommandStart,
    scripts: &Scripts,
    session: Option<UserSession>,
) -> Result<Invocation, NotRun> {
    let own;
    let interpreter = match start.kind {
        CommandKind::Shell => platform::SHELL,
        CommandKind::Powershell => platform::POWERSHELL,
        CommandKind::Python => platform::PYTHON,
        CommandKind::Script => {
            let name = start.interpreter.as_deref().filter(|name| !name.is_empty());
            own = [name.ok_or_else(|| {
                NotRun::refused("NOT_FOUND", "a script needs an interpreter and none was given")
            })?];
            Interpreter { names: &own, arguments: &[], extension: "script", before: "" }
        }
    };
    let default_search = || session.as_ref().map_or_else(os::search_path, UserSession::search_path);
    let search = start.environment.get("PATH").map(OsString::from).unwrap_or_else(default_search);
    let path = interpreter.names.iter().find_map(|name| find(name, &search)).ok_or_else(|| {
        let names: Vec<_> = interpreter.names.iter().map(|name| platform::with_extension(name)).collect();
        NotRun::refused("NOT_FOUND", format!("{} is not installed on this machine", names.join(" or ")))
    })?;
    let program = Program { path, arguments: interpreter.arguments };
    if let Some(directory) = &start.working_directory
        && !Path::new(directory).is_dir()
    {
        return Err(NotRun::refused(
            "SPAWN_FAILED",
            format!("the working directory {directory} does not exist"),
        ));
    }
    let script = write_script(start, scripts, &interpreter, session.as_ref()).map_err(|error| {
        NotRun::refused("JOURNAL_FAILED", format!("the command cannot be written to disk: {error}"))
    })?;
    let mut command = platform::command(&program, &script.path, start);
    match &session {
        Some(session) => session.set_base_environment(command.as_std_mut()),
        None => {
            os::set_base_environment(command.as_std_mut());
            let directory = start.working_directory.as_ref().map(PathBuf::from);
            command.current_dir(directory.unwrap_or_else(os::default_working_directory));
            os::own_process_group(command.as_std_mut());
        }
    }
    command.envs(&start.environment).env(MARK, start.command_id.to_string());
    command
        .stdin(if start.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    Ok(Invocation { command, script: Some(script), session })
}

/// A user's is in a folder that the user can enter and not change: it cannot be exchanged for something that the agent
/// would touch.
fn write_script(
    start: &CommandStart,
    scripts: &Scripts,
    interpreter: &Interpreter<'_>,
    session: Option<&UserSession>,
) -> io::Result<ScriptFile> {
    let name = format!("{}.{}", start.command_id, interpreter.extension);
    let (path, folder) = match session {
        Some(session) => {
            let folder = run_folder::open_sub(&scripts.of_users)?.join(start.command_id.to_string());
            session.create_folder(&folder)?;
            (folder.join(name), Some(folder))
        }
        None => (scripts.own.join(name), None),
    };
    let mut options = OpenOptions::new();
    options.create_new(true).write(true);
    os::private_mode(&mut options);
    let mut file = options.open(&path)?;
    let script = ScriptFile { path, folder };
    file.write_all(interpreter.before.as_bytes())?;
    file.write_all(platform::text(start).as_bytes())?;
    if let Some(session) = session {
        session.hand_over(&file)?;
    }
    Ok(script)
}

/// A program by path, or by name in the search path. Only from the root on: the folder the agent was started in may be
/// anybody's.
fn find(name: &str, search: &OsString) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| path.is_absolute() && os::is_executable(path);
    let name = &platform::with_extension(name);
    if Path::new(name).components().count() > 1 {
        return Some(PathBuf::from(name)).filter(is_program);
    }
    std::env::split_paths(search).map(|folder| folder.join(name)).find(is_program)
}
