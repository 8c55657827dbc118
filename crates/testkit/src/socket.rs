//! A WebSocket, driven by hand.

use crate::PATIENCE;
use crate::client::{Answer, Line, Stream};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::HeaderMap;
use serde_json::Value;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};

/// An open WebSocket. Whatever it waits for must come within [`PATIENCE`].
pub struct TestSocket {
    stream: WebSocketStream<Box<dyn Stream>>,
    /// The subprotocol the server picked.
    pub protocol: Option<String>,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    Binary(Bytes),
}

/// How a socket ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The close frame's code; absent when the connection just ended.
    pub code: Option<u16>,
    pub reason: String,
}

impl TestSocket {
    /// Opens one; the answer instead, when the server refuses.
    pub(crate) async fn open(line: &Line, path: &str, headers: &HeaderMap) -> Result<Self, Answer> {
        let opening = Self::open_on(line.connect().await, line, path, headers);
        let opened = timeout(PATIENCE, opening).await;
        match opened.unwrap_or_else(|_| panic!("{path}: no answer to the upgrade")) {
            Ok(answer) => answer,
            Err(error) => panic!("upgrade {path}: {error}"),
        }
    }

    /// The same on a connection that may break.
    pub(crate) async fn open_on(
        stream: Box<dyn Stream>,
        line: &Line,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Result<Self, Answer>, Box<Error>> {
        let mut request = format!("ws://{}{path}", line.to).into_client_request().unwrap();
        for (name, value) in headers {
            match name == http::header::HOST {
                true => drop(request.headers_mut().insert(name, value.clone())),
                false => drop(request.headers_mut().append(name, value.clone())),
            }
        }
        Ok(match tokio_tungstenite::client_async(request, stream).await {
            Ok((stream, response)) => {
                let protocol = response.headers().get("sec-websocket-protocol");
                let protocol = protocol.map(|value| value.to_str().unwrap().to_owned());
                Ok(Self { stream, protocol })
            }
            Err(Error::Http(response)) => {
                let (head, body) = response.into_parts();
                let body = Bytes::from(body.unwrap_or_default());
                Err(Answer {
                    what: format!("upgrade {path}"),
                    status: head.status,
                    headers: head.headers,
                    body,
                })
            }
            Err(error) => return Err(Box::new(error)),
        })
    }

    /// Sends a text frame.
    pub async fn send_text(&mut self, text: impl Into<String>) {
        self.send(Message::text(text.into())).await;
    }

    /// Sends a frame that says it is text, whatever its bytes are.
    pub async fn send_as_text(&mut self, bytes: impl Into<Bytes>) {
        self.send_frame(Frame::message(bytes, OpCode::Data(Data::Text), true)).await;
    }

    /// Sends a binary frame.
    pub async fn send_binary(&mut self, bytes: impl Into<Bytes>) {
        self.send(Message::binary(bytes.into())).await;
    }

    /// Sends a frame as it is, valid or not.
    pub async fn send_frame(&mut self, frame: Frame) {
        self.send(Message::Frame(frame)).await;
    }

    /// Puts bytes on the line as they are: frames that were made elsewhere. `false` when the server does not take them
    /// within this time, or has closed.
    pub async fn send_raw(&mut self, bytes: &[u8], within: Duration) -> bool {
        matches!(timeout(within, self.stream.get_mut().write_all(bytes)).await, Ok(Ok(())))
    }

    /// Sends JSON.
    pub async fn send_json(&mut self, value: &Value) {
        self.send_text(value.to_string()).await;
    }

    /// Sends; a peer that has closed already is no failure here: what it said is read next.
    async fn send(&mut self, message: Message) {
        match timeout(PATIENCE, self.stream.send(message)).await {
            Ok(_sent_or_closed) => {}
            Err(_) => panic!("the server does not read"),
        }
    }

    /// The next text frame; how it ended, where it ended.
    pub async fn next(&mut self) -> Result<String, Closed> {
        timeout(PATIENCE, self.next_ever()).await.unwrap_or_else(|_| panic!("the server says nothing"))
    }

    /// The same, however long it takes.
    pub async fn next_ever(&mut self) -> Result<String, Closed> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
                Some(Ok(Message::Close(frame))) => {
                    let code = frame.as_ref().map(|frame| frame.code.into());
                    let reason = frame.map(|frame| frame.reason.to_string()).unwrap_or_default();
                    return Err(Closed { code, reason });
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(Closed { code: None, reason: String::new() }),
            }
        }
    }

    /// The next text or binary frame; how it ended, where it ended.
    pub async fn next_any(&mut self) -> Result<Piece, Closed> {
        timeout(PATIENCE, self.next_any_ever()).await.unwrap_or_else(|_| panic!("the server says nothing"))
    }

    /// The same, however long it takes.
    pub async fn next_any_ever(&mut self) -> Result<Piece, Closed> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => return Ok(Piece::Text(text.to_string())),
                Some(Ok(Message::Binary(bytes))) => return Ok(Piece::Binary(bytes)),
                Some(Ok(Message::Close(frame))) => {
                    let code = frame.as_ref().map(|frame| frame.code.into());
                    let reason = frame.map(|frame| frame.reason.to_string()).unwrap_or_default();
                    return Err(Closed { code, reason });
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(Closed { code: None, reason: String::new() }),
            }
        }
    }

    /// The next text frame as JSON.
    pub async fn next_json(&mut self) -> Value {
        match self.next().await {
            Ok(text) => serde_json::from_str(&text).unwrap(),
            Err(closed) => panic!("the server closed: {closed:?}"),
        }
    }

    /// The next JSON frame of this `type`; others are passed over.
    pub async fn expect(&mut self, kind: &str) -> Value {
        let mut passed = Vec::new();
        let search = async {
            loop {
                match self.next().await {
                    Ok(text) => {
                        let value: Value = serde_json::from_str(&text).unwrap();
                        if value["type"] == kind {
                            return value;
                        }
                        passed.push(value["type"].clone());
                    }
                    Err(closed) => panic!("the server closed instead of sending {kind}: {closed:?}"),
                }
            }
        };
        let found = timeout(PATIENCE, search).await;
        found.unwrap_or_else(|_| panic!("no {kind} came, but {passed:?}"))
    }

    /// Waits for the end; frames before it are passed over.
    pub async fn closed(&mut self) -> Closed {
        let end = async {
            loop {
                if let Err(closed) = self.next().await {
                    return closed;
                }
            }
        };
        timeout(PATIENCE, end).await.unwrap_or_else(|_| panic!("the server does not close"))
    }

    /// Closes in order.
    pub async fn close(mut self) {
        let _closed_already = self.stream.close(None).await;
    }
}
