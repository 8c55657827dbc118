//! What agents say of themselves when they connect, and when their network changes.

use super::MachineType;
use super::list_store::UID_SOURCES;
use super::store;
use crate::alerts::{self, NewAlert, Severity, Subject};
use crate::app::App;
use crate::audit::Entry;
use crate::auth::Scope;
use crate::auth::permission::System;
use crate::bus::{Event, Topic};
use crate::db::{Said, Tx};
use crate::error::Error;
use crate::gateway::{AgentSession, MachineClock};
use chrono::{DateTime, TimeDelta, Utc};
use gururmm_protocol::limits::clean;
use gururmm_protocol::negotiate;
use gururmm_protocol::network::NetworkState;
use gururmm_protocol::system::{MachineIdentity, SystemInfo, UidSource};
use gururmm_protocol::to_server::Hello;
use gururmm_protocol::update::UpdateAbility;
use serde_json::json;

/// Stores what a machine is now. Writes only what changed: a fleet that comes back says the same as before.
pub async fn on_hello(
    app: &App,
    tx: &mut Tx<System>,
    session: &AgentSession,
    hello: &Hello,
) -> Result<(), Error> {
    let said = said(app, hello)?;
    if store::set_system(tx, session, &said.stored(None)).await? {
        emit_changed(tx, session).await?;
    }
    check_identity(tx, session, &said.system.hostname, &said.identity).await
}

/// What a machine says of itself, within limits.
pub struct Machine {
    system: SystemInfo,
    system_json: serde_json::Value,
    identity: MachineIdentity,
    agent_version: String,
    protocol: Option<String>,
}

/// What a hello says of the machine.
pub fn said(app: &App, hello: &Hello) -> Result<Machine, Error> {
    let (mut system, mut identity) = (hello.system.clone(), hello.identity.clone());
    let mut agent_version = hello.agent_version.clone();
    system.clean();
    identity.clean();
    clean(&mut agent_version, 64);
    let protocol = negotiate(&app.protocols.served(), &hello.protocols).map(|version| version.to_string());
    let system_json = serde_json::to_value(&system).map_err(Error::internal)?;
    Ok(Machine { system, system_json, identity, agent_version, protocol })
}

impl Machine {
    /// As it is stored.
    pub fn stored<'a>(&'a self, update: Option<&'a UpdateAbility>) -> Said<'a> {
        let machine_type = self.system.virtualization.as_deref().map(|said| MachineType::of(said).as_str());
        Said {
            hostname: &self.system.hostname,
            os_type: self.system.os_type.as_str(),
            os_version: &self.system.os_version,
            arch: &self.system.arch,
            agent_version: &self.agent_version,
            protocol: self.protocol.as_deref(),
            system: &self.system_json,
            machine_type,
            machine_uid: &self.identity.machine_uid,
            update,
        }
    }
}

/// Stores the machine's network state, if it is another than before.
pub async fn on_network_state(app: &App, session: &AgentSession, state: &NetworkState) -> Result<(), Error> {
    let mut state = state.clone();
    state.clean();
    let state = serde_json::to_value(&state).map_err(Error::internal)?;
    let mut tx = app.db.begin(&Scope::agent(session.agent_id, session.tenant_id, &session.hostname)).await?;
    if store::set_network(&mut tx, session, &state).await? {
        emit_changed(&mut tx, session).await?;
    }
    tx.commit().await
}

/// From here on people are told that a machine's clock is wrong: sign-ins, certificates and logs on it suffer, though
/// nothing of ours does.
const CLOCK_IS_WRONG: TimeDelta = TimeDelta::minutes(5);
/// From here on it is right again; less, so that a clock at the limit does not raise one alert after the other.
const CLOCK_IS_RIGHT: TimeDelta = TimeDelta::minutes(4);

/// Compares the machine's clock with the server's, and raises an alert when it is wrong, or resolves that when it is
/// right again. Writes only when that changes, or is not known yet in this session.
pub async fn on_clock(app: &App, session: &AgentSession, clock: DateTime<Utc>) -> Result<(), Error> {
    const KIND: &str = "agent.clock_skew";
    let offset = clock - Utc::now();
    let before = app.gateway.machine_clock(session.agent_id);
    let is_wrong = is_clock_wrong(offset, before.is_some_and(|before| before.is_wrong));
    let offset_ms = offset.num_milliseconds();
    if before.is_none_or(|before| before.is_wrong != is_wrong) {
        let mut tx = app.db.begin(&session.scope()).await?;
        if is_wrong {
            let title = format!("The clock of {} is {}", session.hostname, in_words(offset));
            alert(&mut tx, session, KIND, &title, json!({ "clock_offset_ms": offset_ms })).await?;
        } else {
            alerts::resolve_cause(&mut tx, &dedup_key(KIND, session)).await?;
        }
        if before.is_some() || is_wrong {
            emit_changed(&mut tx, session).await?;
        }
        tx.commit().await?;
    }
    app.gateway.set_machine_clock(session, MachineClock { offset_ms, is_wrong });
    Ok(())
}

fn is_clock_wrong(offset: TimeDelta, was_wrong: bool) -> bool {
    offset.abs() > if was_wrong { CLOCK_IS_RIGHT } else { CLOCK_IS_WRONG }
}

/// `3 h behind`: the largest unit that says enough.
fn in_words(offset: TimeDelta) -> String {
    let (minutes, side) =
        (offset.num_minutes().abs(), if offset < TimeDelta::zero() { "behind" } else { "ahead" });
    let (count, unit) = match minutes {
        0..120 => (minutes, "min"),
        120..2_880 => (minutes / 60, "h"),
        _ => (minutes / 1_440, "d"),
    };
    format!("{count} {unit} {side}")
}

