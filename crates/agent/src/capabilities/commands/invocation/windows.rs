//! The system's own interpreters are started from its own folder, whatever the search path says.
//!
//! Output is UTF-8: the console that nobody sees is told so before anything prints. The text of a command stays out of
//! every command line, which the system may log.

use super::{Interpreter, Program};
use crate::os::folders;
use gururmm_protocol::command::{CommandKind, CommandStart};
use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::Path;
use tokio::process::Command;

/// Endings of programs' names; the dot in `python3.11` begins none.
const PROGRAMS: [&str; 4] = ["exe", "com", "bat", "cmd"];

/// A batch file. Its lines are not repeated in the output, and what they print is UTF-8, as the file is.
pub(super) const SHELL: Interpreter = Interpreter {
    names: &[r"%SystemDirectory%\cmd.exe"],
    arguments: &[],
    extension: "cmd",
    before: "@echo off\r\n@chcp 65001 >nul\r\n",
};
/// The mark in front says that the file is UTF-8, which Windows' own PowerShell would not believe else.
pub(super) const POWERSHELL: Interpreter = Interpreter {
    names: &[r"%SystemDirectory%\WindowsPowerShell\v1.0\powershell.exe", "pwsh"],
    arguments: &["-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-File"],
    extension: "ps1",
    before: "\u{feff}",
};
pub(super) const PYTHON: Interpreter = Interpreter {
    names: &["python", "python3", "py"],
    // Unbuffered: output is to be seen when it is printed. In UTF-8, on Python 3.7 and newer.
    arguments: &["-u", "-X", "utf8"],
    extension: "py",
    before: "",
};

/// The command that has the program run the script.
pub(super) fn command(program: &Program<'_>, script: &Path, start: &CommandStart) -> Command {
    let interpreter = folders::system().join("cmd.exe");
    match start.kind {
        CommandKind::Shell => {
            let mut command = Command::new(interpreter);
            // `/s` takes away the outer pair of quotes and nothing else.
            command.raw_arg(format!("/d /s /c \"\"{}\"\"", script.display()));
            command
        }
        // PowerShell prints in the code page that its console has when it starts.
        CommandKind::Powershell => {
            let mut command = Command::new(interpreter);
            command.raw_arg(format!(
                "/d /s /c \"chcp 65001 >nul & \"{}\" {} \"{}\"\"",
                program.path.display(),
                program.arguments.join(" "),
                script.display()
            ));
            command
        }
        CommandKind::Python | CommandKind::Script => {
            let mut command = Command::new(&program.path);
            command.args(program.arguments).arg(script);
            command
        }
    }
}

/// What the script's file holds. A batch file whose lines end otherwise than Windows' loses its way at labels.
pub(super) fn text(start: &CommandStart) -> Cow<'_, str> {
    match start.kind {
        CommandKind::Shell => Cow::Owned(start.command.replace("\r\n", "\n").replace('\n', "\r\n")),
        _ => Cow::Borrowed(&start.command),
    }
}

/// `perl` is `perl.exe`.
pub(super) fn with_extension(name: &str) -> String {
    let name = match name.strip_prefix("%SystemDirectory%") {
        Some(rest) => format!("{}{rest}", folders::system().display()),
        None => name.to_owned(),
    };
    let extension = Path::new(&name).extension().map(OsStr::to_ascii_lowercase);
    let is_program = extension.is_some_and(|extension| PROGRAMS.iter().any(|program| extension == *program));
    if is_program { name } else { format!("{name}.exe") }
}
