//! Who a newcomer is. Hardware says which machine it is; nobody's history is handed out on that alone.

use super::credential::NewKey;
use super::{store, uninstall};
use crate::alerts::{self, NewAlert, Severity, Subject};
use crate::app::App;
use crate::audit::Entry;
use crate::bus::{Event, Topic};
use crate::db::{Tx, words};
use crate::error::{Code, Error};
use gururmm_protocol::limits::{MAX_LIST_ITEMS, MAX_NAME_CHARS, clean};
use gururmm_protocol::system::{MachineIdentity, OsType};
use serde_json::json;
use uuid::Uuid;

/// Newcomers with one identity that may wait at the same time; more is not an accident.
const MAX_WAITING: usize = 10;

/// What a machine says of itself when it asks to be let in.
#[derive(Debug, Clone)]
pub struct Newcomer {
    pub hostname: String,
    pub os_type: OsType,
    pub os_version: String,
    pub arch: String,
    pub agent_version: String,
    pub identity: MachineIdentity,
    pub mac_addresses: Vec<String>,
}

impl Newcomer {
    /// Within limits, and fit to be told apart. 422 otherwise.
    pub fn checked(mut self) -> Result<Self, Error> {
        clean(&mut self.hostname, MAX_NAME_CHARS);
        clean(&mut self.os_version, MAX_NAME_CHARS);
        clean(&mut self.arch, 32);
        clean(&mut self.agent_version, 64);
        self.identity.clean();
        self.mac_addresses.truncate(MAX_LIST_ITEMS);
        self.mac_addresses.iter_mut().for_each(|mac| clean(mac, 64));
        if self.hostname.trim().is_empty() {
            return Err(Error::field("hostname", "REQUIRED", "must not be empty"));
        }
        let uid = &self.identity.machine_uid;
        let is_plain = uid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b':');
        if uid.len() < 8 || !is_plain {
            let message = "must be 8 to 128 letters, digits, '-' or ':'";
            return Err(Error::field("machine_uid", "INVALID", message));
        }
        Ok(self)
    }
}

/// Where a newcomer enters, as its enrollment key proved.
#[derive(Debug, Clone, Copy)]
pub struct Entrance {
    pub client_id: Uuid,
    pub site_id: Uuid,
    pub approval_required: bool,
    pub enrollment_key_id: Uuid,
}

/// The answer to a newcomer.
pub enum Admission {
    Admitted(Admitted),
    /// The machine is enrolled at another site: nothing was changed.
    SiteConflict(Conflict),
}

/// A machine that has a key now.
pub struct Admitted {
    pub agent_id: Uuid,
    pub key: NewKey,
    pub is_pending: bool,
    /// It is a known agent with a new key: what is connected under the old one must go.
    pub is_replaced: bool,
}

/// A machine that asked at the wrong site.
pub struct Conflict {
    hostname: String,
    asked_at: Uuid,
    known: store::Known,
}

words! {
    /// Why a machine waits for someone's decision.
    PendingReason {
        /// Its site asks for approval.
        ApprovalRequired = "approval_required",
        /// A machine with the same identity is online.
        IdentityInUse = "identity_in_use",
        /// A machine with the same identity is known, and its board or disk is another.
        HardwareDiffers = "hardware_differs",
        /// Several known machines share its identity and hardware.
        IdentityShared = "identity_shared",
        /// A machine with the same identity was enrolled at another site, and never came.
        EnrolledElsewhere = "enrolled_elsewhere",
        /// Someone rejected it before.
        RejectedBefore = "rejected_before",
        /// Someone retired a machine with the same identity.
        RetiredBefore = "retired_before",
        /// It came with the key of another machine that was online. Once it is let in, it has to enroll for itself.
        KeyCopied = "key_copied",
    }
}

/// What is to be done with a newcomer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Admit,
    ComeBack(Uuid),
    Wait { reason: PendingReason, collides_with: Option<Uuid> },
    SiteConflict(Uuid),
}

