//! Keys of this installation: `data-dir/keys`, 0600. A digest names the key it was made with.

use crate::db::embedded::Embedded;
use crate::private_file;
use anyhow::Context as _;
use rand::TryRng as _;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use std::path::Path;
use zeroize::Zeroizing;

/// Id of the first pepper; digests store it beside them, so that a rotation can tell old from new.
pub const PEPPER_KEY_ID: &str = "p1";

/// What digests of tokens and machine keys are keyed with. A stolen database alone verifies nothing.
pub struct Keys {
    pepper: Zeroizing<[u8; 32]>,
    follow: Ed25519KeyPair,
}

impl Keys {
    /// Loads the keys, making them the first time. Fails when a key file is not readable or not whole, or is missing
    /// where there is a database already: with new keys every machine would be locked out of it.
    pub fn load_or_create(data_dir: &Path) -> anyhow::Result<Self> {
        let folder = data_dir.join("keys");
        private_file::make_folder(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let path = folder.join("pepper-p1");
        // Asked before the key is looked for: another process may make both at this very moment, the key first.
        let has_database = Embedded::exists(data_dir);
        if !path.exists() {
            if has_database {
                anyhow::bail!(
                    "{} is missing, and all machines' keys and tokens in the database depend on it: restore it from \
                     the backup",
                    path.display()
                );
            }
            let mut fresh = Zeroizing::new([0_u8; 32]);
            rand::rngs::SysRng
                .try_fill_bytes(fresh.as_mut_slice())
                .context("no random bytes from the system")?;
            private_file::create(&path, fresh.as_slice())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let bytes =
            Zeroizing::new(std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
        let pepper =
            bytes.as_slice().try_into().map_err(|_| anyhow::anyhow!("{} is damaged", path.display()))?;
        Ok(Self { pepper: Zeroizing::new(pepper), follow: load_or_create_follow(&folder)? })
    }

    /// The installation's key for records of its new place: agents know its public half.
    pub fn follow_public(&self) -> Vec<u8> {
        self.follow.public_key().as_ref().to_vec()
    }

    /// Signs a record of the installation's new place.
    pub fn sign_follow(&self, bytes: &[u8]) -> Vec<u8> {
        self.follow.sign(bytes).as_ref().to_vec()
    }

    /// Keyed BLAKE3 over a token of high entropy. `purpose` keeps digests of different kinds apart.
    pub fn digest(&self, purpose: Purpose, token: &str) -> [u8; 32] {
        let key = Zeroizing::new(blake3::derive_key(purpose.context(), self.pepper.as_slice()));
        *blake3::keyed_hash(&key, token.as_bytes()).as_bytes()
    }
}

impl Keys {
    /// A key of its own for each thing that is encrypted, from the installation's: every node has it, and nobody who
    /// has the database or the objects alone.
    pub fn key_for(&self, purpose: Purpose, about: &[u8]) -> Zeroizing<[u8; 32]> {
        let key = Zeroizing::new(blake3::derive_key(purpose.context(), self.pepper.as_slice()));
        Zeroizing::new(*blake3::keyed_hash(&key, about).as_bytes())
    }
}

/// Made at the first start of a server that knows of it. One that is lost cannot be replaced for the agents that know
/// it: it belongs into the backup, as all of this folder does.
fn load_or_create_follow(folder: &Path) -> anyhow::Result<Ed25519KeyPair> {
    let path = folder.join("follow-me");
    if !path.exists() {
        let fresh = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        let fresh = fresh.map_err(|_| anyhow::anyhow!("no random bytes from the system"))?;
        private_file::create(&path, fresh.as_ref())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let bytes =
        Zeroizing::new(std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
    Ed25519KeyPair::from_pkcs8(&bytes).map_err(|_| anyhow::anyhow!("{} is damaged", path.display()))
}

/// What a digest is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    SessionToken,
    CsrfToken,
    LiveTicket,
    /// For the socket of one session with a machine.
    TunnelTicket,
    /// What frames between nodes are sealed with.
    TunnelFrames,
    SetupToken,
    InvitationToken,
    AgentKey,
    Throttle,
    DatabasePassword,
    KeyFingerprint,
    /// Encrypts a session's recording.
    Recording,
    /// Signs the heads of audit chains.
    AuditAnchor,
}

impl Purpose {
    fn context(self) -> &'static str {
        match self {
            Self::SessionToken => "gururmm 2026 session token",
            Self::CsrfToken => "gururmm 2026 csrf token",
            Self::LiveTicket => "gururmm 2026 live ticket",
            Self::TunnelTicket => "gururmm 2026 tunnel ticket",
            Self::TunnelFrames => "gururmm 2026 tunnel frames",
            Self::SetupToken => "gururmm 2026 setup token",
            Self::InvitationToken => "gururmm 2026 invitation token",
            Self::AgentKey => "gururmm 2026 agent key",
            Self::Throttle => "gururmm 2026 throttle key",
            Self::DatabasePassword => "gururmm 2026 database password",
            Self::KeyFingerprint => "gururmm 2026 key fingerprint",
            Self::Recording => "gururmm 2026 recording",
            Self::AuditAnchor => "gururmm 2026 audit anchor",
        }
    }
}

/// A secret of 256 random bits behind a prefix that says what it is: `cak_…`, in URL-safe base64.
pub fn random_token(prefix: &str) -> Zeroizing<String> {
    use base64::Engine as _;
    let bytes = Zeroizing::new(rand::random::<[u8; 32]>());
    Zeroizing::new(format!(
        "{prefix}{}",
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes.as_slice())
    ))
}
