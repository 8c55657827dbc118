//! Who may know whom.

use std::collections::BTreeSet;

use super::rust::{places, tokens};
use super::{Finding, Repository};

const SERVER: &str = "crates/server/src/";
const AGENT: &str = "crates/agent/src/";

/// The server's parts that every feature needs in the same way, and so know none of them.
const KERNEL: [&str; 6] = ["auth", "bus", "db", "gateway", "jobs", "live"];

/// A slice's rules know neither HTTP nor SQL, its handlers know no SQL, its store no HTTP.
pub fn slices_keep_http_and_sql_apart(repository: &Repository, findings: &mut Vec<Finding>) {
    for slice in slices(repository) {
        for (file, foreign) in
            [("mod.rs", "axum"), ("mod.rs", "sqlx"), ("http.rs", "sqlx"), ("store.rs", "axum")]
        {
            let path = format!("{SERVER}{slice}/{file}");
            forbid(
                repository,
                &path,
                foreign,
                &format!("a slice's {file} does not name {foreign}"),
                findings,
            );
        }
    }
}

/// SQL stands in a slice's store, in the kernel's database part and in the audit's.
pub fn queries_live_in_stores(repository: &Repository, findings: &mut Vec<Finding>) {
    for (path, _) in repository.rust_files(SERVER) {
        let own = &path[SERVER.len()..];
        if is_test(path) || own.starts_with("db/") || own == "audit.rs" || own.ends_with("store.rs") {
            continue;
        }
        for pattern in [
            "sqlx : : query",
            "sqlx : : query_as",
            "sqlx : : query_scalar",
            "sqlx : : raw_sql",
            "QueryBuilder",
        ] {
            forbid(repository, path, pattern, "SQL stands in a store.rs, in db/ or in audit.rs", findings);
        }
    }
}

/// Without the pool there is no connection, and without a scope no transaction.
pub fn the_pool_is_private_to_the_database(repository: &Repository, findings: &mut Vec<Finding>) {
    for (path, _) in repository.rust_files(SERVER) {
        if is_test(path) || path[SERVER.len()..].starts_with("db/") {
            continue;
        }
        for name in ["PgPool", "PgPoolOptions", "PgConnection", "PgListener"] {
            forbid(repository, path, name, "only db/ knows the pool and its connections", findings);
        }
    }
}

/// A server that can start programs is one bug away from starting an attacker's.
pub fn the_server_starts_no_programs(repository: &Repository, findings: &mut Vec<Finding>) {
    for (path, text) in repository.rust_files(SERVER) {
        if is_test(path) || path[SERVER.len()..].starts_with("db/embedded") {
            continue;
        }
        let tokens = tokens(text);
        for line in places(&tokens, "process : :") {
            let start =
                tokens.iter().position(|token| token.line == line && token.text == "process").unwrap_or(0);
            let imported = tokens[start..].iter().take_while(|token| token.text != ";" && token.text != "(");
            if imported.into_iter().any(|token| token.text == "Command" || token.text == "*") {
                findings.push(finding(path, line, "the server starts no programs, except in db/embedded"));
            }
        }
    }
}

/// The protocol is bytes and rules; whoever carries them is not its business.
pub fn the_protocol_does_no_io(repository: &Repository, findings: &mut Vec<Finding>) {
    let path = "crates/protocol/Cargo.toml";
    let manifest = repository.text(path).unwrap_or_default();
    let mut in_dependencies = false;
    for (index, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            in_dependencies = line.trim() == "[dependencies]";
        }
        let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
        if in_dependencies && ["axum", "gururmm-server", "hyper", "reqwest", "sqlx", "tokio"].contains(&name)
        {
            findings.push(finding(
                path,
                index + 1,
                &format!("the protocol does no I/O and so does not need {name}"),
            ));
        }
    }
}

/// Features use the kernel, never the other way round.
pub fn the_kernel_knows_no_feature(repository: &Repository, findings: &mut Vec<Finding>) {
    let slices = slices(repository);
    for kernel in ["gateway", "live"] {
        for (path, _) in repository.rust_files(&format!("{SERVER}{kernel}/")) {
            if is_test(path) {
                continue;
            }
            for slice in slices.iter().filter(|slice| !KERNEL.contains(slice)) {
                let rule = format!("{kernel} knows no feature, so it does not name {slice}");
                forbid(repository, path, &format!("crate : : {slice}"), &rule, findings);
            }
        }
    }
}

/// The library that carries the agent's socket can be exchanged in one file.
pub fn one_file_names_the_transport(repository: &Repository, findings: &mut Vec<Finding>) {
    for (path, _) in repository.rust_files(AGENT) {
        if path == format!("{AGENT}transport.rs") || is_test(path) {
            continue;
        }
        for library in ["tokio_tungstenite", "tungstenite"] {
            forbid(repository, path, library, "only transport.rs names the WebSocket library", findings);
        }
    }
}

/// What differs between systems lies in os/, beside its capability, or where the agent is installed or logs; it is
/// looked for nowhere else. A test may be of one system.
pub fn platforms_differ_in_few_places(repository: &Repository, findings: &mut Vec<Finding>) {
    let allowed = ["os/", "capabilities/", "install", "logging.rs"];
    for (path, text) in repository.rust_files(AGENT) {
        if allowed.iter().any(|allowed| path[AGENT.len()..].starts_with(allowed)) || is_test(path) {
            continue;
        }
        let mut tokens = tokens(text);
        if let Some(tests) = places(&tokens, "mod tests {").first().copied() {
            tokens.retain(|token| token.line < tests);
        }
        for system in ["target_os", "target_family", "unix", "windows"] {
            for opening in ["cfg (", "not (", "any (", "all (", "cfg_attr ("] {
                for line in places(&tokens, &format!("{opening} {system}")) {
                    findings.push(finding(path, line, "platforms differ in os/ and capabilities/ only"));
                }
            }
        }
    }
}

/// The folders below the server's source that hold a feature: those with handlers or a store.
fn slices(repository: &Repository) -> BTreeSet<&str> {
    repository
        .rust_files(SERVER)
        .filter_map(|(path, _)| path[SERVER.len()..].split_once('/'))
        .filter(|(_, file)| *file == "http.rs" || *file == "store.rs")
        .map(|(slice, _)| slice)
        .collect()
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

fn forbid(repository: &Repository, path: &str, pattern: &str, rule: &str, findings: &mut Vec<Finding>) {
    let Some(text) = repository.text(path) else { return };
    findings.extend(places(&tokens(text), pattern).into_iter().map(|line| finding(path, line, rule)));
}

fn finding(path: &str, line: usize, rule: &str) -> Finding {
    Finding { file: path.to_owned(), line, rule: rule.to_owned() }
}
