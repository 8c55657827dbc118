//! Interpreters take the script's file as their last argument.

use super::{Interpreter, Program};
use gururmm_protocol::command::CommandStart;
use std::borrow::Cow;
use std::path::Path;
use tokio::process::Command;

pub(super) const SHELL: Interpreter =
    Interpreter { names: &["/bin/sh"], arguments: &[], extension: "sh", before: "" };
pub(super) const POWERSHELL: Interpreter = Interpreter {
    names: &["pwsh"],
    arguments: &["-NoProfile", "-NonInteractive", "-File"],
    extension: "ps1",
    before: "",
};
pub(super) const PYTHON: Interpreter = Interpreter {
    names: &["python3", "python"],
    // Unbuffered: output is to be seen when it is printed.
    arguments: &["-u"],
    extension: "py",
    before: "",
};

/// The command that has the program run the script.
pub(super) fn command(program: &Program<'_>, script: &Path, _start: &CommandStart) -> Command {
    let mut command = Command::new(&program.path);
    command.args(program.arguments).arg(script);
    command
}

/// What the script's file holds.
pub(super) fn text(start: &CommandStart) -> Cow<'_, str> {
    Cow::Borrowed(&start.command)
}

/// Names are whole here.
pub(super) fn with_extension(name: &str) -> String {
    name.to_owned()
}
