//! By the token of the session's user, which the system hands out to itself alone: to a service that runs as LocalSystem.
//! Built here, not run: Wine has one session, and its service is in it.
#![expect(unsafe_code, reason = "the system's calls about tokens and processes")]

use super::{Launch, NoUserSession};
use crate::os::Unsupported;
use crate::os::windows::attribute::{Attribute, let_inherit};
use crate::os::windows::process::Started;
use crate::os::windows::wide::wide;
use crate::os::windows::{COMMAND_FLAGS, Process, account, folders, private, search_path, sessions};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};
use std::sync::{Arc, Once};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use windows_sys::Win32::System::Environment::{CreateEnvironmentBlock, DestroyEnvironmentBlock};
use windows_sys::Win32::System::Pipes::CreatePipe;
use windows_sys::Win32::System::RemoteDesktop::WTSQueryUserToken;
use windows_sys::Win32::System::Threading::{
    CREATE_SUSPENDED, CREATE_UNICODE_ENVIRONMENT, CreateProcessAsUserW, EXTENDED_STARTUPINFO_PRESENT,
    PROCESS_INFORMATION, STARTF_USESTDHANDLES, STARTUPINFOEXW, STARTUPINFOW,
};

/// Largest environment that is read, in units of its text; the system's own limit is far below.
const MAX_ENVIRONMENT: usize = 1024 * 1024;
/// Where a user's windows are.
const DESKTOP: &str = r"winsta0\default";

static SAID: Once = Once::new();

fn unsupported() -> Unsupported {
    Unsupported::here("only the service, which runs as LocalSystem, gets at a user's session")
}

/// Somebody's session.
#[derive(Debug, Clone)]
pub struct UserSession {
    session: u32,
    user: String,
    /// The user's security identifier, as text.
    account: String,
    token: Arc<OwnedHandle>,
}

/// A session of somebody's; all of them have a screen here, be it a remote one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Desktop {
    id: String,
    session: u32,
    began: i64,
}

impl Desktop {
    /// All that this process can serve.
    pub fn all() -> Vec<Self> {
        if !account::is_system() {
            SAID.call_once(|| tracing::warn!(unsupported = %unsupported(), "users get no helper"));
            return Vec::new();
        }
        let desktop = |user: sessions::User| Self {
            id: user.session.to_string(),
            session: user.session,
            began: user.began,
        };
        sessions::with_users().into_iter().map(desktop).collect()
    }

    /// Its name, among those of today.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl UserSession {
    /// The session at the console, else the one that began last.
    pub fn foremost() -> Result<Self, NoUserSession> {
        Self::of(sessions::foremost().ok_or(NoUserSession::Nobody)?)
    }

    /// The one of that desktop, unless it has ended.
    pub fn of_desktop(desktop: &Desktop) -> Result<Self, NoUserSession> {
        let is_it = |user: &sessions::User| (user.session, user.began) == (desktop.session, desktop.began);
        Self::of(sessions::with_users().into_iter().find(is_it).ok_or(NoUserSession::Nobody)?)
    }

    fn of(user: sessions::User) -> Result<Self, NoUserSession> {
        if !account::is_system() {
            return Err(unsupported().into());
        }
        let mut token = null_mut();
        // SAFETY: on success the token is the caller's to close.
        let token = unsafe {
            if WTSQueryUserToken(user.session, &mut token) == 0 {
                return Err(NoUserSession::Account(io::Error::last_os_error()));
            }
            OwnedHandle::from_raw_handle(token)
        };
        let account = account::user_of(&token).map_err(NoUserSession::Account)?;
        Ok(Self { session: user.session, user: user.name, account, token: Arc::new(token) })
    }

    /// The user's name, as the samples have it.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The session's number.
    pub(in crate::os) fn session(&self) -> u32 {
        self.session
    }

    /// The user's security identifier, as text.
    pub(in crate::os) fn account(&self) -> &str {
        &self.account
    }

    /// Where programs are looked for when a command does not say: where everybody's are.
    pub fn search_path(&self) -> OsString {
        search_path()
    }

    /// Nothing is to be done: [`UserSession::spawn`] gives it the user's own.
    pub fn set_base_environment(&self, _command: &mut std::process::Command) {}

    /// Makes a folder that the user can read and not change. The folders above need not let the user in: every account
    /// passes through folders here.
    pub fn create_folder(&self, path: &Path) -> io::Result<()> {
        private::create_readable_dir(path, &self.account)
    }

    /// Nothing is to be done: the file's rights come from its folder.
    pub fn hand_over(&self, _file: &File) -> io::Result<()> {
        Ok(())
    }

