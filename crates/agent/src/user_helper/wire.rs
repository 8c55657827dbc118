//! What helper and watchdog say to one another: lines of JSON, short and few. Both are the same program, so there is one
//! version of it at a time.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::marker::PhantomData;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Of what is said here.
pub const VERSION: u32 = 1;
/// Longest line, with its end.
pub const MAX_FRAME_BYTES: usize = 256;

/// What a helper can say. Numbers only: nothing here names a program, a file or an account, and the watchdog knows whose
/// helper speaks from whom it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub enum FromHelper {
    /// First of all.
    Hello {
        /// [`VERSION`] of the helper.
        version: u32,
    },
    /// It lives.
    Ping {},
    /// It lives, and knows since when nobody has touched keyboard or mouse.
    Idle {
        /// Since then.
        seconds: u64,
    },
}

/// What it is answered; each line has one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub enum ToHelper {
    /// To a hello.
    Welcome {},
    /// To everything else.
    Noted {},
}

/// Why the other side is not listened to any more.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// It went, or the system says so.
    #[error("the connection ended")]
    Io(#[source] io::Error),
    /// More bytes than a line has.
    #[error("a line of more than {MAX_FRAME_BYTES} bytes")]
    TooLong,
    /// No line that is known.
    #[error("a line that means nothing")]
    Meaningless,
}

/// A message as a line.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    // Structures of numbers always have a text.
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Reads lines, and never keeps more than one.
#[derive(Debug)]
pub struct Frames<S, T> {
    source: S,
    buffer: [u8; MAX_FRAME_BYTES],
    filled: usize,
    message: PhantomData<T>,
}

impl<S: AsyncRead + Unpin, T: DeserializeOwned> Frames<S, T> {
    /// Of what comes from `source`.
    pub fn new(source: S) -> Self {
        Self { source, buffer: [0; MAX_FRAME_BYTES], filled: 0, message: PhantomData }
    }

    /// The next message. Nothing is lost when it is not waited for.
    pub async fn next(&mut self) -> Result<T, WireError> {
        loop {
            let filled = self.buffer.get(..self.filled).unwrap_or_default();
            if let Some(end) = filled.iter().position(|byte| *byte == b'\n') {
                let message = serde_json::from_slice(filled.get(..end).unwrap_or_default());
                self.buffer.copy_within(end + 1..self.filled, 0);
                self.filled -= end + 1;
                return message.map_err(|_| WireError::Meaningless);
            }
            let room = self.buffer.get_mut(self.filled..).filter(|room| !room.is_empty());
            let read = self.source.read(room.ok_or(WireError::TooLong)?).await.map_err(WireError::Io)?;
            if read == 0 {
                return Err(WireError::Io(io::ErrorKind::UnexpectedEof.into()));
            }
            self.filled += read;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn messages(bytes: &[u8]) -> (Vec<FromHelper>, WireError) {
        let mut frames = Frames::<_, FromHelper>::new(bytes);
        let mut messages = Vec::new();
        loop {
            match frames.next().await {
                Ok(message) => messages.push(message),
                Err(error) => return (messages, error),
            }
        }
    }

    #[tokio::test]
    async fn lines_are_read_as_they_were_written() {
        let said =
            [FromHelper::Hello { version: 7 }, FromHelper::Ping {}, FromHelper::Idle { seconds: u64::MAX }];
        let bytes: Vec<u8> = said.iter().flat_map(encode).collect();
        let (read, end) = messages(&bytes).await;
        assert_eq!(read, said);
        assert!(matches!(end, WireError::Io(_)));
    }

    #[tokio::test]
    async fn what_is_no_line_of_the_helpers_is_refused() {
        let long = [b"{\"verb\":\"ping\"".as_slice(), &[b' '; MAX_FRAME_BYTES], b"}\n"].concat();
        assert!(matches!(messages(&long).await.1, WireError::TooLong));
        assert!(matches!(messages(&[0; 4096]).await.1, WireError::TooLong));
        let bad = [
            "\n",
            "{}\n",
            "ping\n",
            "[]\n",
            "{\"verb\":\"run\",\"program\":\"/bin/sh\"}\n",
            "{\"verb\":\"hello\"}\n",
            "{\"verb\":\"hello\",\"version\":\"1\"}\n",
            "{\"verb\":\"ping\",\"program\":\"/bin/sh\"}\n",
            "{\"verb\":\"idle\",\"seconds\":-1}\n",
            "{\"verb\":\"idle\",\"seconds\":1,\"program\":\"/bin/sh\"}\n",
            "{\"verb\":\"idle\",\"seconds\":1} {}\n",
            "\u{0}\u{ff}\n",
        ];
        for line in bad {
            assert!(matches!(messages(line.as_bytes()).await.1, WireError::Meaningless), "{line:?}");
        }
    }

    /// A verb that is added here has to be looked at, too: none may name a program.
    #[test]
    fn no_verb_takes_a_path() {
        for verb in [FromHelper::Hello { version: 1 }, FromHelper::Ping {}, FromHelper::Idle { seconds: 1 }] {
            match verb {
                FromHelper::Hello { version: _ } | FromHelper::Ping {} | FromHelper::Idle { seconds: _ } => {}
            }
            let value = serde_json::to_value(verb).unwrap();
            let fields = value.as_object().unwrap().iter().filter(|(name, _)| *name != "verb");
            assert!(fields.map(|(_, value)| value).all(serde_json::Value::is_u64), "{value}");
        }
    }
}
