//! Reading ahead from an agent that sends much. Its WebSocket asks for 512 bytes at a time, so that tens of thousands of quiet
//! agents cost little; a transfer would be read from the system in that many pieces.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Read at once while there is much.
const AHEAD_BYTES: usize = 32 * 1024;

/// A stream that is read ahead from as soon as it fills what is asked for. It keeps nothing while it is quiet.
#[derive(Debug)]
pub struct ReadAhead<S> {
    inner: S,
    buffer: Vec<u8>,
    /// What of the buffer was handed on.
    taken: usize,
    has_more: bool,
}

impl<S> ReadAhead<S> {
    /// Nothing is read yet.
    pub fn new(inner: S) -> Self {
        Self { inner, buffer: Vec::new(), taken: 0, has_more: false }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.taken == this.buffer.len() {
            if !this.has_more || out.remaining() >= AHEAD_BYTES {
                (this.buffer, this.taken) = (Vec::new(), 0);
                let (before, room) = (out.filled().len(), out.remaining());
                let read = Pin::new(&mut this.inner).poll_read(cx, out);
                this.has_more = out.filled().len() - before == room && room > 0;
                return read;
            }
            this.taken = 0;
            this.buffer.resize(AHEAD_BYTES, 0);
            let mut ahead = ReadBuf::new(&mut this.buffer);
            let read = Pin::new(&mut this.inner).poll_read(cx, &mut ahead);
            let filled = ahead.filled().len();
            this.buffer.truncate(filled);
            this.has_more = filled > out.remaining();
            if !matches!(read, Poll::Ready(Ok(()))) {
                (this.buffer, this.has_more) = (Vec::new(), false);
                return read;
            }
        }
        let rest = this.buffer.get(this.taken..).unwrap_or_default();
        let part = rest.get(..out.remaining()).unwrap_or(rest);
        out.put_slice(part);
        this.taken += part.len();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn what_was_written_is_read_however_it_is_cut(
            pieces in proptest::collection::vec(1_usize..90_000, 1..8),
            asked in 1_usize..2_000,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (written, read) = runtime.block_on(async {
                let (mut from, to) = duplex(64 * 1024);
                let all: Vec<u8> = (0..pieces.iter().sum::<usize>()).map(|byte| (byte % 251) as u8).collect();
                let (sent, mut to) = (all.clone(), ReadAhead::new(to));
                let writing = tokio::spawn(async move {
                    let mut rest = &sent[..];
                    for piece in pieces {
                        let (now, later) = rest.split_at(piece);
                        from.write_all(now).await.unwrap();
                        rest = later;
                        tokio::task::yield_now().await;
                    }
                });
                let (mut read, mut part) = (Vec::new(), vec![0; asked]);
                loop {
                    let bytes = to.read(&mut part).await.unwrap();
                    if bytes == 0 {
                        break;
                    }
                    read.extend_from_slice(&part[..bytes]);
                }
                writing.await.unwrap();
                (all, read)
            });
            prop_assert!(written == read);
        }
    }

    #[tokio::test]
    async fn a_quiet_stream_keeps_nothing() {
        let (mut from, to) = duplex(64 * 1024);
        let mut to = ReadAhead::new(to);
        let mut part = [0; 512];
        from.write_all(&[7; 20_000]).await.unwrap();
        let mut read = 0;
        let mut most = 0;
        while read < 20_000 {
            read += to.read(&mut part).await.unwrap();
            most = most.max(to.buffer.capacity());
        }
        assert!(most >= AHEAD_BYTES, "it was read ahead");
        from.write_all(b"quiet").await.unwrap();
        to.read_exact(&mut part[..5]).await.unwrap();
        let waits = tokio::time::timeout(std::time::Duration::from_millis(10), to.read(&mut part)).await;
        assert!(waits.is_err());
        assert_eq!(to.buffer.capacity(), 0);
    }
}
