//! By Windows' pseudo-consoles, which it has since version 1809: the calls are looked for, so that the agent starts without
//! them. Before, the program has pipes, and what makes them a little like a terminal is done elsewhere. Everything that the
//! program starts is in a job, and ends with the terminal.
#![expect(unsafe_code, reason = "the system's calls about consoles and processes")]

use super::Program;
use crate::os;
use crate::os::process_tree::{Job, wake};
use crate::os::user_session::UserSession;
use crate::os::windows::attribute::{Attribute, let_inherit};
use crate::os::windows::process::Started;
use crate::os::windows::wide::wide;
use gururmm_protocol::tunnel::terminal::TerminalSize;
use std::ffi::OsString;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};
use std::sync::LazyLock;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::time::timeout;
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::Console::{COORD, HPCON};
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
use windows_sys::Win32::System::Pipes::CreatePipe;
use windows_sys::Win32::System::Threading::{
    CREATE_NO_WINDOW, CREATE_SUSPENDED, CREATE_UNICODE_ENVIRONMENT, CreateProcessAsUserW, CreateProcessW,
    EXTENDED_STARTUPINFO_PRESENT, PROCESS_INFORMATION, STARTF_USESTDHANDLES, STARTUPINFOEXW, STARTUPINFOW,
};
use windows_sys::core::HRESULT;

/// How long what is left on the screen may take to come.
const LAST_SHOWN: Duration = Duration::from_millis(500);

/// A running program and its terminal. Dropped: the program is ended, with all that it started.
#[derive(Debug)]
pub struct Terminal {
    pub screen: Screen,
    pub keyboard: Keyboard,
    pub shell: Shell,
    takes_lines: bool,
    job: Job,
}

/// What is shown.
#[derive(Debug)]
pub struct Screen(ChildStdout);

/// What is typed.
#[derive(Debug)]
pub struct Keyboard(ChildStdin);

/// The program.
#[derive(Debug)]
pub struct Shell {
    process: Started,
    /// Gone: hung up, or there was none. What was printed before still comes.
    console: Option<Console>,
}

impl Terminal {
    /// Starts `program` in a new console, or behind pipes where there are none to be had: as the user of that session, or as
    /// this process's account.
    pub fn start(program: &Program, size: TerminalSize, session: Option<&UserSession>) -> io::Result<Self> {
        match CALLS.as_ref() {
            Some(calls) => Self::in_console(calls, program, size, session),
            None => Self::behind_pipes(program, session),
        }
    }

    fn in_console(
        calls: &'static Calls,
        program: &Program,
        size: TerminalSize,
        session: Option<&UserSession>,
    ) -> io::Result<Self> {
        let (their_input, input) = pipe()?;
        let (output, their_output) = pipe()?;
        let console = Console::new(calls, size, &their_input, &their_output)?;
        let job = Job::new()?;
        let process = start(program, &Seat::Console(&console), session)?;
        Self::of(job, process, Some(console), (input, output))
    }

    /// What it prints is UTF-8, as in a console: the interpreter, whose console nobody sees, is told so.
    fn behind_pipes(program: &Program, session: Option<&UserSession>) -> io::Result<Self> {
        let mut program = program.clone();
        if program.path.file_name().is_some_and(|name| name.eq_ignore_ascii_case("cmd.exe")) {
            program.arguments.extend(["/k", "chcp 65001 >nul"].map(OsString::from));
        }
        let (their_input, input) = pipe()?;
        let (output, their_output) = pipe()?;
        let job = Job::new()?;
        let process = start(&program, &Seat::Pipes([&their_input, &their_output]), session)?;
        Self::of(job, process, None, (input, output))
    }

    /// Of a program that sleeps still.
    fn of(
        job: Job,
        process: Started,
        console: Option<Console>,
        (input, output): (OwnedHandle, OwnedHandle),
    ) -> io::Result<Self> {
        job.take_in(&process.handle)?;
        wake(process.pid)?;
        Ok(Self {
            screen: Screen(ChildStdout::from_std(output.into())?),
            keyboard: Keyboard(ChildStdin::from_std(input.into())?),
            takes_lines: console.is_none(),
            shell: Shell { process, console },
            job,
        })
    }

