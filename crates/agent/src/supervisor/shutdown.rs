//! Stopping in order and in time: commands, what they left to say, goodbye.

use super::{Link, Supervisor, Wake};
use crate::capabilities::commands::Stop;
use gururmm_protocol::{AgentMessage, encode};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long commands may take to end: asked two seconds, made one and a half.
const COMMANDS: Duration = Duration::from_millis(3_800);
/// How long their ends may take to be acknowledged; they are in the journal in any case.
const ACKNOWLEDGEMENTS: Duration = Duration::from_millis(300);
/// How long the disk may take for what it was not done with by then.
const LAST_SAMPLES: Duration = Duration::from_millis(300);
/// How long the goodbye may take.
const GOODBYE: Duration = Duration::from_millis(300);

impl Supervisor {
    /// Takes less than five seconds whatever server, network and commands do.
    pub(super) async fn shut_down(mut self) {
        tracing::info!(commands = self.running.len(), "agent stops");
        self.session.close();
        self.disk.write_all(self.session.outbox());
        if matches!(self.link, Link::Opening(_)) {
            self.link = Link::Down;
        }
        for running in self.running.values() {
            running.stop.send_replace(Some(Stop::Shutdown));
        }
        self.tunnels.close_all();
        let until = Instant::now() + COMMANDS;
        while (!self.running.is_empty() || self.tunnels.is_busy()) && Instant::now() < until {
            self.turn_once(until).await;
        }
        let until = Instant::now() + ACKNOWLEDGEMENTS;
        while self.session.is_online() && self.session.pending_commands() > 0 && Instant::now() < until {
            self.turn_once(until).await;
        }
        if let Link::Up(socket) = std::mem::replace(&mut self.link, Link::Down) {
            let goodbye = async {
                if let Ok(text) = encode(&AgentMessage::Goodbye {}) {
                    let _ = socket.outgoing.send(text).await;
                }
                socket.close().await;
            };
            // A server that hangs finds out by the closed connection.
            let _ = timeout(GOODBYE, goodbye).await;
        }
        self.disk.finish(self.session.outbox(), LAST_SAMPLES).await;
        self.update_status(|status| status.connected = false);
        if let Err(error) = self.runner.journal.sync() {
            tracing::warn!(%error, "the journal cannot be brought to disk");
        }
        tracing::info!("agent stopped");
    }

    async fn turn_once(&mut self, until: Instant) {
        self.turn();
        // A lost connection is not opened again: whoever waits to stop does not wait for a server.
        if matches!(self.link, Link::Opening(_)) {
            self.link = Link::Down;
        }
        let wake = self.wait(tokio::time::sleep_until(until.into())).await;
        if !matches!(wake, Wake::Stop) {
            self.handle(wake);
        }
    }
}
