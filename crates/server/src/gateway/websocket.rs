//! The server's side of RFC 6455 for agents' sockets, over a stream that has been upgraded. What is read and written goes
//! through memory that is given back when it is empty: a socket that waits holds no buffer, and most of them wait.
//!
//! It takes what agents send: text, whole or in fragments, and control frames. No extension is ever agreed on.

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes};
use futures_util::{Sink, Stream};
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Read from the stream at once, on the stack.
const READ_BYTES: usize = 8 * 1024;
/// Answers to pings that may wait for a peer that does not read; further ones are left out.
const PONGS_BYTES: usize = 1024;
/// The most that a control frame may hold.
const CONTROL_BYTES: usize = 125;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// Why nothing more can be read.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("the link broke")]
    Link(#[from] io::Error),
    #[error("not a frame: {0}")]
    Frame(&'static str),
    #[error("more than {0} bytes in a message")]
    TooLarge(usize),
    #[error("text that is not UTF-8")]
    NotUtf8,
}

/// A WebSocket whose messages are no larger than its limit.
#[derive(Debug)]
pub struct WebSocket<S> {
    stream: S,
    limit: usize,
    /// What came and is not yet a whole frame.
    incoming: Vec<u8>,
    /// The fragments of a message so far, and whether it is text.
    fragments: Option<(bool, Vec<u8>)>,
    /// What waits to be written, and how much of it is.
    outgoing: Vec<u8>,
    written: usize,
    is_over: bool,
}

/// A frame that has come.
struct Frame {
    is_last: bool,
    opcode: u8,
    payload: Vec<u8>,
}

impl<S> WebSocket<S> {
    /// The handshake is over, and nothing of what follows it has been read.
    pub fn new(stream: S, limit: usize) -> Self {
        Self {
            stream,
            limit,
            incoming: Vec::new(),
            fragments: None,
            outgoing: Vec::new(),
            written: 0,
            is_over: false,
        }
    }

    /// Takes the next frame out of what came, if all of it did.
    fn frame(&mut self) -> Result<Option<Frame>, WireError> {
        let [first, second, rest @ ..] = self.incoming.as_slice() else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(WireError::Frame("reserved bits"));
        }
        if second & 0x80 == 0 {
            return Err(WireError::Frame("not masked"));
        }
        let (is_last, opcode) = (first & 0x80 != 0, first & 0x0f);
        let (length, rest) = match second & 0x7f {
            126 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return Ok(None),
            },
            length => (u64::from(length), rest),
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if opcode >= CLOSE && (length > CONTROL_BYTES || !is_last) {
            return Err(WireError::Frame("a control frame in parts, or too large"));
        }
        // Before any of it is kept.
        if length > self.limit {
            return Err(WireError::TooLarge(self.limit));
        }
        let Some((mask, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let Some((masked, rest)) = rest.split_at_checked(length) else { return Ok(None) };
        let payload = masked.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        // New memory of the right size, or none.
        self.incoming = rest.to_vec();
        Ok(Some(Frame { is_last, opcode, payload }))
    }

    /// What a frame says, if it completes a message.
    fn message(&mut self, frame: Frame) -> Result<Option<Message>, WireError> {
        let Frame { is_last, opcode, payload } = frame;
        let (is_text, payload) = match (opcode, self.fragments.take()) {
            (PING, fragments) => {
                self.fragments = fragments;
                if self.outgoing.len() - self.written < PONGS_BYTES {
                    self.put(PONG, &payload);
                }
                return Ok(Some(Message::Ping(payload.into())));
            }
            (PONG, fragments) => {
                self.fragments = fragments;
                return Ok(Some(Message::Pong(payload.into())));
            }
            (CLOSE, _) => {
                self.is_over = true;
                return Ok(Some(Message::Close(close_frame(&payload)?)));
            }
            (CONTINUATION, Some((is_text, mut all))) => {
                if all.len() + payload.len() > self.limit {
                    return Err(WireError::TooLarge(self.limit));
                }
                all.extend(payload);
                (is_text, all)
            }
            (TEXT | BINARY, None) => (opcode == TEXT, payload),
            _ => return Err(WireError::Frame("out of order, or of no known kind")),
        };
        if !is_last {
            self.fragments = Some((is_text, payload));
            return Ok(None);
        }
        let payload = Bytes::from(payload);
        Ok(Some(match is_text {
            true => Message::Text(Utf8Bytes::try_from(payload).map_err(|_| WireError::NotUtf8)?),
            false => Message::Binary(payload),
        }))
    }

    /// Appends a frame to what is to be written. Servers do not mask.
    fn put(&mut self, opcode: u8, payload: &[u8]) {
        self.outgoing.reserve_exact(payload.len() + 10);
        self.outgoing.push(0x80 | opcode);
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(length @ ..126), _) => self.outgoing.push(length),
            (_, Ok(length)) => {
                self.outgoing.push(126);
                self.outgoing.extend(length.to_be_bytes());
            }
            _ => {
                self.outgoing.push(127);
                self.outgoing.extend((payload.len() as u64).to_be_bytes());
            }
        }
        self.outgoing.extend_from_slice(payload);
    }
}

