//! GNOME's compositor tells on the session's bus, which lets in the session's user only. Others on Wayland tell nobody;
//! an X server is asked by the agent itself.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest line before a connection is open, and longest message after it.
const MAX_BYTES: u32 = 64 * 1024;
/// Messages that are read before the answer: the bus greets, too.
const MAX_MESSAGES: usize = 16;
/// Where the compositor answers, by "D-Bus Specification", section "Message Format": object, interface, method, destination.
const QUESTION: Call = Call {
    path: "/org/gnome/Mutter/IdleMonitor/Core",
    interface: "org.gnome.Mutter.IdleMonitor",
    member: "GetIdletime",
    destination: "org.gnome.Mutter.IdleMonitor",
};
/// What a bus wants to hear first.
const GREETING: Call = Call {
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
    member: "Hello",
    destination: "org.freedesktop.DBus",
};
const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;

/// There is nothing to keep: a connection of its own is made for each question, which comes every few seconds.
#[derive(Debug, Default)]
pub(super) struct Source;

impl Source {
    pub(super) async fn idle(&mut self) -> Option<Duration> {
        let address = std::env::var_os("DBUS_SESSION_BUS_ADDRESS")?;
        let path = socket(&address)?;
        let answer = timeout(PATIENCE, ask(&path)).await;
        answer.ok()?.ok().flatten()
    }
}

/// The first address that is a file's; the others are of kinds that a session's bus has on other systems.
fn socket(addresses: &OsStr) -> Option<PathBuf> {
    addresses.as_bytes().split(|byte| *byte == b';').find_map(|address| {
        let options = address.strip_prefix(b"unix:")?;
        let path = options.split(|byte| *byte == b',').find_map(|option| option.strip_prefix(b"path="))?;
        Some(PathBuf::from(OsStr::from_bytes(path)))
    })
}

async fn ask(socket: &Path) -> io::Result<Option<Duration>> {
    let mut bus = UnixStream::connect(socket).await?;
    sign_in(&mut bus).await?;
    bus.write_all(&GREETING.message(1)).await?;
    bus.write_all(&QUESTION.message(2)).await?;
    let mut answers = 0;
    for _ in 0..MAX_MESSAGES {
        let (kind, body) = message(&mut bus).await?;
        answers += usize::from(kind == METHOD_RETURN || kind == ERROR);
        // Answers come in the order of the calls, and the first is to the greeting.
        if answers == 2 {
            let milliseconds = (kind == METHOD_RETURN).then(|| body.try_into().ok()).flatten();
            return Ok(milliseconds.map(u64::from_le_bytes).map(Duration::from_millis));
        }
    }
    Ok(None)
}

/// `EXTERNAL`: the bus asks the system who this is.
async fn sign_in(bus: &mut UnixStream) -> io::Result<()> {
    let account = rustix::process::geteuid().as_raw().to_string();
    let account: String = account.bytes().map(|digit| format!("{digit:02x}")).collect();
    bus.write_all(format!("\0AUTH EXTERNAL {account}\r\n").as_bytes()).await?;
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        if line.len() > 512 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        line.push(bus.read_u8().await?);
    }
    if !line.starts_with(b"OK ") {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    bus.write_all(b"BEGIN\r\n").await
}

/// A call without arguments.
struct Call {
    path: &'static str,
    interface: &'static str,
    member: &'static str,
    destination: &'static str,
}

impl Call {
    /// A header: byte order, kind, flags, version, length of the body, number; then its fields, each a code and a
    /// value with its type in front, aligned to eight.
    fn message(&self, serial: u32) -> Vec<u8> {
        let mut fields = Vec::new();
        let texts = [
            (1, b'o', self.path),
            (2, b's', self.interface),
            (3, b's', self.member),
            (6, b's', self.destination),
        ];
        for (code, kind, text) in texts {
            align(&mut fields);
            fields.extend([code, 1, kind, 0]);
            fields.extend((text.len() as u32).to_le_bytes());
            fields.extend(text.bytes().chain([0]));
        }
        let mut message = vec![b'l', METHOD_CALL, 0, 1];
        for number in [0, serial, fields.len() as u32] {
            message.extend(number.to_le_bytes());
        }
        message.extend(fields);
        align(&mut message);
        message
    }
}

fn align(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(8), 0);
}

/// The next message's kind and body. This machine's programs write numbers as this machine does; all that Rust is built
/// for here begin with the lowest byte.
async fn message(bus: &mut UnixStream) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 16];
    bus.read_exact(&mut head).await?;
    let [b'l', kind, _, 1, b0, b1, b2, b3, _, _, _, _, f0, f1, f2, f3] = head else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let (body, fields) = (u32::from_le_bytes([b0, b1, b2, b3]), u32::from_le_bytes([f0, f1, f2, f3]));
    if body > MAX_BYTES || fields > MAX_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut skipped = vec![0; fields.next_multiple_of(8) as usize];
    bus.read_exact(&mut skipped).await?;
    let mut bytes = vec![0; body as usize];
    bus.read_exact(&mut bytes).await?;
    Ok((kind, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    struct Kill(Child);

    impl Drop for Kill {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn the_socket_of_the_bus_is_found_in_its_address() {
        let of = |text: &str| socket(OsStr::new(text)).map(|path| path.display().to_string());
        assert_eq!(of("unix:path=/run/user/1000/bus").as_deref(), Some("/run/user/1000/bus"));
        assert_eq!(of("tcp:host=x;unix:guid=1,path=/b,x=y").as_deref(), Some("/b"));
        for other in ["", "unix:abstract=/tmp/x", "unixexec:path=/bin/sh", "path=/x"] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    /// A bus without a compositor on it says so, which takes a greeting and a question that it understands.
    #[tokio::test]
    async fn a_real_bus_is_asked_and_says_that_nobody_tells() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bus");
        let bus = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--print-address"])
            .arg(format!("--address=unix:path={}", path.display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut bus) = bus.map(Kill) else { return };
        BufReader::new(bus.0.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        assert_eq!(timeout(PATIENCE, ask(&path)).await.unwrap().unwrap(), None);
    }

    /// As a compositor answers by way of the bus.
    #[tokio::test]
    async fn the_compositors_answer_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bus");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let answer = |kind: u8, body: &[u8]| {
            let mut message = vec![b'l', kind, 0, 1];
            for number in [body.len() as u32, 9, 8] {
                message.extend(number.to_le_bytes());
            }
            // The number of the call that is answered.
            message.extend([5, 1, b'u', 0, 1, 0, 0, 0]);
            message.extend(body);
            message
        };
        let bus = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = vec![0; 1024];
            assert!(stream.read(&mut bytes).await.unwrap() > 0);
            stream.write_all(b"OK 0123\r\n").await.unwrap();
            for (kind, body) in [(2, b"name".as_slice()), (4, b"signal"), (2, &1_234_567u64.to_le_bytes())] {
                stream.write_all(&answer(kind, body)).await.unwrap();
            }
            stream
        };
        let (_stream, idle) = tokio::join!(bus, ask(&path));
        assert_eq!(idle.unwrap(), Some(Duration::from_millis(1_234_567)));
    }
}
