//! Which addresses were reached through a machine in a session, and how much went there and back: for the audit log.

use super::host::Host;
use crate::app::App;
use crate::audit::Entry;
use crate::auth::Scope;
use crate::auth::permission::System;
use crate::db::Tx;
use crate::error::Error;
use chrono::{DateTime, Utc};
use gururmm_protocol::tunnel::{ChannelId, Frame, FrameKind, Open, OpenChannel};
use serde::Serialize;
use serde_json::json;
use std::collections::HashMap;

/// Addresses that one session's end names one by one.
const ADDRESSES: usize = 100;

/// What one address was reached for.
#[derive(Debug, Clone, Serialize)]
pub struct Reached {
    pub address: String,
    pub connections: u64,
    pub bytes_to_machine: u64,
    pub bytes_from_machine: u64,
    pub first_at: DateTime<Utc>,
    pub last_at: DateTime<Utc>,
}

/// All of a session.
#[derive(Debug, Default)]
pub struct Forwards {
    open: HashMap<ChannelId, String>,
    reached: HashMap<String, Reached>,
}

impl Forwards {
    /// A frame on its way to the machine; answers an address that is reached for the first time.
    pub fn goes(&mut self, frame: &Frame<'_>, now: DateTime<Utc>) -> Option<String> {
        if frame.kind != FrameKind::Open {
            self.count(frame, now, |reached| &mut reached.bytes_to_machine);
            return None;
        }
        let OpenChannel::Forward(forward) = frame.json::<Open>().ok()?.channel else { return None };
        let address: String = format!("{}:{}", forward.host, forward.port).chars().take(300).collect();
        let is_new = !self.reached.contains_key(&address);
        if is_new && self.reached.len() >= ADDRESSES {
            // Told each time, for it is not added up.
            return Some(address);
        }
        self.open.insert(frame.channel, address.clone());
        let reached = self.reached.entry(address.clone()).or_insert_with(|| Reached {
            address: address.clone(),
            connections: 0,
            bytes_to_machine: 0,
            bytes_from_machine: 0,
            first_at: now,
            last_at: now,
        });
        reached.connections += 1;
        is_new.then_some(address)
    }

    /// A frame on its way from the machine.
    pub fn comes(&mut self, frame: &Frame<'_>, now: DateTime<Utc>) {
        self.count(frame, now, |reached| &mut reached.bytes_from_machine);
    }

    fn count(&mut self, frame: &Frame<'_>, now: DateTime<Utc>, bytes: impl Fn(&mut Reached) -> &mut u64) {
        let Some(address) = self.open.get(&frame.channel) else { return };
        if let Some(reached) = self.reached.get_mut(address) {
            reached.last_at = now;
            if let (FrameKind::Data, Ok((_, piece))) = (frame.kind, frame.data()) {
                *bytes(reached) += piece.len() as u64;
            }
        }
        if frame.kind == FrameKind::End {
            self.open.remove(&frame.channel);
        }
    }

    /// All that was reached since the last time it was asked for.
    pub fn take(&mut self) -> Vec<Reached> {
        self.open.clear();
        let mut all: Vec<Reached> = std::mem::take(&mut self.reached).into_values().collect();
        all.sort_by(|one, other| one.address.cmp(&other.address));
        all
    }
}

/// Notes an address that is about to be reached for the first time.
pub async fn note_first(app: &App, host: &Host, address: &str) -> Result<(), Error> {
    let mut tx = app.db.begin(&scope(host)).await?;
    let detail = json!({ "agent_id": host.facts.agent_id, "address": address });
    let entry = Entry::new("tunnel.forward", "tunnel", host.id()).named(&host.facts.hostname);
    tx.audit(entry.with(detail)).await?;
    tx.commit().await
}

/// Notes all that was reached, when the host is done.
pub async fn note_all<P>(tx: &mut Tx<P>, host: &Host, reached: &[Reached]) -> Result<(), Error> {
    if reached.is_empty() {
        return Ok(());
    }
    let detail = json!({ "agent_id": host.facts.agent_id, "addresses": reached });
    let entry = Entry::new("tunnel.forwards", "tunnel", host.id()).named(&host.facts.hostname);
    tx.audit(entry.with(detail)).await
}

/// In the tech's name: it is done for her.
fn scope(host: &Host) -> Scope<System> {
    let facts = &host.facts;
    let tech = Some((facts.tech_id, facts.tech_name.as_str()));
    Scope::proven("tunnel", Some(facts.tenant_id), tech, crate::http::RequestInfo::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gururmm_protocol::tunnel::Flags;
    use gururmm_protocol::tunnel::forward::OpenForward;
    use gururmm_protocol::tunnel::frame::{data_body, json_body};

    fn frame(channel: ChannelId, kind: FrameKind, body: &[u8]) -> Frame<'_> {
        Frame { channel, kind, flags: Flags::default(), body }
    }

    fn open(host: &str) -> Vec<u8> {
        let channel = OpenChannel::Forward(OpenForward { host: host.to_owned(), port: 443 });
        json_body(&Open { window: 1, channel }).unwrap()
    }

    #[test]
    fn connections_and_bytes_of_an_address_are_added_up_and_other_channels_do_not_count() {
        let (mut forwards, now) = (Forwards::default(), Utc::now());
        let (db, web) = (open("db.example.com"), open("web.example.com"));
        let data = data_body(0, b"12345");
        assert_eq!(
            forwards.goes(&frame(1, FrameKind::Open, &db), now).as_deref(),
            Some("db.example.com:443")
        );
        assert_eq!(forwards.goes(&frame(2, FrameKind::Open, &db), now), None, "known already");
        assert!(forwards.goes(&frame(3, FrameKind::Open, &web), now).is_some());
        for channel in [1, 2, 9] {
            forwards.goes(&frame(channel, FrameKind::Data, &data), now);
            forwards.comes(&frame(channel, FrameKind::Data, &data), now);
        }
        forwards.comes(&frame(1, FrameKind::End, b"{}"), now);
        forwards.comes(&frame(1, FrameKind::Data, &data), now);
        let all = forwards.take();
        let figures: Vec<_> = all
            .iter()
            .map(|one| (one.address.as_str(), one.connections, one.bytes_to_machine, one.bytes_from_machine))
            .collect();
        assert_eq!(figures, [("db.example.com:443", 2, 10, 10), ("web.example.com:443", 1, 0, 0)]);
        assert_eq!(forwards.take().len(), 0);
    }
}
