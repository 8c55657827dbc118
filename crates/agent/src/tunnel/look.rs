//! What has to be known of the machine before a session is open: its shells, and whether its user would have to be asked.

use crate::capabilities::terminal::shells;
use crate::os::user_session::{NoUserSession, UserSession};
use gururmm_protocol::tunnel::Consent;
use gururmm_protocol::tunnel::order::{Refusal, Shell};
use std::time::Duration;
use tokio::time::timeout;

/// How long it may take: a directory service may be asked.
const WITHIN: Duration = Duration::from_secs(10);

/// The shells, or why there is no session.
pub type Looked = Result<Vec<Shell>, (Refusal, String)>;

/// Looks, on a thread of its own.
pub(super) async fn look(consent: Consent) -> Looked {
    let refused = |detail: &str| Err((Refusal::ConsentUnavailable, detail.to_owned()));
    let is_asked = match consent {
        Consent::Never => false,
        Consent::WhenSignedIn => true,
        Consent::Always | Consent::Unknown => {
            return refused("the policy has the user asked, which this agent cannot do yet");
        }
    };
    let looking = tokio::task::spawn_blocking(move || {
        // Who cannot be looked up may well sit there.
        let is_somebody_there = is_asked && !matches!(UserSession::foremost(), Err(NoUserSession::Nobody));
        (is_somebody_there, shells::found())
    });
    match timeout(WITHIN, looking).await {
        Ok(Ok((false, shells))) => Ok(shells),
        Ok(Ok((true, _))) => {
            refused("somebody is signed in, and would have to be asked, which this agent cannot do yet")
        }
        Ok(Err(_)) | Err(_) if is_asked => refused("it cannot be found out whether somebody is signed in"),
        Ok(Err(_)) | Err(_) => Err((Refusal::Other, "the machine's shells cannot be found out".into())),
    }
}