    /// Whether it is none, and the shell reads lines from a pipe.
    pub fn takes_lines(&self) -> bool {
        self.takes_lines
    }

    /// The window has another size.
    pub fn resize(&self, size: TerminalSize) -> io::Result<()> {
        self.shell.console.as_ref().map_or(Ok(()), |console| console.resize(size))
    }

    /// Hangs up, and ends what does not go by itself.
    pub async fn end(mut self) {
        let hung_up = self.shell.hang_up();
        if let Err(error) = self.job.terminate() {
            tracing::warn!(%error, "what a terminal's shell started is not ended");
        }
        let drained = async {
            let mut buffer = [0; 4096];
            while self.screen.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
        };
        // Older systems do not close a console before all that it shows is read.
        let _ = timeout(LAST_SHOWN, drained).await;
        drop(hung_up);
    }
}

impl Screen {
    /// What the screen shows next. Nothing: nobody can write to it any more.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer).await {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
            read => read,
        }
    }
}

impl Keyboard {
    /// Types; says how many bytes went.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.0.write(bytes).await?;
        self.0.flush().await?;
        Ok(count)
    }
}

impl Shell {
    /// How the program ended. To be asked again and again; nothing is lost when the answer is not waited for.
    pub async fn exit(&mut self) -> Option<i64> {
        let status = self.process.wait().await;
        // Else its output had no end.
        drop(self.hang_up());
        status.ok().and_then(|status| status.code()).map(i64::from)
    }

    /// On a thread of its own, for it may wait for who reads.
    fn hang_up(&mut self) -> Option<tokio::task::JoinHandle<()>> {
        let console = self.console.take()?;
        Some(tokio::task::spawn_blocking(move || drop(console)))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // One that ended refuses.
        let _ = self.job.terminate();
        if let Some(console) = self.shell.console.take() {
            std::thread::spawn(move || drop(console));
        }
    }
}

type Create = unsafe extern "system" fn(COORD, HANDLE, HANDLE, u32, *mut HPCON) -> HRESULT;
type Resize = unsafe extern "system" fn(HPCON, COORD) -> HRESULT;
type Close = unsafe extern "system" fn(HPCON);

/// The system's calls about pseudo-consoles.
#[derive(Debug)]
struct Calls {
    create: Create,
    resize: Resize,
    close: Close,
}

/// Absent before version 1809. Wine has them, too, and shows nothing of a program that an agent starts.
static CALLS: LazyLock<Option<Calls>> = LazyLock::new(|| Calls::find().filter(|_| !is_wine()));

fn is_wine() -> bool {
    let library = wide("ntdll.dll");
    // SAFETY: names end with a NUL; the library is in every process and stays.
    unsafe {
        let library = GetModuleHandleW(library.as_ptr());
        !library.is_null() && GetProcAddress(library, c"wine_get_version".as_ptr().cast()).is_some()
    }
}

impl Calls {
    fn find() -> Option<Self> {
        let library = wide("kernel32.dll");
        // SAFETY: names end with a NUL; the library is in every process and stays; the calls have these shapes since there are
        // any of them.
        unsafe {
            let library = GetModuleHandleW(library.as_ptr());
            if library.is_null() {
                return None;
            }
            let call = |name: &'static [u8]| GetProcAddress(library, name.as_ptr());
            let (create, resize, close) = (
                call(b"CreatePseudoConsole\0")?,
                call(b"ResizePseudoConsole\0")?,
                call(b"ClosePseudoConsole\0")?,
            );
            Some(Calls {
                create: std::mem::transmute::<unsafe extern "system" fn() -> isize, Create>(create),
                resize: std::mem::transmute::<unsafe extern "system" fn() -> isize, Resize>(resize),
                close: std::mem::transmute::<unsafe extern "system" fn() -> isize, Close>(close),
            })
        }
    }
}

#[derive(Debug)]
struct Console {
    handle: HPCON,
    calls: &'static Calls,
}

impl Console {
    fn new(
        calls: &'static Calls,
        size: TerminalSize,
        input: &OwnedHandle,
        output: &OwnedHandle,
    ) -> io::Result<Self> {
        let mut handle = 0;
        // SAFETY: both handles are open; the console makes its own of them.
        let result = unsafe {
            (calls.create)(window(size), input.as_raw_handle(), output.as_raw_handle(), 0, &mut handle)
        };
        check(result).map(|()| Self { handle, calls })
    }

