//! A machine's own key: `cak_…`, 256 random bits, kept as a keyed digest.

use crate::app::App;
use crate::db::AgentLookup;
use crate::error::{Code, Error};
use crate::keys::{Keys, PEPPER_KEY_ID, Purpose, random_token};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;
use zeroize::Zeroizing;

const PREFIX: &str = "cak_";
/// Longer than any key; what is longer is not looked at.
const MAX_CHARS: usize = 128;

/// A key just made: the secret for the machine, the digest for the database.
pub struct NewKey {
    pub secret: Zeroizing<String>,
    pub digest: [u8; 32],
    /// The server's key the digest was made with.
    pub digest_key_id: &'static str,
}

impl NewKey {
    /// A fresh one.
    pub fn mint(keys: &Keys) -> Self {
        let secret = random_token(PREFIX);
        let digest = keys.digest(Purpose::AgentKey, &secret);
        Self { secret, digest, digest_key_id: PEPPER_KEY_ID }
    }
}

/// Who a key belongs to. Everything comes from the database.
#[derive(Debug, Clone)]
pub struct AgentIdentity {
    /// The agent's id; another than the one it gave when a person found it to be a machine already known.
    pub agent_id: Uuid,
    pub num: i64,
    pub tenant_id: Uuid,
    pub client_id: Uuid,
    pub site_id: Uuid,
    /// The partner's retention class, in days.
    pub retention_days: i16,
}

/// The agent behind a key. 401 for a key that is not the agent's, or was revoked; 403 while the machine waits for
/// someone's approval.
pub async fn authenticate(app: &App, agent_id: Uuid, token: &str) -> Result<AgentIdentity, Error> {
    let refused = || Error::new(Code::AgentKeyRefused);
    if !token.starts_with(PREFIX) || token.len() > MAX_CHARS {
        return Err(refused());
    }
    let given = app.keys.digest(Purpose::AgentKey, token);
    let (agent_id, agent) = find(app, agent_id).await?.ok_or_else(refused)?;
    let is_same_server_key = agent.digest_key_id == PEPPER_KEY_ID;
    if !is_same_server_key || !bool::from(agent.key_digest.as_slice().ct_eq(given.as_slice())) {
        return Err(refused());
    }
    match agent.state.as_str() {
        "active" => Ok(AgentIdentity {
            agent_id,
            num: agent.num,
            tenant_id: agent.tenant_id,
            client_id: agent.client_id,
            site_id: agent.site_id,
            retention_days: agent.retention_days,
        }),
        "pending" => Err(Error::new(Code::AgentPending)),
        _ => Err(refused()),
    }
}

async fn find(app: &App, agent_id: Uuid) -> Result<Option<(Uuid, AgentLookup)>, Error> {
    if let Some(agent) = app.db.lookup_agent(agent_id).await? {
        return Ok(Some((agent_id, agent)));
    }
    let Some(known_as) = app.db.lookup_agent_alias(agent_id).await? else { return Ok(None) };
    Ok(app.db.lookup_agent(known_as).await?.map(|agent| (known_as, agent)))
}
