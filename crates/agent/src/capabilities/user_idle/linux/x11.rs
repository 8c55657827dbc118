//! As much of the X protocol (version 11) as one question takes: sign in, find the MIT-SCREEN-SAVER extension, ask it.
//!
//! Written here and not taken from a library, because a root's agent must be able to drop the conversation at any
//! byte: an X server may be dead and still be connected to.

use super::display::{COOKIE_NAME, Display};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Largest description of a server's screens that is read.
const MAX_SETUP_BYTES: usize = 256 * 1024;
/// Every reply here, and every event and error.
const REPLY_BYTES: usize = 32;
const EXTENSION: &[u8] = b"MIT-SCREEN-SAVER";
const QUERY_EXTENSION: u8 = 98;
/// Of the extension.
const QUERY_INFO: u8 = 1;

#[derive(Debug, thiserror::Error)]
pub(super) enum X11Error {
    #[error("the connection to the display failed")]
    Io(#[from] io::Error),
    #[error("the display does not let the agent in")]
    Refused,
    #[error("the display has no screen saver extension")]
    NoExtension,
    #[error("the display's answer is not understood")]
    Malformed,
}

/// Time since the last input. Takes as long as the server lets it: the caller limits that.
pub(super) async fn idle(display: &Display) -> Result<Duration, X11Error> {
    let mut connection = Connection::open(display).await?;
    let opcode = connection.extension().await?;
    let [a, b, c, d] = connection.root;
    let reply = connection.ask(&[opcode, QUERY_INFO, 2, 0, a, b, c, d]).await?;
    let milliseconds = bytes_at(&reply, 16).ok_or(X11Error::Malformed)?;
    Ok(Duration::from_millis(u32::from_le_bytes(milliseconds).into()))
}

pub(super) struct Connection {
    stream: UnixStream,
    /// The first screen's root window.
    root: [u8; 4],
}

impl Connection {
    pub(super) async fn open(display: &Display) -> Result<Self, X11Error> {
        let path = format!("/tmp/.X11-unix/X{}", display.number);
        let mut stream = match UnixStream::connect(&path).await {
            Ok(stream) => stream,
            // The same name without a file, for a server whose /tmp is another.
            Err(_) => UnixStream::connect(format!("\0{path}")).await?,
        };
        stream.write_all(&setup(display)).await?;
        let mut head = [0; 8];
        stream.read_exact(&mut head).await?;
        if head[0] != 1 {
            return Err(X11Error::Refused);
        }
        let length = usize::from(u16::from_le_bytes([head[6], head[7]])) * 4;
        if length > MAX_SETUP_BYTES {
            return Err(X11Error::Malformed);
        }
        let mut setup = vec![0; length];
        stream.read_exact(&mut setup).await?;
        Ok(Self { root: root(&setup).ok_or(X11Error::Malformed)?, stream })
    }

    pub(super) async fn extension(&mut self) -> Result<u8, X11Error> {
        let mut request = vec![QUERY_EXTENSION, 0, 2 + units(EXTENSION), 0, EXTENSION.len() as u8, 0, 0, 0];
        push_padded(&mut request, EXTENSION);
        let reply = self.ask(&request).await?;
        if reply[8] == 0 { Err(X11Error::NoExtension) } else { Ok(reply[9]) }
    }

    /// Sends a request and reads its reply, past events that came before it.
    async fn ask(&mut self, request: &[u8]) -> Result<[u8; REPLY_BYTES], X11Error> {
        self.send(request).await?;
        loop {
            let mut reply = [0; REPLY_BYTES];
            self.stream.read_exact(&mut reply).await?;
            match reply[0] {
                1 if reply[4..8] == [0; 4] => return Ok(reply),
                // An error, or a reply of a length that none of these has.
                0 | 1 => return Err(X11Error::Malformed),
                _ => {}
            }
        }
    }

    pub(super) async fn send(&mut self, request: &[u8]) -> Result<(), X11Error> {
        Ok(self.stream.write_all(request).await?)
    }
}

/// Little-endian, version 11.0, and who is there.
fn setup(display: &Display) -> Vec<u8> {
    let (name, cookie) = match &display.cookie {
        Some(cookie) => (COOKIE_NAME, cookie.0.as_slice()),
        None => (b"".as_slice(), b"".as_slice()),
    };
    let mut request = vec![b'l', 0, 11, 0, 0, 0];
    request.extend((name.len() as u16).to_le_bytes());
    request.extend((cookie.len() as u16).to_le_bytes());
    request.extend([0, 0]);
    push_padded(&mut request, name);
    push_padded(&mut request, cookie);
    request
}

/// After 32 bytes of figures come the vendor's name, eight bytes for every pixmap format, and the screens.
fn root(setup: &[u8]) -> Option<[u8; 4]> {
    let vendor = usize::from(u16::from_le_bytes(bytes_at(setup, 16)?));
    let [screens, formats] = bytes_at(setup, 20)?;
    let first = 32 + vendor.next_multiple_of(4) + usize::from(formats) * 8;
    if screens == 0 { None } else { bytes_at(setup, first) }
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn units(text: &[u8]) -> u8 {
    text.len().div_ceil(4) as u8
}

fn push_padded(request: &mut Vec<u8>, text: &[u8]) {
    request.extend(text);
    request.resize(request.len().next_multiple_of(4), 0);
}