/// Lets a machine in, or sets it aside until someone decides, as its identity says. In the transaction that counts
/// the enrollment key's use.
pub async fn admit<P>(
    app: &App,
    tx: &mut Tx<P>,
    newcomer: &Newcomer,
    entrance: &Entrance,
) -> Result<Admission, Error> {
    let key = NewKey::mint(&app.keys);
    // A second round when another enrollment of the same machine wins the race: then it is known.
    for _ in 0..3 {
        let mut known = store::known_machines(tx, &newcomer.identity.machine_uid).await?;
        for machine in &mut known {
            // The row follows presence by a moment.
            machine.is_connected |= app.gateway.is_connected(machine.agent_id);
        }
        let waiting = store::waiting_newcomers(tx, &newcomer.identity.machine_uid, entrance.site_id).await?;
        let earlier = waiting.iter().find(|machine| same_hardware(&machine.hardware(), &newcomer.identity));
        let was_rejected = waiting.iter().any(|machine| machine.is_rejected);
        let past =
            Past { was_rejected, retired: store::retired_machine(tx, &newcomer.identity.machine_uid).await? };
        let verdict = decide(&known, newcomer, entrance, past);
        let agent_id = match (verdict, earlier) {
            (Verdict::SiteConflict(at), _) => {
                let known = known.into_iter().find(|machine| machine.agent_id == at);
                let known = known.ok_or_else(Error::not_found)?;
                let conflict =
                    Conflict { hostname: newcomer.hostname.clone(), asked_at: entrance.site_id, known };
                return Ok(Admission::SiteConflict(conflict));
            }
            (Verdict::ComeBack(agent_id), _) => {
                store::rekey(tx, agent_id, newcomer, entrance, &key, None).await?;
                // Somebody installed it anew.
                uninstall::call_off(tx, agent_id).await?;
                Some(agent_id)
            }
            (Verdict::Wait { reason, collides_with }, Some(earlier)) => {
                let wait = Some((reason, collides_with));
                store::rekey(tx, earlier.agent_id, newcomer, entrance, &key, wait).await?;
                Some(earlier.agent_id)
            }
            (Verdict::Wait { reason, collides_with }, None) => {
                // Those that someone rejected wait for nothing, and must not keep a machine out for good.
                if waiting.iter().filter(|machine| !machine.is_rejected).count() >= MAX_WAITING {
                    return Err(Error::retry_after(Code::RateLimited, 3_600));
                }
                store::insert(tx, newcomer, entrance, &key, Some((reason, collides_with))).await?
            }
            (Verdict::Admit, _) => {
                // Where it was only found with another's key before, it now has come in its own name.
                store::drop_copies(tx, &newcomer.identity.machine_uid, entrance.site_id).await?;
                store::insert(tx, newcomer, entrance, &key, None).await?
            }
        };
        if let Some(agent_id) = agent_id {
            let has_another_key = earlier.is_some_and(|earlier| !earlier.is_rejected);
            announce(tx, agent_id, newcomer, entrance, verdict, has_another_key).await?;
            return Ok(Admission::Admitted(Admitted {
                agent_id,
                key,
                is_pending: matches!(verdict, Verdict::Wait { .. }),
                is_replaced: matches!(verdict, Verdict::ComeBack(_)),
            }));
        }
    }
    Err(Error::new(Code::Unavailable))
}

/// Writes down that a machine of one site asked with another site's key. In a transaction of its own: the
/// enrollment's is rolled back.
pub async fn report_conflict<P>(tx: &mut Tx<P>, conflict: &Conflict) -> Result<(), Error> {
    let Conflict { hostname, asked_at, known } = conflict;
    let detail =
        json!({ "hostname": hostname, "asked_at_site_id": asked_at, "enrolled_at_site_id": known.site_id });
    let title = format!("{} tried to enroll at another site", known.hostname);
    let alert = NewAlert {
        kind: "agent.site_conflict",
        severity: Severity::Warning,
        title: &title,
        detail: detail.clone(),
        dedup_key: &format!("agent.site_conflict:{}:{asked_at}", known.agent_id),
        subject: Subject { agent_id: known.agent_id, client_id: known.client_id, site_id: known.site_id },
    };
    alerts::raise(tx, alert).await?;
    let entry = Entry::new("agent.enroll_refused", "agent", known.agent_id);
    tx.audit(entry.named(&known.hostname).with(detail)).await
}

/// The dedup key of the alert that a newcomer waits.
pub(super) fn pending_cause(agent_id: Uuid) -> String {
    format!("agent.pending:{agent_id}")
}

/// What people decided before about machines with an identity.
#[derive(Debug, Clone, Copy, Default)]
struct Past {
    was_rejected: bool,
    /// The agent that was retired last.
    retired: Option<Uuid>,
}