    /// Starts `command` as the user, with the user's environment and the command's own variables. What the command was
    /// told about its streams and its folder does not count.
    pub fn spawn(&self, command: &mut Command, launch: Launch<'_>) -> io::Result<Process> {
        let command = command.as_std();
        let environment = self.environment()?.with(command.get_envs()).block();
        let home = folders::of_user(&self.token).unwrap_or_else(folders::system);
        let directory = wide(launch.directory.unwrap_or(&home));
        let program = wide(command.get_program());
        let mut line = wide(command_line(command));
        let mut desktop = wide(DESKTOP);
        let (input, stdin) = stream(launch.is_fed, Direction::ToProcess)?;
        let (output, stdout) = stream(launch.is_read, Direction::FromProcess)?;
        let (errors, stderr) = stream(launch.is_read, Direction::FromProcess)?;
        let handles = [input.as_raw_handle(), output.as_raw_handle(), errors.as_raw_handle()];
        let inherited = Attribute::handles(&handles)?;
        let startup = STARTUPINFOEXW {
            StartupInfo: STARTUPINFOW {
                cb: size_of::<STARTUPINFOEXW>() as u32,
                lpDesktop: desktop.as_mut_ptr(),
                dwFlags: STARTF_USESTDHANDLES,
                hStdInput: handles[0],
                hStdOutput: handles[1],
                hStdError: handles[2],
                ..STARTUPINFOW::default()
            },
            lpAttributeList: inherited.list(),
        };
        let asleep = if launch.is_enclosed { CREATE_SUSPENDED } else { 0 };
        let mut started = PROCESS_INFORMATION::default();
        // SAFETY: texts end with a NUL, the environment with two; all of it, and the handles, live until the call returns.
        let is_started = unsafe {
            CreateProcessAsUserW(
                self.token.as_raw_handle(),
                program.as_ptr(),
                line.as_mut_ptr(),
                null(),
                null(),
                1,
                COMMAND_FLAGS | CREATE_UNICODE_ENVIRONMENT | EXTENDED_STARTUPINFO_PRESENT | asleep,
                environment.as_ptr().cast(),
                directory.as_ptr(),
                std::ptr::from_ref(&startup.StartupInfo),
                &mut started,
            )
        };
        if is_started == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: both were just made for this process to close.
        let process = unsafe {
            drop(OwnedHandle::from_raw_handle(started.hThread));
            Started::new(OwnedHandle::from_raw_handle(started.hProcess), started.dwProcessId)
        };
        let stdin = stdin.map(|end| ChildStdin::from_std(end.into())).transpose()?;
        let stdout = stdout.map(|end| ChildStdout::from_std(end.into())).transpose()?;
        let stderr = stderr.map(|end| ChildStderr::from_std(end.into())).transpose()?;
        Ok(Process::users(process, stdin, stdout, stderr))
    }

    /// What a process of the user's is made with: the user's token, and what a login has.
    pub(in crate::os) fn login(&self) -> io::Result<Login<'_>> {
        let directory = folders::of_user(&self.token).unwrap_or_else(folders::system);
        Ok(Login { token: &self.token, environment: self.environment()?.block(), directory })
    }

    /// The user's variables and the machine's, as a new login has them.
    fn environment(&self) -> io::Result<Environment> {
        let mut block = null_mut();
        // SAFETY: on success the block is the caller's to destroy.
        if unsafe { CreateEnvironmentBlock(&mut block, self.token.as_raw_handle(), 0) } == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the block is texts that end with a NUL each, and one more NUL; it is destroyed once, after it was read.
        unsafe {
            let environment = Environment::read(block.cast());
            DestroyEnvironmentBlock(block);
            Ok(environment)
        }
    }
}

/// See [`UserSession::login`].
pub(in crate::os) struct Login<'a> {
    pub token: &'a OwnedHandle,
    /// As the system takes it.
    pub environment: Vec<u16>,
    pub directory: PathBuf,
}

/// Variables by their names in capitals, which is how they are told apart here.
#[derive(Debug, Default)]
struct Environment(BTreeMap<OsString, (OsString, OsString)>);

impl Environment {
    /// # Safety
    /// `block` points to texts that end with a NUL each, and one more NUL.
    unsafe fn read(block: *const u16) -> Self {
        let mut environment = Self::default();
        let mut text = Vec::new();
        for at in 0..MAX_ENVIRONMENT {
            // SAFETY: by this function's contract there is a unit up to the second of two NULs, where this ends.
            match unsafe { *block.add(at) } {
                0 if text.is_empty() => break,
                0 => environment.add(&std::mem::take(&mut text)),
                unit => text.push(unit),
            }
        }
        environment
    }

