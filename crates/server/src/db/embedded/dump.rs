//! PostgreSQL's own programs for a backup: `pg_dump` and `pg_restore`. They take whatever database a URL names, the
//! private one or another, and its password through their environment alone.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use url::Url;

use super::binaries::{BIN_VARIABLE, MINIMUM_MAJOR, candidate_folders, major_of};
use super::error::EmbeddedError;

/// Writes the whole database that `url` names, as its owner sees it, into the new file `to`, on disk when this returns.
///
/// # Errors
/// No program of the server's major version or newer is installed, it fails, or the file cannot be written.
pub async fn dump(url: &str, server_major: u32, to: &Path) -> Result<(), EmbeddedError> {
    let failed = |e| EmbeddedError::writing(to.parent().unwrap_or(to), e);
    let file = File::options().write(true).create_new(true).mode(0o600).open(to).map_err(failed)?;
    let written = file.try_clone().map_err(failed)?;
    let mut command = client("pg_dump", server_major, url)?;
    // The owner's own policy shows it every row; a superuser sees them anyway.
    command.args(["--format=custom", "--enable-row-security", "--no-password"]).stdout(file);
    run("pg_dump", command).await?;
    written.sync_all().map_err(failed)
}

/// Puts what [`dump`] wrote into the empty database that `url` names.
///
/// # Errors
/// As for [`dump`]; the database then holds a part.
pub async fn restore(url: &str, server_major: u32, from: &Path) -> Result<(), EmbeddedError> {
    let mut command = client("pg_restore", server_major, url)?;
    let (_, database) = connection(url)?.into_iter().find(|(name, _)| *name == "PGDATABASE").unzip();
    command.arg("--dbname").arg(database.unwrap_or_default());
    command.args(["--exit-on-error", "--no-owner", "--no-password"]).arg(from).stdout(Stdio::null());
    run("pg_restore", command).await
}

/// Reads through what [`dump`] wrote, and stores it nowhere.
///
/// # Errors
/// The file is not one of `pg_dump`, or is damaged.
pub async fn read_through(server_major: u32, from: &Path) -> Result<(), EmbeddedError> {
    let mut command = bare("pg_restore", server_major)?;
    // As a script that goes nowhere: every block is read and unpacked.
    command.arg("--file=/dev/null").arg(from).stdout(Stdio::null());
    run("pg_restore", command).await
}

fn client(program: &'static str, server_major: u32, url: &str) -> Result<Command, EmbeddedError> {
    let mut command = bare(program, server_major)?;
    command.envs(connection(url)?);
    Ok(command)
}

fn bare(program: &'static str, server_major: u32) -> Result<Command, EmbeddedError> {
    let mut command = Command::new(find(program, server_major)?);
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LC_ALL", "C").stdin(Stdio::null());
    Ok(command)
}

async fn run(program: &'static str, mut command: Command) -> Result<(), EmbeddedError> {
    command.stderr(Stdio::piped());
    let child = tokio::process::Command::from(command).kill_on_drop(true).spawn();
    let child = child.map_err(|e| EmbeddedError::io(format!("run {program}"), e))?;
    let output = child.wait_with_output().await;
    let output = output.map_err(|e| EmbeddedError::io(format!("run {program}"), e))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    // What follows the first error is its context, with the customers' data in it.
    let detail = said.lines().find(|line| line.contains("error:")).or_else(|| said.lines().next());
    Err(EmbeddedError::ToolFailed { program, detail: detail.unwrap_or("no message").trim().to_owned() })
}

/// The program of the server's own major version, else the oldest newer one: an older one does not understand it, and
/// what a newer one writes may be more than the server takes back.
fn find(program: &'static str, server_major: u32) -> Result<PathBuf, EmbeddedError> {
    let paths = candidate_folders(program).into_iter().map(|folder| folder.join(program));
    let mut found: Vec<(u32, PathBuf)> = paths.filter_map(|path| Some((major_of(&path)?, path))).collect();
    found.retain(|(major, _)| *major >= server_major.max(MINIMUM_MAJOR));
    found.sort_by_key(|(major, _)| *major);
    found.into_iter().next().map(|(_, path)| path).ok_or(EmbeddedError::NoTool {
        program,
        minimum: server_major,
        variable: BIN_VARIABLE,
    })
}

/// A connection URL, as sqlx reads it, as libpq's variables.
fn connection(url: &str) -> Result<Vec<(&'static str, OsString)>, EmbeddedError> {
    let url = Url::parse(url).map_err(|_| EmbeddedError::BadUrl)?;
    let decoded = |text: &str| -> Result<OsString, EmbeddedError> {
        let text = percent_encoding::percent_decode_str(text).decode_utf8();
        Ok(text.map_err(|_| EmbeddedError::BadUrl)?.into_owned().into())
    };
    let mut variables = Vec::new();
    if let Some(host) = url.host_str() {
        // An address of IPv6 stands in brackets in a URL.
        variables.push(("PGHOST", decoded(host.trim_matches(['[', ']']))?));
    }
    if let Some(port) = url.port() {
        variables.push(("PGPORT", port.to_string().into()));
    }
    if !url.username().is_empty() {
        variables.push(("PGUSER", decoded(url.username())?));
    }
    if let Some(password) = url.password() {
        variables.push(("PGPASSWORD", decoded(password)?));
    }
    variables.push(("PGDATABASE", decoded(url.path().trim_start_matches('/'))?));
    for (name, value) in url.query_pairs() {
        let name = match &*name {
            "host" => "PGHOST",
            "port" => "PGPORT",
            "user" => "PGUSER",
            "password" => "PGPASSWORD",
            "dbname" => "PGDATABASE",
            "sslmode" | "ssl-mode" => "PGSSLMODE",
            "sslrootcert" | "ssl-root-cert" | "ssl-ca" => "PGSSLROOTCERT",
            "sslcert" | "ssl-cert" => "PGSSLCERT",
            "sslkey" | "ssl-key" => "PGSSLKEY",
            _ => continue,
        };
        variables.retain(|(known, _)| *known != name);
        variables.push((name, value.into_owned().into()));
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> Vec<(&'static str, String)> {
        let variables = connection(url).unwrap().into_iter();
        let mut variables: Vec<_> =
            variables.map(|(name, value)| (name, value.into_string().unwrap())).collect();
        variables.sort();
        variables
    }

    #[test]
    fn a_url_becomes_the_variables_of_postgresqls_programs() {
        let expected = [
            ("PGDATABASE", "gururmm"),
            ("PGHOST", "db.example.com"),
            ("PGPASSWORD", "p@ss word"),
            ("PGPORT", "5433"),
            ("PGSSLMODE", "verify-full"),
            ("PGUSER", "owner"),
        ];
        let url = "postgres://owner:p%40ss%20word@db.example.com:5433/gururmm?sslmode=verify-full&unknown=1";
        assert_eq!(of(url), expected.map(|(name, value)| (name, value.to_owned())));
        let socket = of("postgres://gururmm@localhost/gururmm?host=%2Frun%2Fa%20b");
        assert!(socket.contains(&("PGHOST", "/run/a b".to_owned())), "{socket:?}");
        assert!(of("postgres://o@[::1]/d").contains(&("PGHOST", "::1".to_owned())));
        assert!(connection("not a url").is_err());
    }
}