fn decide(known: &[store::Known], newcomer: &Newcomer, entrance: &Entrance, past: Past) -> Verdict {
    let here: Vec<_> = known.iter().filter(|machine| machine.site_id == entrance.site_id).collect();
    let wait =
        |reason, machine: &store::Known| Verdict::Wait { reason, collides_with: Some(machine.agent_id) };
    match (here.as_slice(), known) {
        // Somebody with a key of another site may only have named this machine: that must not keep it out.
        ([], [elsewhere, ..]) => {
            return match known.iter().find(|machine| machine.was_seen) {
                Some(seen) => Verdict::SiteConflict(seen.agent_id),
                None => wait(PendingReason::EnrolledElsewhere, elsewhere),
            };
        }
        ([], []) => {
            // Its history is handed out by a person only, and what someone took out does not come back by itself.
            let reason = match (past.was_rejected, past.retired, entrance.approval_required) {
                (true, ..) => PendingReason::RejectedBefore,
                (false, Some(_), _) => PendingReason::RetiredBefore,
                (false, None, true) => PendingReason::ApprovalRequired,
                (false, None, false) => return Verdict::Admit,
            };
            return Verdict::Wait { reason, collides_with: past.retired };
        }
        _ => {}
    }
    let same: Vec<_> =
        here.iter().filter(|machine| same_hardware(&machine.hardware(), &newcomer.identity)).collect();
    match same.as_slice() {
        [] => match here.iter().find(|machine| machine.is_connected) {
            Some(online) => wait(PendingReason::IdentityInUse, online),
            None => wait(PendingReason::HardwareDiffers, here[0]),
        },
        [machine] if machine.is_connected => wait(PendingReason::IdentityInUse, machine),
        [machine] => Verdict::ComeBack(machine.agent_id),
        [machine, ..] => wait(PendingReason::IdentityShared, machine),
    }
}

/// Board and disk serials of a machine.
pub(super) struct Hardware<'a> {
    pub board_serial: Option<&'a str>,
    pub disk_serial: Option<&'a str>,
}

/// Whether board or disk is the same one. A machine without serials matches nothing.
fn same_hardware(known: &Hardware<'_>, offered: &MachineIdentity) -> bool {
    let same = |known: Option<&str>, offered: Option<&str>| {
        offered.is_some_and(|serial| is_a_serial(serial) && known == Some(serial))
    };
    same(known.board_serial, offered.board_serial.as_deref())
        || same(known.disk_serial, offered.disk_serial.as_deref())
}

/// Makers leave such words where a serial should stand: half a fleet shares them.
pub(super) fn is_a_serial(text: &str) -> bool {
    const PLACEHOLDERS: &[&str] = &[
        "none",
        "n/a",
        "na",
        "unknown",
        "not specified",
        "not applicable",
        "not available",
        "default string",
        "to be filled by o.e.m.",
        "system serial number",
        "base board serial number",
        "serial number",
        "invalid",
    ];
    let text = text.trim();
    let first = text.chars().next();
    !PLACEHOLDERS.contains(&text.to_lowercase().as_str()) && text.chars().any(|c| Some(c) != first)
}

async fn announce<P>(
    tx: &mut Tx<P>,
    agent_id: Uuid,
    newcomer: &Newcomer,
    entrance: &Entrance,
    verdict: Verdict,
    has_another_key: bool,
) -> Result<(), Error> {
    let hostname = newcomer.hostname.as_str();
    let mut detail = json!({
        "enrollment_key_id": entrance.enrollment_key_id,
        "machine_uid_source": newcomer.identity.machine_uid_source,
        "came_back": matches!(verdict, Verdict::ComeBack(_)),
    });
    let mut topic = Topic::AgentEnrolled;
    if let Verdict::Wait { reason, collides_with } = verdict {
        topic = Topic::AgentPending;
        detail["pending_reason"] = json!(reason);
        detail["collides_with"] = json!(collides_with);
        // The machine that lost its first key, or somebody else in its name.
        let title = match has_another_key {
            true => format!("{hostname} waits for a decision, and was given another key meanwhile"),
            false => format!("{hostname} waits for a decision"),
        };
        let mut alert_detail = json!({ "reason": reason, "collides_with": collides_with });
        if has_another_key {
            alert_detail["has_another_key"] = json!(true);
        }
        let alert = NewAlert {
            kind: "agent.pending",
            severity: if collides_with.is_some() || has_another_key {
                Severity::Warning
            } else {
                Severity::Info
            },
            title: &title,
            detail: alert_detail,
            dedup_key: &pending_cause(agent_id),
            subject: Subject { agent_id, client_id: entrance.client_id, site_id: entrance.site_id },
        };
        alerts::raise(tx, alert).await?;
    }
    let event = Event::new(topic, tx.tenant()?, agent_id);
    tx.emit(event.at(entrance.client_id, Some(entrance.site_id)).on_agent(agent_id)).await?;
    tx.audit(Entry::new("agent.enroll", "agent", agent_id).named(hostname).with(detail)).await
}

#[cfg(test)]
mod tests;