    fn resize(&self, size: TerminalSize) -> io::Result<()> {
        // SAFETY: the console is open.
        check(unsafe { (self.calls.resize)(self.handle, window(size)) })
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // SAFETY: it is open, and closed once.
        unsafe { (self.calls.close)(self.handle) };
    }
}

fn window(size: TerminalSize) -> COORD {
    let clamp = |characters: u16| i16::try_from(characters).unwrap_or(i16::MAX);
    COORD { X: clamp(size.columns), Y: clamp(size.rows) }
}

fn check(result: HRESULT) -> io::Result<()> {
    if result >= 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(result)) }
}

/// The end to read, and the one to write.
fn pipe() -> io::Result<(OwnedHandle, OwnedHandle)> {
    let (mut read, mut write) = (null_mut(), null_mut());
    // SAFETY: on success both ends are this process's to close; nobody inherits them.
    unsafe {
        if CreatePipe(&mut read, &mut write, null(), 0) == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((OwnedHandle::from_raw_handle(read), OwnedHandle::from_raw_handle(write)))
    }
}

/// What a program reads and writes.
enum Seat<'a> {
    Console(&'a Console),
    /// Its input, and its output of both kinds.
    Pipes([&'a OwnedHandle; 2]),
}

/// Starts the program asleep.
fn start(program: &Program, seat: &Seat<'_>, session: Option<&UserSession>) -> io::Result<Started> {
    let login = session.map(UserSession::login).transpose()?;
    let own = os::default_working_directory();
    let directory = wide(login.as_ref().map_or(&own, |login| &login.directory));
    let path = wide(&program.path);
    let mut line = wide(command_line(program));
    // With none given, it has its console's. Else it would get the agent's where these lead somewhere.
    let (mut streams, mut inherits, mut hidden) = ([null_mut(); 2], 0, 0);
    let attribute = match seat {
        Seat::Console(console) => Attribute::console(console.handle)?,
        Seat::Pipes(pipes) => {
            pipes.iter().try_for_each(|pipe| let_inherit(pipe))?;
            (streams, inherits, hidden) = (pipes.map(AsRawHandle::as_raw_handle), 1, CREATE_NO_WINDOW);
            Attribute::handles(&streams)?
        }
    };
    let startup = STARTUPINFOEXW {
        StartupInfo: STARTUPINFOW {
            cb: size_of::<STARTUPINFOEXW>() as u32,
            dwFlags: STARTF_USESTDHANDLES,
            hStdInput: streams[0],
            hStdOutput: streams[1],
            hStdError: streams[1],
            ..STARTUPINFOW::default()
        },
        lpAttributeList: attribute.list(),
    };
    let flags = CREATE_SUSPENDED | CREATE_UNICODE_ENVIRONMENT | EXTENDED_STARTUPINFO_PRESENT | hidden;
    let environment = login.as_ref().map_or(null(), |login| login.environment.as_ptr().cast());
    let mut started = PROCESS_INFORMATION::default();
    // SAFETY: texts end with a NUL, the environment with two, where there is one; all of it lives until the calls return.
    let is_started = unsafe {
        let (path, line, directory) = (path.as_ptr(), line.as_mut_ptr(), directory.as_ptr());
        let startup = std::ptr::from_ref(&startup.StartupInfo);
        match &login {
            Some(login) => CreateProcessAsUserW(
                login.token.as_raw_handle(),
                path,
                line,
                null(),
                null(),
                inherits,
                flags,
                environment,
                directory,
                startup,
                &mut started,
            ),
            None => CreateProcessW(
                path,
                line,
                null(),
                null(),
                inherits,
                flags,
                environment,
                directory,
                startup,
                &mut started,
            ),
        }
    };
    if is_started == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both were just made for this process to close.
    unsafe {
        drop(OwnedHandle::from_raw_handle(started.hThread));
        Ok(Started::new(OwnedHandle::from_raw_handle(started.hProcess), started.dwProcessId))
    }
}

/// The program in quotes, then its arguments, which need none.
fn command_line(program: &Program) -> OsString {
    let mut line = OsString::from("\"");
    line.push(&program.path);
    line.push("\"");
    for argument in &program.arguments {
        line.push(" ");
        line.push(argument);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::folders;
    use std::time::Instant;
    use windows_sys::Win32::Foundation::E_NOTIMPL;

    const SIZE: TerminalSize = TerminalSize { columns: 80, rows: 24 };

    /// Wine does not make the console a program's standard streams, as Windows does: this shell is told to use it.
    fn start() -> Terminal {
        let arguments = ["/d", "/c", "cmd.exe", "<CON", ">CON"].map(OsString::from).to_vec();
        let program = Program { path: folders::system().join("cmd.exe"), arguments };
        let calls = Box::leak(Box::new(Calls::find().unwrap()));
        Terminal::in_console(calls, &program, SIZE, None).unwrap()
    }

    /// What is shown until `text` is.
    async fn until(terminal: &mut Terminal, text: &str) -> String {
        let (mut shown, mut buffer) = (String::new(), [0; 4096]);
        let until = Instant::now() + Duration::from_secs(30);
        while !shown.contains(text) {
            let read = timeout(Duration::from_secs(30), terminal.screen.read(&mut buffer)).await;
            let count = read.unwrap_or_else(|_| panic!("only this is shown: {shown:?}")).unwrap();
            assert!(count > 0 && Instant::now() < until, "only this is shown: {shown:?}");
            shown.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        shown
    }

    async fn type_in(terminal: &mut Terminal, mut text: &[u8]) {
        while !text.is_empty() {
            let count = terminal.keyboard.write(text).await.unwrap();
            text = &text[count..];
        }
    }

    #[tokio::test]
    async fn a_shell_is_typed_into_and_says_how_it_ended() {
        let mut terminal = start();
        type_in(&mut terminal, b"echo a-%OS%-b\r").await;
        until(&mut terminal, "a-Windows_NT-b").await;
        // Wine's windows keep their size.
        let not_implemented = |error: &io::Error| error.raw_os_error() == Some(E_NOTIMPL);
        let resized = terminal.resize(TerminalSize { columns: 100, rows: 30 });
        assert!(resized.as_ref().err().is_none_or(not_implemented), "{resized:?}");
        type_in(&mut terminal, b"exit 7\r").await;
        let exit_code = timeout(Duration::from_secs(30), terminal.shell.exit()).await.unwrap();
        assert_eq!(exit_code, Some(7));
        terminal.end().await;
    }

    /// What a Windows without consoles for it does, and what is done here anyway.
    #[tokio::test]
    async fn behind_pipes_a_shell_takes_lines_and_says_how_it_ended() {
        let program = Program { path: folders::system().join("cmd.exe"), arguments: Vec::new() };
        let mut terminal = Terminal::start(&program, SIZE, None).unwrap();
        assert!(terminal.takes_lines() && !start().takes_lines());
        type_in(&mut terminal, b"echo a-%OS%-b\r\n").await;
        until(&mut terminal, "a-Windows_NT-b").await;
        terminal.resize(TerminalSize { columns: 100, rows: 30 }).unwrap();
        type_in(&mut terminal, "echo gr\u{fc}n\r\n".as_bytes()).await;
        // What it prints is UTF-8. Wine's reads in code page 437, whatever its console's is.
        until(&mut terminal, "gr\u{251c}\u{255d}n").await;
        type_in(&mut terminal, b"exit 7\r\n").await;
        let exit_code = timeout(Duration::from_secs(30), terminal.shell.exit()).await.unwrap();
        assert_eq!(exit_code, Some(7));
        terminal.end().await;
    }

    #[tokio::test]
    async fn what_a_shell_started_ends_with_it() {
        let mut terminal = start();
        type_in(&mut terminal, b"ping -n 300 127.0.0.1\r").await;
        until(&mut terminal, "127.0.0.1").await;
        let until = Instant::now() + Duration::from_secs(30);
        while terminal.job.active().unwrap() < 3 {
            assert!(Instant::now() < until, "nothing was started");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let begun = Instant::now();
        timeout(Duration::from_secs(30), terminal.end()).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
