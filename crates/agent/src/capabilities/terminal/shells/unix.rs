//! The login shell of the agent's account, then what `shells(5)` lists.

use crate::os;
use crate::os::terminal::Program;
use crate::os::user_session::UserSession;
use gururmm_protocol::limits::MAX_LIST_ITEMS;
use gururmm_protocol::tunnel::order::Shell;
use nix::unistd::{Uid, User};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

const LIST: &str = "/etc/shells";
/// What every system has.
const LEAST: &str = "/bin/sh";
/// What accounts have instead of a shell.
const NO_SHELLS: [&str; 5] = ["nologin", "false", "true", "sync", "git-shell"];
/// These take `-l` to be what a login starts.
const LOGIN: [&str; 12] =
    ["ash", "bash", "csh", "dash", "fish", "ksh", "ksh93", "mksh", "rbash", "sh", "tcsh", "zsh"];

pub(super) fn found() -> Vec<Shell> {
    let login = User::from_uid(Uid::effective()).ok().flatten().map(|account| account.shell);
    let listed = fs::read_to_string(LIST).unwrap_or_default();
    list(login, &listed, os::is_executable)
}

/// One of each name: `/bin/bash` and `/usr/bin/bash` are the same.
fn list(login: Option<PathBuf>, listed: &str, is_there: impl Fn(&Path) -> bool) -> Vec<Shell> {
    let lines = listed.lines().map(str::trim).filter(|line| line.starts_with('/'));
    let candidates = login.into_iter().chain(lines.map(PathBuf::from)).chain([PathBuf::from(LEAST)]);
    let mut names = HashSet::new();
    let shells = candidates.filter_map(|path| {
        let name = path.file_name()?.to_str()?.to_owned();
        let is_one = path.is_absolute() && !NO_SHELLS.contains(&name.as_str()) && is_there(&path);
        let program = path.to_str()?.to_owned();
        (is_one && names.insert(name.clone())).then_some(Shell { name, program })
    });
    shells.take(MAX_LIST_ITEMS).collect()
}

/// A user's own shell is theirs by the account database, not by a request.
pub(super) fn login_shell(session: &UserSession) -> Option<String> {
    let shell = session.login_shell();
    let name = shell.file_name()?.to_str()?;
    let is_one = shell.is_absolute() && !NO_SHELLS.contains(&name) && os::is_executable(shell);
    shell.to_str().filter(|_| is_one).map(str::to_owned)
}

pub(super) fn program(path: &Path) -> Program {
    let is_known = path.file_name().and_then(OsStr::to_str).is_some_and(|name| LOGIN.contains(&name));
    let arguments = if is_known { vec!["-l".into()] } else { Vec::new() };
    Program { path: path.to_owned(), arguments }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(login: &str, listed: &str, missing: &[&str]) -> Vec<String> {
        let is_there = |path: &Path| !missing.contains(&path.to_str().unwrap());
        list(Some(login.into()), listed, is_there).into_iter().map(|shell| shell.program).collect()
    }

    #[test]
    fn the_login_shell_comes_first_and_each_name_once() {
        let listed = "# /etc/shells\n/bin/sh\n/usr/bin/sh\n/bin/bash\n /usr/bin/fish \n\nzsh\n/bin/rbash\n";
        let found = names("/usr/bin/zsh", listed, &["/bin/rbash"]);
        assert_eq!(found, ["/usr/bin/zsh", "/bin/sh", "/bin/bash", "/usr/bin/fish"]);
    }

    #[test]
    fn what_is_no_shell_is_none() {
        assert_eq!(names("/usr/sbin/nologin", "/bin/false\n", &[]), [LEAST]);
        assert_eq!(names("bash", "bash\n../bash\n", &[]), [LEAST], "names are whole");
    }

    #[test]
    fn a_request_can_name_what_is_there_and_nothing_else() {
        let first = found().into_iter().next().unwrap().program;
        assert_eq!(super::super::choose(Some(&first), None).unwrap().path, Path::new(&first));
        assert_eq!(super::super::choose(None, None).unwrap().path, Path::new(&first));
        for other in ["/usr/bin/env", "bash", "", "/bin/../bin/sh", "/bin/sh -c reboot"] {
            assert_eq!(super::super::choose(Some(other), None), None, "{other}");
        }
    }
}
