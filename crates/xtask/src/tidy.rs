//! `xtask tidy`: the architecture's invariants, most of them an absence ("only X knows Y"), as a program.

mod architecture;
mod paper;
mod repository;
mod rust;
mod text;

use std::fmt;
use std::path::Path;

use anyhow::bail;

pub use repository::Repository;

/// One place that breaks one rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Relative to the repository's root.
    pub file: String,
    /// From 1; 0 where the whole file is meant.
    pub line: usize,
    /// The rule, in words that say what to do.
    pub rule: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(formatter, "{}: {}", self.file, self.rule),
            line => write!(formatter, "{}:{line}: {}", self.file, self.rule),
        }
    }
}

type Rule = fn(&Repository, &mut Vec<Finding>);

const RULES: &[Rule] = &[
    architecture::slices_keep_http_and_sql_apart,
    architecture::queries_live_in_stores,
    architecture::the_pool_is_private_to_the_database,
    architecture::the_server_starts_no_programs,
    architecture::the_protocol_does_no_io,
    architecture::the_kernel_knows_no_feature,
    architecture::one_file_names_the_transport,
    architecture::platforms_differ_in_few_places,
    text::files_are_short,
    text::nothing_is_left_for_later,
    text::no_emoji,
    text::nothing_names_this_machine,
    text::test_data_is_invented,
    paper::migrations_are_numbered_without_gaps,
    paper::released_protocol_versions_stay,
    paper::the_readme_names_every_capability,
    paper::every_error_code_is_documented,
];

/// Checks the repository at `root` and prints what it finds.
///
/// # Errors
/// When a rule is broken, or the repository cannot be read.
pub fn run(root: &Path) -> anyhow::Result<()> {
    let findings = findings(&Repository::read(root)?);
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        1 => bail!("one place is untidy"),
        places => bail!("{places} places are untidy"),
    }
}

fn findings(repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in RULES {
        rule(repository, &mut findings);
    }
    findings.sort();
    findings
}

#[cfg(test)]
mod tests;