/// What to do about the identity a known key comes with.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    /// It is the known one, or a worse source's.
    Nothing,
    /// A better source: the uid is upgraded in place.
    Upgrade,
    /// Another uid of the same source: the disk moved to another machine, or was copied.
    Changed,
}

fn compare(known: &store::Identity, offered: &MachineIdentity) -> Finding {
    let is_known = known.machine_uid == offered.machine_uid
        || known.shared_uid.as_deref() == Some(offered.machine_uid.as_str());
    let known_source = UID_SOURCES.into_iter().find(|source| source.as_str() == known.machine_uid_source);
    let known_source = known_source.unwrap_or(UidSource::OsId);
    // UidSource orders the best source first.
    match offered.machine_uid_source.cmp(&known_source) {
        _ if is_known || offered.machine_uid.len() < 8 => Finding::Nothing,
        std::cmp::Ordering::Less => Finding::Upgrade,
        std::cmp::Ordering::Equal => Finding::Changed,
        std::cmp::Ordering::Greater => Finding::Nothing,
    }
}

async fn check_identity<P>(
    tx: &mut Tx<P>,
    session: &AgentSession,
    hostname: &str,
    offered: &MachineIdentity,
) -> Result<(), Error> {
    let known = store::identity(tx, session.agent_id).await?.ok_or_else(Error::not_found)?;
    let detail = json!({
        "offered_source": offered.machine_uid_source,
        "known_source": known.machine_uid_source,
    });
    match compare(&known, offered) {
        Finding::Nothing => Ok(()),
        Finding::Upgrade if store::upgrade_identity(tx, session.agent_id, offered).await? => {
            let entry = Entry::new("agent.identity_upgrade", "agent", session.agent_id);
            tx.audit(entry.named(hostname).with(detail)).await
        }
        // The machine works on under its own key; a person has to look.
        Finding::Upgrade => {
            let title = format!("{hostname} has the identity of another machine");
            alert(tx, session, "agent.identity_collision", &title, detail).await
        }
        Finding::Changed => {
            let title = format!("{hostname} runs on other hardware than before");
            alert(tx, session, "agent.identity_changed", &title, detail).await
        }
    }
}

async fn alert<P>(
    tx: &mut Tx<P>,
    session: &AgentSession,
    kind: &'static str,
    title: &str,
    detail: serde_json::Value,
) -> Result<(), Error> {
    let AgentSession { agent_id, client_id, site_id, .. } = *session;
    let alert = NewAlert {
        kind,
        severity: Severity::Warning,
        title,
        detail,
        dedup_key: &dedup_key(kind, session),
        subject: Subject { agent_id, client_id, site_id },
    };
    alerts::raise(tx, alert).await
}

fn dedup_key(kind: &str, session: &AgentSession) -> String {
    format!("{kind}:{}", session.agent_id)
}

async fn emit_changed<P>(tx: &mut Tx<P>, session: &AgentSession) -> Result<(), Error> {
    let event = Event::new(Topic::AgentChanged, session.tenant_id, session.agent_id);
    tx.emit(event.at(session.client_id, Some(session.site_id)).on_agent(session.agent_id)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(uid: &str, source: UidSource, shared: Option<&str>) -> store::Identity {
        store::Identity {
            machine_uid: uid.to_owned(),
            machine_uid_source: source.as_str().to_owned(),
            shared_uid: shared.map(str::to_owned),
        }
    }

    fn offered(uid: &str, source: UidSource) -> MachineIdentity {
        let machine_uid = uid.to_owned();
        MachineIdentity { machine_uid, machine_uid_source: source, board_serial: None, disk_serial: None }
    }

    #[test]
    fn a_clock_is_wrong_beyond_five_minutes_and_right_again_below_four() {
        let offset = |seconds| TimeDelta::seconds(seconds);
        assert!(!is_clock_wrong(offset(299), false) && is_clock_wrong(offset(-301), false));
        assert!(is_clock_wrong(offset(241), true) && !is_clock_wrong(offset(-239), true));
        assert_eq!(in_words(offset(-36_000)), "10 h behind");
        assert_eq!(in_words(offset(400)), "6 min ahead");
        assert_eq!(in_words(offset(31_536_000)), "365 d ahead");
    }

    #[test]
    fn only_a_better_source_changes_the_uid_and_another_machine_is_noticed() {
        use UidSource::{BoardAndDisk, OsId, SmbiosUuid};
        let os_id = known("uid-of-os", OsId, None);
        assert_eq!(compare(&os_id, &offered("uid-of-os", OsId)), Finding::Nothing);
        assert_eq!(compare(&os_id, &offered("uid-of-smbios", SmbiosUuid)), Finding::Upgrade);
        assert_eq!(compare(&os_id, &offered("uid-of-board", BoardAndDisk)), Finding::Upgrade);
        assert_eq!(compare(&os_id, &offered("another-os-id", OsId)), Finding::Changed);
        let smbios = known("uid-of-smbios", SmbiosUuid, None);
        assert_eq!(compare(&smbios, &offered("uid-of-os", OsId)), Finding::Nothing);
        assert_eq!(compare(&smbios, &offered("another-smbios", SmbiosUuid)), Finding::Changed);
        let twin = known("own-uid#1", SmbiosUuid, Some("uid-of-smbios"));
        assert_eq!(compare(&twin, &offered("uid-of-smbios", SmbiosUuid)), Finding::Nothing);
    }
}