    /// Names that begin with `=` are the system's own.
    fn add(&mut self, text: &[u16]) {
        let equals = text.iter().skip(1).position(|unit| *unit == u16::from(b'=')).map(|at| at + 1);
        if let Some((name, value)) = equals.and_then(|at| Some((text.get(..at)?, text.get(at + 1..)?))) {
            self.set(OsString::from_wide(name), OsString::from_wide(value));
        }
    }

    fn set(&mut self, name: OsString, value: OsString) {
        self.0.insert(name.to_ascii_uppercase(), (name, value));
    }

    fn with<'a>(mut self, changes: impl Iterator<Item = (&'a OsStr, Option<&'a OsStr>)>) -> Self {
        for (name, value) in changes {
            match value {
                Some(value) => self.set(name.to_owned(), value.to_owned()),
                None => drop(self.0.remove(&name.to_ascii_uppercase())),
            }
        }
        self
    }

    /// As the system takes it: in order, each with a NUL, and one more.
    fn block(&self) -> Vec<u16> {
        let mut block = Vec::new();
        for (name, value) in self.0.values() {
            block.extend(
                name.encode_wide()
                    .chain([u16::from(b'=')])
                    .chain(value.encode_wide())
                    .filter(|unit| *unit != 0),
            );
            block.push(0);
        }
        if block.is_empty() {
            block.push(0);
        }
        block.push(0);
        block
    }
}

/// The program and its arguments as one text. One with quotes in it was written as it is meant.
fn command_line(command: &std::process::Command) -> OsString {
    let mut line = quoted(command.get_program());
    for argument in command.get_args() {
        line.push(" ");
        let is_written = argument.as_encoded_bytes().contains(&b'"');
        line.push(if is_written { argument.to_owned() } else { quoted(argument) });
    }
    line
}

fn quoted(text: &OsStr) -> OsString {
    let mut quoted = OsString::from("\"");
    quoted.push(text);
    quoted.push("\"");
    quoted
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToProcess,
    FromProcess,
}

/// The process's end of a stream, which it inherits, and this one's, where there is something to say or to hear.
fn stream(is_used: bool, direction: Direction) -> io::Result<(OwnedHandle, Option<OwnedHandle>)> {
    let (theirs, ours) = if is_used {
        let (mut read, mut write) = (null_mut(), null_mut());
        // SAFETY: on success both ends are this process's to close; nobody inherits them yet.
        let (read, write) = unsafe {
            if CreatePipe(&mut read, &mut write, null(), 0) == 0 {
                return Err(io::Error::last_os_error());
            }
            (OwnedHandle::from_raw_handle(read), OwnedHandle::from_raw_handle(write))
        };
        match direction {
            Direction::ToProcess => (read, Some(write)),
            Direction::FromProcess => (write, Some(read)),
        }
    } else {
        let is_read = direction == Direction::ToProcess;
        let nothing = OpenOptions::new().read(is_read).write(!is_read).open("NUL")?;
        (nothing.into(), None)
    };
    let_inherit(&theirs)?;
    Ok((theirs, ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(texts: &[&str]) -> Environment {
        let block: Vec<u16> = texts.iter().flat_map(|text| wide(text)).chain([0]).collect();
        // SAFETY: made as it has to be.
        unsafe { Environment::read(block.as_ptr()) }
    }

    #[test]
    fn a_commands_variables_stand_over_the_users_whatever_their_case() {
        let users = environment(&["Path=C:\\Users\\ada", "=C:=C:\\", "TEMP=x=y", "GONE=1"]);
        let changes = [("PATH", Some("C:\\else")), ("colour", Some("blue")), ("gone", None)];
        let changes = changes.iter().map(|(name, value)| (OsStr::new(name), value.map(OsStr::new)));
        let block = OsString::from_wide(&users.with(changes).block()).into_string().unwrap();
        assert_eq!(block, "=C:=C:\\\0colour=blue\0PATH=C:\\else\0TEMP=x=y\0\0");
        assert_eq!(environment(&[]).block(), [0, 0]);
    }

    #[test]
    fn only_what_was_not_written_as_it_is_meant_is_quoted() {
        use std::os::windows::process::CommandExt;
        let mut command = std::process::Command::new(r"C:\a b\x.exe");
        command.args(["-u", r"C:\c d\y.py"]).raw_arg("/s /c \"\"z\"\"");
        assert_eq!(command_line(&command), r#""C:\a b\x.exe" "-u" "C:\c d\y.py" /s /c ""z"""#);
    }

    /// The tests' account is not the system.
    #[test]
    fn somebody_elses_session_is_not_served() {
        if account::is_system() {
            return;
        }
        assert!(matches!(
            UserSession::foremost(),
            Err(NoUserSession::Nobody | NoUserSession::Unsupported(_))
        ));
        assert_eq!(Desktop::all(), []);
    }
}
