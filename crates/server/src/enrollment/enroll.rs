//! A machine asks to be let in.

use super::{secret, store};
use crate::agents::{self, Admission, Entrance, Newcomer};
use crate::app::App;
use crate::auth::{Scope, password};
use crate::bus::{Event, Topic};
use crate::db::EnrollmentKeyLookup;
use crate::error::{Code, Error};
use crate::http::RequestInfo;
use crate::keys::Purpose;
use chrono::Utc;
use gururmm_protocol::bootstrap::{EnrollRequest, EnrollResponse, EnrollStatus};
use gururmm_protocol::to_agent::GoodbyeReason;
use zeroize::Zeroizing;

/// Longest site code and key that are looked at, in characters.
const MAX_CODE_CHARS: usize = 64;
const MAX_KEY_CHARS: usize = 256;

/// Lets a machine in, or sets it aside, and gives it a key of its own. Whatever is wrong with site or key, the
/// answer is the same 401 and has cost exactly one Argon2: neither sites nor keys can be listed.
pub async fn enroll(app: &App, request: RequestInfo, asked: EnrollRequest) -> Result<EnrollResponse, Error> {
    let key = Zeroizing::new(asked.enrollment_key);
    let newcomer = Newcomer {
        hostname: asked.hostname,
        os_type: asked.os_type,
        os_version: asked.os_version,
        arch: asked.arch,
        agent_version: asked.agent_version,
        identity: asked.identity,
        mac_addresses: asked.mac_addresses,
    };
    let newcomer = newcomer.checked()?;
    app.limits.enroll.check(&request)?;
    let Some(site) = proven_site(app, &asked.site_code, &key).await? else {
        return Err(Error::new(Code::EnrollmentRefused));
    };
    check_limits(app, &asked.site_code, &newcomer)?;

    let scope = Scope::enrollment(site.tenant_id, request);
    let mut tx = app.db.begin(&scope).await?;
    if !store::use_key(&mut tx, site.key_id).await? {
        return Err(Error::new(Code::EnrollmentRefused));
    }
    // Whoever looks at the site's keys sees the use at once.
    let used = Event::new(Topic::KeyChanged, site.tenant_id, site.key_id);
    tx.emit(used.at(site.client_id, Some(site.site_id))).await?;
    let entrance = Entrance {
        client_id: site.client_id,
        site_id: site.site_id,
        approval_required: site.approval_required,
        enrollment_key_id: site.key_id,
    };
    let admitted = match agents::admit(app, &mut tx, &newcomer, &entrance).await? {
        Admission::Admitted(admitted) => admitted,
        Admission::SiteConflict(conflict) => {
            // Nothing of the attempt stays but the word of it.
            drop(tx);
            let mut tx = app.db.begin(&scope).await?;
            agents::report_conflict(&mut tx, &conflict).await?;
            tx.commit().await?;
            return Err(Error::new(Code::EnrollSiteConflict));
        }
    };
    tx.commit().await?;
    if admitted.is_replaced {
        app.gateway.disconnect(admitted.agent_id, GoodbyeReason::Replaced);
    }
    Ok(EnrollResponse {
        agent_id: admitted.agent_id.into(),
        agent_key: admitted.key.secret.to_string(),
        status: if admitted.is_pending { EnrollStatus::Pending } else { EnrollStatus::Active },
        server_time: Utc::now(),
    })
}

/// The site whose valid key this is. Exactly one Argon2, whatever the answer.
async fn proven_site(app: &App, site_code: &str, key: &str) -> Result<Option<EnrollmentKeyLookup>, Error> {
    let found = match secret::version_of(key) {
        Some(version) if site_code.len() <= MAX_CODE_CHARS && !site_code.contains('\0') => {
            app.db.lookup_enrollment_key(site_code, version).await?
        }
        _ => None,
    };
    match found {
        Some(found) if password::verify(key, &found.key_hash).await? => Ok(Some(found)),
        Some(_) => Ok(None),
        None => {
            let bounded: Zeroizing<String> = Zeroizing::new(key.chars().take(MAX_KEY_CHARS).collect());
            password::verify_dummy(&bounded).await?;
            Ok(None)
        }
    }
}

/// What a site and a machine may ask is counted once the site's key is proven: who has none uses up nobody's share but
/// the one of its own address.
fn check_limits(app: &App, site_code: &str, newcomer: &Newcomer) -> Result<(), Error> {
    let digest = |text: &str| app.keys.digest(Purpose::Throttle, text);
    app.limits.enroll_site.check_key(&digest(&format!("enroll site:{site_code}")))?;
    // Clones share their uid and not their name or addresses: each of them may ask.
    let machine = (&newcomer.identity, &newcomer.hostname, &newcomer.mac_addresses);
    app.limits.enroll_machine.check_key(&digest(&format!("enroll machine:{site_code}:{machine:?}")))
}
