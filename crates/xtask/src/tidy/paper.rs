//! Lists that must be complete.

use std::collections::{BTreeMap, BTreeSet};

use super::rust::tokens;
use super::{Finding, Repository};
use crate::migrations;
use crate::update_repository::sha256;

/// `NNNN_name.sql` from 0001 on, no number left out or used twice, lines ending in LF: a migration's checksum is
/// what a server compares, so a checkout must give the same bytes everywhere.
pub fn migrations_are_numbered_without_gaps(repository: &Repository, findings: &mut Vec<Finding>) {
    let migrations = repository
        .files()
        .filter_map(|(path, text)| {
            Some((path, path.strip_prefix(migrations::DIRECTORY)?.strip_prefix('/')?, text))
        })
        .filter(|(_, name, _)| name.ends_with(".sql"));
    for (index, (path, name, text)) in migrations.enumerate() {
        let number = format!("{:04}_", index + 1);
        if !name.starts_with(&number) {
            findings.push(finding(path, format!("the next migration is called {number}…")));
        }
        if text.contains('\r') {
            findings.push(finding(path, "a migration's lines end in LF".to_owned()));
        }
        if !text.ends_with('\n') {
            findings.push(finding(path, "a migration ends with a line's end".to_owned()));
        }
    }
}

/// Where a protocol version is recorded, and the list that freezes it once it is released: as `sha256sum` writes it.
const GOLDEN: &str = "crates/protocol/tests/golden";
const FROZEN: &str = "SHA256SUMS";

/// What a released version looks like on the wire is never edited: agents that speak it are out there.
pub fn released_protocol_versions_stay(repository: &Repository, findings: &mut Vec<Finding>) {
    let below = |folder: &str| {
        let folder = format!("{folder}/");
        repository
            .files()
            .filter_map(move |(path, text)| Some((path.strip_prefix(&folder)?.to_owned(), text)))
    };
    let versions = below(GOLDEN).filter_map(|(path, sums)| {
        let version = path.strip_suffix(FROZEN)?.strip_suffix('/')?.to_owned();
        Some((format!("{GOLDEN}/{version}"), sums))
    });
    for (version, sums) in versions {
        let sums: BTreeMap<&str, &str> =
            sums.lines().filter_map(|line| line.split_once("  ")).map(|(sum, name)| (name, sum)).collect();
        let files: BTreeMap<String, String> = below(&version)
            .filter(|(name, _)| name != FROZEN)
            .map(|(name, text)| (name, sha256(text.as_bytes())))
            .collect();
        let mut say = |name: &str, what: &str| {
            let rule = format!("this protocol version is released: {what}");
            findings.push(finding(&format!("{version}/{name}"), rule));
        };
        for (name, sum) in &files {
            match sums.get(name.as_str()) {
                Some(released) if released == sum => {}
                Some(_) => say(name, "the file stays as it is, what is new goes into a newer version"),
                None => say(name, "the file belongs to a newer version"),
            }
        }
        for name in sums.keys().filter(|name| !files.contains_key(**name)) {
            say(name, "the file stays");
        }
    }
}

/// The README's table says of every capability, once, where it stands.
pub fn the_readme_names_every_capability(repository: &Repository, findings: &mut Vec<Finding>) {
    let (list, readme) = ("docs/capability-ids.txt", "README.md");
    let Some(wanted) = repository.text(list) else { return };
    let rows = first_cells(repository.text(readme).unwrap_or_default());
    for id in wanted.lines() {
        match rows.iter().filter(|cell| **cell == id).count() {
            1 => {}
            0 => findings.push(finding(readme, format!("the capability table lacks {id}"))),
            _ => findings.push(finding(readme, format!("the capability table names {id} more than once"))),
        }
    }
}

/// Callers branch on a problem's `code`, so each is written down, and none that does not exist.
pub fn every_error_code_is_documented(repository: &Repository, findings: &mut Vec<Finding>) {
    let (source, page) = ("crates/server/src/error.rs", "docs/errors.md");
    let Some(code) = repository.text(source) else { return };
    // `Variant = "CODE"`; other literals are codes of fields.
    let in_code: BTreeSet<String> = tokens(code)
        .windows(2)
        .filter(|pair| pair[0].text == "=")
        .filter_map(|pair| Some(pair[1].text.strip_prefix('"')?.strip_suffix('"')?.to_owned()))
        .filter(|literal| is_error_code(literal))
        .collect();
    let documented: BTreeSet<String> = first_cells(repository.text(page).unwrap_or_default())
        .into_iter()
        .map(|cell| cell.trim_matches('`').to_owned())
        .filter(|cell| is_error_code(cell))
        .collect();
    for code in in_code.difference(&documented) {
        findings.push(finding(page, format!("{code} is not documented")));
    }
    for code in documented.difference(&in_code) {
        findings.push(finding(page, format!("{code} is documented but not in {source}")));
    }
}

fn is_error_code(text: &str) -> bool {
    text.len() > 3
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// The first cell of every row of every table in a Markdown text.
fn first_cells(markdown: &str) -> Vec<&str> {
    markdown
        .lines()
        .filter_map(|line| line.trim().strip_prefix('|')?.split('|').next())
        .map(str::trim)
        .collect()
}

fn finding(path: &str, rule: String) -> Finding {
    Finding { file: path.to_owned(), line: 0, rule }
}
