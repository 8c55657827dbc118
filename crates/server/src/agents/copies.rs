//! A key that was copied with its disk: two machines, one credential. They are never one agent, both are shown, and the
//! one that is not the known machine gets nothing of its history.

use super::admission::{PendingReason, is_a_serial};
use super::credential::NewKey;
use super::store;
use crate::alerts::{self, NewAlert, Severity, Subject};
use crate::app::App;
use crate::audit::Entry;
use crate::bus::{Event, Topic};
use crate::db::Tx;
use crate::error::Error;
use crate::gateway::{AgentSession, Machine};
use gururmm_protocol::system::MachineIdentity;
use serde_json::json;

/// Records of copies of one key that wait at the same time; more only count the alert up. Whoever has the key can say it
/// is ever another machine.
const MAX_COPIES: i64 = 10;

/// What two sessions with one key turn out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meeting {
    /// It reconnects, and its former session is dead without knowing it.
    SameMachine,
    NewcomerIsCopy,
    /// The machine that is there is the copy, and the newcomer the known machine.
    OtherIsCopy,
}

/// Compares a newcomer with the machine whose session still lives. The one that is not the known machine is set aside as
/// a record of its own, and people are told.
pub async fn meet(
    app: &App,
    session: &AgentSession,
    newcomer: &Machine,
    (there, there_epoch): (&Machine, i64),
) -> Result<Meeting, Error> {
    if !is_other_hardware(&newcomer.identity, &there.identity) {
        return Ok(Meeting::SameMachine);
    }
    let mut tx = app.db.begin(&session.scope()).await?;
    let known = store::identity(&mut tx, session.agent_id).await?.ok_or_else(Error::not_found)?;
    let is_known = |machine: &Machine| {
        let uid = machine.identity.machine_uid.as_str();
        known.machine_uid == uid || known.shared_uid.as_deref() == Some(uid)
    };
    let (copy, meeting) = match is_known(newcomer) && !is_known(there) {
        true => (there, Meeting::OtherIsCopy),
        false => (newcomer, Meeting::NewcomerIsCopy),
    };
    set_aside(app, &mut tx, session, copy).await?;
    if meeting == Meeting::NewcomerIsCopy {
        // The session that goes on is the living one again, unless yet another has come.
        store::give_back_epoch(&mut tx, session, there_epoch).await?;
    }
    tx.commit().await?;
    Ok(meeting)
}

/// Two machines with the same hardware ids, such as a snapshot that was started beside its original: nobody can say which
/// is which, but a person has to know.
pub async fn on_shared_key(
    app: &App,
    session: &AgentSession,
    one: &Machine,
    other: &Machine,
) -> Result<(), Error> {
    let mut tx = app.db.begin(&session.scope()).await?;
    let title = format!("Two machines use the key of {}", session.hostname);
    let machines = [one, other].map(|machine| {
        let Machine { system, peer, .. } = machine;
        json!({ "hostname": system.hostname, "address": peer, "boot_time": system.boot_time })
    });
    let detail = json!({ "machines": machines });
    raise(&mut tx, session, "agent.key_shared", &title, detail).await?;
    tx.commit().await
}

async fn set_aside<P>(
    app: &App,
    tx: &mut Tx<P>,
    session: &AgentSession,
    copy: &Machine,
) -> Result<(), Error> {
    let waiting = store::waiting_newcomers(tx, &copy.identity.machine_uid, session.site_id).await?;
    // Nobody has its key: the machine gets one when it enrolls for itself.
    let new = match waiting.is_empty() {
        true => store::insert_copy(tx, session, copy, &NewKey::mint(&app.keys), MAX_COPIES).await?,
        false => None,
    };
    if let Some(id) = new {
        let event = Event::new(Topic::AgentPending, session.tenant_id, id);
        tx.emit(event.at(session.client_id, Some(session.site_id)).on_agent(id)).await?;
    }
    let record = new.or(waiting.first().map(|earlier| earlier.agent_id));
    let hostname = copy.system.hostname.as_str();
    let title = format!("{hostname} uses a copy of the key of {}", session.hostname);
    let detail = json!({ "copy_id": record, "hostname": hostname, "address": copy.peer });
    raise(tx, session, "agent.key_copied", &title, detail).await?;
    if let Some(id) = new {
        let detail = json!({ "pending_reason": PendingReason::KeyCopied, "key_of": session.agent_id });
        tx.audit(Entry::new("agent.copy_found", "agent", id).named(hostname).with(detail)).await?;
    }
    Ok(())
}

async fn raise<P>(
    tx: &mut Tx<P>,
    session: &AgentSession,
    kind: &'static str,
    title: &str,
    detail: serde_json::Value,
) -> Result<(), Error> {
    let AgentSession { agent_id, client_id, site_id, .. } = *session;
    let alert = NewAlert {
        kind,
        severity: Severity::Critical,
        title,
        detail,
        dedup_key: &format!("{kind}:{agent_id}"),
        subject: Subject { agent_id, client_id, site_id },
    };
    alerts::raise(tx, alert).await
}

/// Whether two are surely not one machine: another uid of the same source, or another board. A disk may be changed.
fn is_other_hardware(one: &MachineIdentity, other: &MachineIdentity) -> bool {
    let other_uid =
        one.machine_uid_source == other.machine_uid_source && one.machine_uid != other.machine_uid;
    let board =
        |identity: &MachineIdentity| identity.board_serial.clone().filter(|serial| is_a_serial(serial));
    other_uid || board(one).zip(board(other)).is_some_and(|(one, other)| one != other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gururmm_protocol::system::UidSource;

    fn identity(uid: &str, source: UidSource, board: Option<&str>) -> MachineIdentity {
        MachineIdentity {
            machine_uid: uid.to_owned(),
            machine_uid_source: source,
            board_serial: board.map(str::to_owned),
            disk_serial: None,
        }
    }

    #[test]
    fn only_what_cannot_be_one_machine_is_taken_for_two() {
        use UidSource::{OsId, SmbiosUuid};
        let one = identity("uid-of-one", SmbiosUuid, Some("B1"));
        let differs = |other| is_other_hardware(&one, &other);
        assert!(!differs(one.clone()));
        assert!(differs(identity("uid-of-other", SmbiosUuid, None)));
        assert!(differs(identity("uid-of-one", SmbiosUuid, Some("B2"))));
        // It ran without root for once, or its maker left the serial out.
        assert!(!differs(identity("uid-of-system", OsId, None)));
        assert!(!differs(identity("uid-of-one", SmbiosUuid, Some("To be filled by O.E.M."))));
    }
}
