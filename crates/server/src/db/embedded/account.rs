//! Users of the operating system: who the server is, and whom PostgreSQL runs as.

use std::path::Path;
use std::process::Command;

use super::error::EmbeddedError;

/// A user of the operating system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

impl Account {
    /// The user this process runs as.
    pub fn own() -> Result<Self, EmbeddedError> {
        let uid = own_uid();
        Self::find(&uid.to_string())?.ok_or(EmbeddedError::UnknownUser { user: uid.to_string() })
    }

    /// Whom PostgreSQL runs as. It refuses to run as root, so that root takes the owner of the cluster that is
    /// there already, else `postgres`, else `nobody`.
    pub fn for_postgres(own: &Self, cluster_owner: Option<u32>) -> Result<Self, EmbeddedError> {
        if own.uid != 0 {
            return Ok(own.clone());
        }
        if let Some(uid) = cluster_owner.filter(|uid| *uid != 0) {
            return Self::find(&uid.to_string())?.ok_or(EmbeddedError::UnknownUser { user: uid.to_string() });
        }
        for name in ["postgres", "nobody"] {
            if let Some(account) = Self::find(name)?.filter(|account| account.uid != 0) {
                return Ok(account);
            }
        }
        Err(EmbeddedError::UnknownUser { user: "nobody".into() })
    }

    /// By name or number. `getent` knows what `/etc/passwd` does not: users of LDAP and the like.
    fn find(key: &str) -> Result<Option<Self>, EmbeddedError> {
        let output = Command::new("getent")
            .args(["passwd", key])
            .output()
            .map_err(|e| EmbeddedError::io("look up a user with getent", e))?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().find_map(Self::parse))
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Self { name, uid, gid })
    }
}

/// The user id this process runs as.
pub(super) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The owner of `path`, or `None` where there is nothing.
pub(super) fn owner_of(path: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).ok().map(|found| found.uid())
}

/// The name of user `uid` for a message; its number where it has none.
pub(super) fn name_of(uid: u32) -> String {
    Account::find(&uid.to_string()).ok().flatten().map_or_else(|| uid.to_string(), |account| account.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passwd_line_is_read_and_a_broken_one_is_not() {
        let account =
            Account::parse("postgres:x:101:104:PostgreSQL administrator,,,:/var/lib/postgresql:/bin/bash");
        assert_eq!(account, Some(Account { name: "postgres".into(), uid: 101, gid: 104 }));
        assert_eq!(Account::parse("postgres:x:many:104"), None);
        assert_eq!(Account::parse(""), None);
    }

    #[test]
    fn postgres_never_runs_as_root() {
        let root = Account { name: "root".into(), uid: 0, gid: 0 };
        for cluster_owner in [None, Some(0)] {
            assert_ne!(Account::for_postgres(&root, cluster_owner).unwrap().uid, 0);
        }
    }

    #[test]
    fn an_ordinary_user_keeps_its_own_account() {
        let alice = Account { name: "alice".into(), uid: 1234, gid: 1234 };
        assert_eq!(Account::for_postgres(&alice, Some(99)).unwrap(), alice);
    }
}
