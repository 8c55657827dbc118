//! What may stand in any file.

use super::{Finding, Repository};

const LONGEST_FILE: usize = 800;
const LONG_FILE: usize = 500;

/// Nothing over 800 lines, nine of ten under 500.
pub fn files_are_short(repository: &Repository, findings: &mut Vec<Finding>) {
    let sources: Vec<(&str, usize)> = repository
        .files()
        .filter(|(path, _)| is_source(path))
        .map(|(path, text)| (path, text.lines().count()))
        .collect();
    for &(path, lines) in &sources {
        if lines > LONGEST_FILE {
            findings.push(finding(
                path,
                0,
                format!("{lines} lines are too many to read; cut it by topic ({LONGEST_FILE})"),
            ));
        }
    }
    let long: Vec<&str> =
        sources.iter().filter(|(_, lines)| *lines > LONG_FILE).map(|(path, _)| *path).collect();
    if long.len() * 10 > sources.len() {
        findings.push(finding(
            long[0],
            0,
            format!("more than one file of ten is over {LONG_FILE} lines: {}", long.join(", ")),
        ));
    }
}

/// What is not done is an issue, not a comment.
pub fn nothing_is_left_for_later(repository: &Repository, findings: &mut Vec<Finding>) {
    // In pieces, or this file would be its own first finding.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    each_line(repository, findings, |line| {
        line.split(|character: char| !character.is_ascii_alphanumeric() && character != '_')
            .find(|word| marks.contains(word))
            .map(|mark| format!("finish it or open an issue instead of writing {mark}"))
    });
}

/// The house writes words.
pub fn no_emoji(repository: &Repository, findings: &mut Vec<Finding>) {
    each_line(repository, findings, |line| {
        line.chars()
            .find(|character| is_emoji(*character))
            .map(|emoji| format!("no emoji (U+{:04X})", u32::from(emoji)))
    });
}

/// Paths of whoever wrote it, and where packages came from, mean nothing on another machine.
pub fn nothing_names_this_machine(repository: &Repository, findings: &mut Vec<Finding>) {
    let names = [
        concat!("/ro", "ot/."),
        concat!("/wo", "rk/"),
        concat!("index.crates", ".io"),
        concat!("static.crates", ".io"),
        concat!("registry.npmjs", ".org"),
        concat!("files.pythonhosted", ".org"),
        concat!("pypi", ".org"),
        concat!("deb.debian", ".org"),
        concat!("archive.ubuntu", ".com"),
    ];
    each_line(repository, findings, |line| {
        names.iter().find(|name| line.contains(**name)).map(|name| format!("{name} is of one machine only"))
    });
}

/// Mail addresses in the repository are nobody's: example.com and its kind (RFC 2606, RFC 6761).
pub fn test_data_is_invented(repository: &Repository, findings: &mut Vec<Finding>) {
    each_line(repository, findings, |line| {
        mail_domains(line)
            .find(|domain| !is_reserved(domain))
            .map(|domain| format!("{domain} may be somebody's; use example.com, .test or .invalid"))
    });
}

fn mail_domains(line: &str) -> impl Iterator<Item = &str> {
    let in_word = |character: char| character.is_ascii_alphanumeric() || character == '.' || character == '-';
    line.match_indices('@').filter_map(move |(at, _)| {
        line[..at].chars().next_back().filter(|before| before.is_ascii_alphanumeric())?;
        let domain =
            line[at + 1..].split(|character: char| !in_word(character)).next()?.trim_end_matches('.');
        let (_, top) = domain.rsplit_once('.')?;
        // Not versions ("cargo-nextest@0.9"), not systemd's unit files.
        let is_domain =
            top.len() > 1 && top.bytes().all(|byte| byte.is_ascii_lowercase()) && top != "service";
        is_domain.then_some(domain)
    })
}

fn is_reserved(domain: &str) -> bool {
    let reserved = ["example.com", "example.org", "example.net", "example", "test", "invalid", "localhost"];
    reserved.iter().any(|name| domain == *name || domain.ends_with(&format!(".{name}")))
}

fn is_emoji(character: char) -> bool {
    matches!(u32::from(character), 0x2600..=0x27BF | 0x2B50..=0x2B55 | 0xFE0F | 0x1F000..=0x1FAFF)
}

/// Written by hand, and meant to be read.
fn is_source(path: &str) -> bool {
    let written = [".rs", ".ts", ".tsx", ".css", ".sql", ".sh"].iter().any(|ending| path.ends_with(ending));
    (written || path == "dev") && !path.ends_with("schema.d.ts")
}

fn is_generated(path: &str) -> bool {
    ["Cargo.lock", "package-lock.json", "schema.d.ts", "openapi.json"].iter().any(|name| path.ends_with(name))
        || path == "LICENSE"
        || path.starts_with(".sqlx/")
        || path.contains("/corpus/")
}

fn each_line(repository: &Repository, findings: &mut Vec<Finding>, check: impl Fn(&str) -> Option<String>) {
    for (path, text) in repository.files().filter(|(path, _)| !is_generated(path)) {
        for (index, line) in text.lines().enumerate() {
            findings.extend(check(line).map(|rule| finding(path, index + 1, rule)));
        }
    }
}

fn finding(path: &str, line: usize, rule: String) -> Finding {
    Finding { file: path.to_owned(), line, rule }
}
