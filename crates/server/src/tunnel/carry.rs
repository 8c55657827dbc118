//! What passes through a host: recorded, counted, and handed on.

use super::credit::Side;
use super::forwards;
use super::host::{Event, Host, Over, RECORDING_FAILED, ServerEnd, Way};
use super::relay::Stream;
use crate::app::App;
use crate::gateway::Line;
use crate::lanes::Lanes;
use crate::recordings::{Direction, Note, Recorder};
use chrono::Utc;
use gururmm_protocol::TunnelId;
use gururmm_protocol::tunnel::{ChannelId, Flags, Frame, FrameKind, SESSION_CHANNEL};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;

impl Host {
    /// Deals with what happened, until the session is over.
    pub(super) async fn follow(&self, happened: &mut mpsc::Receiver<Event>, recorder: &Recorder) -> Over {
        while let Some(event) = happened.recv().await {
            let noted = match &event {
                Event::Ready(_, ready) if self.state().ready.is_none() => {
                    recorder.note(Note::Ready { channels: ready.channels.clone() }).await
                }
                Event::Ready(..) => Ok(()),
                Event::Refused(_, refused) => {
                    recorder.note(Note::Refused { reason: refused.reason.as_str() }).await
                }
                Event::Lost(_) if self.state().ready.is_some() => recorder.note(Note::AgentLost).await,
                Event::Lost(_) => Ok(()),
                Event::Joined => recorder.note(Note::TechJoined).await,
                Event::Left => recorder.note(Note::TechLeft).await,
            };
            if noted.is_err() {
                return RECORDING_FAILED;
            }
            match event {
                Event::Ready(link, ready) => self.has(link, ready),
                Event::Refused(link, refused) => self.is_refused(link, refused),
                Event::Lost(link) => {
                    if self.lost(link) {
                        self.wake.notify_one();
                    }
                }
                Event::Joined | Event::Left => {}
            }
        }
        self.ended().await
    }

    /// Takes what the machine sends to the tech's side.
    pub(super) async fn carry_to_tech(&self, app: &App, recorder: &Recorder) -> Over {
        while let Some((channel, bytes)) = self.from_machine.pop().await {
            let target = self.target(channel);
            let (Some(target), Ok(frame)) = (target, Frame::read(&bytes)) else { continue };
            if is_recorded(&frame) && recorder.frame(Direction::FromMachine, &frame).await.is_err() {
                return RECORDING_FAILED;
            }
            self.moved.from_machine.fetch_add(u64::from(frame.cost()), Ordering::Relaxed);
            app.counters.tunnel_bytes_from_machines.add(u64::from(frame.cost()));
            self.forwards().comes(&frame, Utc::now());
            let is_bulk = frame.flags.has(Flags::BULK);
            let put = match target {
                // Unless another page is there meanwhile.
                Target::Socket(number, frames) => match self.state().socket.as_ref().map(|one| one.number) {
                    Some(now) if now == number => frames.push(channel, is_bulk, bytes),
                    _ => Ok(()),
                },
                Target::Server(end) => end.frames.push(channel, is_bulk, bytes),
            };
            if put.is_err() {
                self.broken("more waits for the tech than was granted");
            }
        }
        self.ended().await
    }

    /// Takes what the tech's side sends to the machine.
    pub(super) async fn carry_to_machine(&self, app: &App, recorder: &Recorder) -> Over {
        while let Some((channel, bytes)) = self.to_machine.pop().await {
            let Ok(frame) = Frame::read(&bytes) else { continue };
            if is_recorded(&frame) && recorder.frame(Direction::ToMachine, &frame).await.is_err() {
                return RECORDING_FAILED;
            }
            self.moved.to_machine.fetch_add(u64::from(frame.cost()), Ordering::Relaxed);
            app.counters.tunnel_bytes_to_machines.add(u64::from(frame.cost()));
            let first = self.forwards().goes(&frame, Utc::now());
            if let Some(address) = first
                && let Err(error) = forwards::note_first(app, self, &address).await
            {
                tracing::error!(session_id = %self.id(), %error, "what is reached through a machine cannot be noted");
                return RECORDING_FAILED;
            }
            enum Go {
                Line(Arc<Line>),
                Stream(Arc<Stream>),
            }
            let go = match &self.state().way {
                Way::None => continue,
                Way::Here(_, line) => Go::Line(Arc::clone(line)),
                Way::There(_, stream) => Go::Stream(Arc::clone(stream)),
            };
            match go {
                Go::Line(line) => {
                    line.frame_room().await;
                    let is_bulk = frame.flags.has(Flags::BULK);
                    let bytes = frame.to_bytes_of_session(TunnelId(self.id()));
                    line.send_frame((self.id(), channel), is_bulk, bytes.into());
                }
                Go::Stream(stream) => stream.send_frame(app, &bytes),
            }
        }
        self.ended().await
    }

    fn target(&self, channel: ChannelId) -> Option<Target> {
        let state = self.state();
        match Side::of(channel) {
            Side::Tech => {
                state.socket.as_ref().map(|socket| Target::Socket(socket.number, Arc::clone(&socket.frames)))
            }
            Side::Server => state.server_ends.get(&channel).map(|end| Target::Server(Arc::clone(end))),
        }
    }
}

enum Target {
    Socket(u64, Arc<Lanes<ChannelId>>),
    Server(Arc<ServerEnd>),
}

/// Whether a frame is part of what happened in the session: grants and pings are not.
fn is_recorded(frame: &Frame<'_>) -> bool {
    frame.channel != SESSION_CHANNEL && frame.kind != FrameKind::Credit
}
