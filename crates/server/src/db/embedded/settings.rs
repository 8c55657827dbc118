//! PostgreSQL's settings: what is safe by command line, what an operator may tune by file.

use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::account::Account;
use super::error::EmbeddedError;
use super::layout::Layout;

/// The cluster's superuser; it owns the database and makes the other roles.
pub const SUPERUSER: &str = "gururmm";

/// As whom the server's own operating system user may sign in over the socket. No other user is let in as anyone.
const LOGIN_ROLES: [&str; 2] = [SUPERUSER, crate::db::APP_ROLE];

const MIB: u64 = 1024 * 1024;

/// Writes the settings' files, for a server that runs as `own`.
pub(super) fn write(layout: &Layout, own: &Account) -> Result<(), EmbeddedError> {
    write_file(&layout.runtime, "postgresql.conf", &tunable(memory_bytes()))?;
    write_file(&layout.runtime, "pg_hba.conf", "local all all peer map=gururmm\n")?;
    write_file(&layout.runtime, "pg_ident.conf", &identities(&own.name))
}

/// What must hold whatever an operator set with `ALTER SYSTEM`: the command line wins over every file.
pub(super) fn arguments(layout: &Layout) -> Vec<OsString> {
    // A list whose items are quoted: a comma or a blank in the path is part of it.
    let socket = layout.socket.to_string_lossy().replace('"', "\"\"");
    let settings = [
        config_file(layout),
        file_argument("hba_file", layout, "pg_hba.conf"),
        file_argument("ident_file", layout, "pg_ident.conf"),
        "listen_addresses=".into(),
        format!("unix_socket_directories=\"{socket}\"").into(),
        "unix_socket_permissions=0700".into(),
        "port=5432".into(),
        "fsync=on".into(),
        "full_page_writes=on".into(),
        "logging_collector=off".into(),
        "log_destination=stderr".into(),
    ];
    settings.into_iter().flat_map(|setting| ["-c".into(), setting]).collect()
}

/// The argument that every postmaster of this cluster was started with, and no other.
pub(super) fn config_file(layout: &Layout) -> OsString {
    file_argument("config_file", layout, "postgresql.conf")
}

fn file_argument(setting: &str, layout: &Layout, name: &str) -> OsString {
    let mut argument = OsString::from(format!("{setting}="));
    argument.push(layout.runtime.join(name));
    argument
}

fn identities(own_name: &str) -> String {
    LOGIN_ROLES.iter().map(|role| format!("gururmm \"{own_name}\" {role}\n")).collect()
}

/// Settings that fit a small machine that also runs the server, and leave the agents' data out of the log.
fn tunable(memory_bytes: u64) -> String {
    let shared_mib = (memory_bytes / 16 / MIB).clamp(32, 512);
    let cache_mib = (memory_bytes / 2 / MIB).max(256);
    format!(
        "# Written by gururmm-server at every start. Changes of your own: ALTER SYSTEM.\n\
         max_connections = 100\n\
         max_locks_per_transaction = 256\n\
         shared_buffers = '{shared_mib}MB'\n\
         effective_cache_size = '{cache_mib}MB'\n\
         work_mem = '8MB'\n\
         maintenance_work_mem = '64MB'\n\
         min_wal_size = '80MB'\n\
         max_wal_size = '1GB'\n\
         wal_compression = on\n\
         jit = off\n\
         timezone = 'UTC'\n\
         log_timezone = 'UTC'\n\
         log_line_prefix = '%m [%p] %u@%d '\n\
         # Statements and the details of errors hold the customers' data.\n\
         log_error_verbosity = terse\n\
         log_min_error_statement = panic\n\
         log_min_duration_statement = -1\n"
    )
}

fn memory_bytes() -> u64 {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib =
        total.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
    kib.map_or(1024 * MIB, |kib| kib.saturating_mul(1024))
}

/// Replaces a file that PostgreSQL's user must be able to read; there is no secret in it.
fn write_file(folder: &Path, name: &str, text: &str) -> Result<(), EmbeddedError> {
    let write = || {
        let draft = folder.join(format!("{name}.new"));
        let mut file = File::create(&draft)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(Permissions::from_mode(0o644))?;
        std::fs::rename(draft, folder.join(name))
    };
    write().map_err(|e| EmbeddedError::writing(folder, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_follows_the_machine_within_limits() {
        assert!(tunable(512 * MIB).contains("shared_buffers = '32MB'"));
        assert!(tunable(4096 * MIB).contains("shared_buffers = '256MB'"));
        assert!(tunable(1024 * 1024 * MIB).contains("shared_buffers = '512MB'"));
    }

    #[test]
    fn only_the_servers_own_user_is_mapped() {
        assert!(identities("alice").lines().all(|line| line.starts_with("gururmm \"alice\" gururmm")));
        assert_eq!(identities("alice").lines().count(), LOGIN_ROLES.len());
    }
}