fn close_frame(payload: &[u8]) -> Result<Option<CloseFrame>, WireError> {
    match payload.split_first_chunk() {
        Some((code, reason)) => {
            let reason = str::from_utf8(reason).map_err(|_| WireError::NotUtf8)?;
            Ok(Some(CloseFrame { code: u16::from_be_bytes(*code), reason: reason.into() }))
        }
        None if payload.is_empty() => Ok(None),
        None => Err(WireError::Frame("half a close code")),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Writes what waits; ready when nothing does.
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.outgoing.get(self.written..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        (self.outgoing, self.written) = (Vec::new(), 0);
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for WebSocket<S> {
    type Item = Result<Message, WireError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let socket = self.get_mut();
        loop {
            if socket.is_over {
                return Poll::Ready(None);
            }
            let came = match socket.frame() {
                Ok(Some(frame)) => socket.message(frame),
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            };
            match came {
                Ok(Some(message)) => {
                    if matches!(message, Message::Ping(_)) {
                        // As far as the stream takes it now; the rest goes with what is sent next.
                        let _pong_waits = socket.poll_write_out(cx);
                    }
                    return Poll::Ready(Some(Ok(message)));
                }
                Ok(None) => {}
                Err(error) => {
                    socket.is_over = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
            let mut room = [MaybeUninit::uninit(); READ_BYTES];
            let mut read = ReadBuf::uninit(&mut room);
            match ready!(Pin::new(&mut socket.stream).poll_read(cx, &mut read)) {
                Ok(()) if read.filled().is_empty() => {
                    socket.is_over = true;
                    return Poll::Ready(None);
                }
                Ok(()) => {
                    socket.incoming.reserve_exact(read.filled().len());
                    socket.incoming.extend_from_slice(read.filled());
                }
                Err(error) => {
                    socket.is_over = true;
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sink<Message> for WebSocket<S> {
    type Error = WireError;

    /// Ready when everything before is written.
    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        self.get_mut().poll_write_out(cx).map_err(WireError::from)
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), WireError> {
        let socket = self.get_mut();
        match message {
            Message::Text(text) => socket.put(TEXT, text.as_bytes()),
            Message::Binary(bytes) => socket.put(BINARY, &bytes),
            Message::Ping(bytes) => socket.put(PING, &bytes),
            Message::Pong(bytes) => socket.put(PONG, &bytes),
            Message::Close(None) => socket.put(CLOSE, &[]),
            Message::Close(Some(CloseFrame { code, reason })) => {
                let mut payload = code.to_be_bytes().to_vec();
                payload.extend_from_slice(reason.as_bytes());
                socket.put(CLOSE, &payload);
            }
        }
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        self.get_mut().poll_write_out(cx).map_err(WireError::from)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        let socket = self.get_mut();
        ready!(socket.poll_write_out(cx))?;
        Pin::new(&mut socket.stream).poll_shutdown(cx).map_err(WireError::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{SinkExt as _, StreamExt as _};
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    const LIMIT: usize = 70_000;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            length @ 0..126 => frame.push(0x80 | length as u8),
            length @ 126..65_536 => {
                frame.push(0x80 | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            length => {
                frame.push(0x80 | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        let mask = [7, 0, 200, 91];
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    /// What the server hears of these bytes, which come in pieces of this size.
    async fn heard(bytes: &[u8], piece: usize) -> Vec<Result<Message, String>> {
        let (mut theirs, ours) = duplex(1 << 20);
        let mut socket = WebSocket::new(ours, LIMIT);
        let mut heard = Vec::new();
        for piece in bytes.chunks(piece) {
            theirs.write_all(piece).await.unwrap();
            while let Some(message) = futures_util::FutureExt::now_or_never(socket.next()) {
                let Some(message) = message else { return heard };
                heard.push(message.map_err(|error| error.to_string()));
            }
        }
        drop(theirs);
        while let Some(message) = socket.next().await {
            heard.push(message.map_err(|error| error.to_string()));
        }
        heard
    }

    #[tokio::test]
    async fn messages_are_heard_however_they_come() {
        let long = "x".repeat(65_536);
        let mut bytes = masked(0x81, b"one");
        bytes.extend(masked(0x01, "tw\u{f6} \u{2013}".as_bytes().split_at(3).0));
        bytes.extend(masked(0x89, b"ping"));
        bytes.extend(masked(0x80, "tw\u{f6} \u{2013}".as_bytes().split_at(3).1));
        bytes.extend(masked(0x81, &[b'y'; 200]));
        bytes.extend(masked(0x81, long.as_bytes()));
        bytes.extend(masked(0x88, &[0x03, 0xe8, b'.']));
        bytes.extend(masked(0x81, b"after the close"));
        for piece in [1, 7, 1_000, 1 << 19] {
            let heard = heard(&bytes, piece).await;
            let expected = [
                Message::Text("one".into()),
                Message::Ping(Bytes::from_static(b"ping")),
                Message::Text("tw\u{f6} \u{2013}".into()),
                Message::Text("y".repeat(200).into()),
                Message::Text(long.clone().into()),
                Message::Close(Some(CloseFrame { code: 1000, reason: ".".into() })),
            ];
            assert_eq!(heard, expected.map(Ok));
        }
    }

    #[tokio::test]
    async fn what_is_no_frame_ends_the_socket() {
        let unmasked = [0x81, 1, b'a'];
        let huge = [&[0x81, 0xff][..], &u64::MAX.to_be_bytes(), &[0; 4]].concat();
        let grows: Vec<u8> = [masked(0x01, &[b'a'; 60_000]), masked(0x80, &[b'a'; 60_000])].concat();
        for (bytes, why) in [
            (unmasked.to_vec(), "not a frame: not masked"),
            (masked(0xc1, b"a"), "not a frame: reserved bits"),
            (masked(0x09, b"a"), "not a frame: a control frame in parts, or too large"),
            (masked(0x89, &[0; 126]), "not a frame: a control frame in parts, or too large"),
            (masked(0x80, b"a"), "not a frame: out of order, or of no known kind"),
            (masked(0x83, b"a"), "not a frame: out of order, or of no known kind"),
            (
                [masked(0x01, b"a"), masked(0x81, b"b")].concat(),
                "not a frame: out of order, or of no known kind",
            ),
            (masked(0x81, &[0xff]), "text that is not UTF-8"),
            (masked(0x88, &[3]), "not a frame: half a close code"),
            (huge, "more than 70000 bytes in a message"),
            (grows, "more than 70000 bytes in a message"),
        ] {
            let mut bytes = bytes;
            bytes.extend(masked(0x81, b"never heard"));
            assert_eq!(heard(&bytes, 1 << 19).await, [Err(why.to_owned())]);
        }
    }

    #[tokio::test]
    async fn what_is_said_has_the_shortest_head_and_a_ping_is_answered() {
        let (mut theirs, ours) = duplex(1 << 20);
        let mut socket = WebSocket::new(ours, LIMIT);
        theirs.write_all(&masked(0x89, b"hi")).await.unwrap();
        assert!(matches!(socket.next().await, Some(Ok(Message::Ping(_)))));
        for length in [125, 126, 65_535, 65_536] {
            socket.send(Message::Text("z".repeat(length).into())).await.unwrap();
        }
        socket.send(Message::Close(Some(CloseFrame { code: 1012, reason: "".into() }))).await.unwrap();
        drop(socket);
        let mut said = Vec::new();
        theirs.read_to_end(&mut said).await.unwrap();
        let heads = [&[0x8a, 2, b'h', b'i', 0x81, 125][..], &[0x81, 126, 0, 126], &[0x81, 126, 255, 255]];
        let mut at = 0;
        for (head, length) in heads.iter().zip([125, 126, 65_535]) {
            assert_eq!(&said[at..at + head.len()], *head);
            at += head.len() + length;
        }
        assert_eq!(said[at..at + 10], [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(said[at + 10 + 65_536..], [0x88, 2, 0x03, 0xf4]);
    }

    #[tokio::test]
    async fn a_socket_that_waits_holds_no_memory() {
        let (mut theirs, ours) = duplex(1 << 20);
        let mut socket = WebSocket::new(ours, LIMIT);
        theirs.write_all(&masked(0x81, &[b'a'; 60_000])).await.unwrap();
        assert!(matches!(socket.next().await, Some(Ok(Message::Text(_)))));
        socket.send(Message::Text("z".repeat(60_000).into())).await.unwrap();
        assert_eq!((socket.incoming.capacity(), socket.outgoing.capacity()), (0, 0));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_keep_more_than_it_may(bytes in proptest::collection::vec(any::<u8>(), 0..400), piece in 1..50_usize) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let heard = runtime.block_on(heard(&bytes, piece));
            prop_assert!(heard.iter().filter(|message| message.is_err()).count() <= 1);
        }
    }
}
