//! Which tests needed a second try, from the reports of nextest (JUnit) and Playwright (JSON). `./dev test` names them
//! at its end: a test that passes now and then is a fault, in the test or in what it tests.

use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;
use std::fmt;
use std::fs;
use std::path::PathBuf;

#[derive(Args)]
pub struct Options {
    /// Reports: `.xml` is read as JUnit, everything else as Playwright's JSON
    #[arg(required = true)]
    reports: Vec<PathBuf>,
}

/// A test that was tried more than once.
#[derive(Debug, PartialEq, Eq)]
struct Retried {
    test: String,
    retries: usize,
    passed: bool,
}

impl fmt::Display for Retried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { test, retries, passed } = self;
        let (outcome, plural) =
            (if *passed { "passed" } else { "failed" }, if *retries == 1 { "y" } else { "ies" });
        write!(f, "[WARNING] flaky: {test} ({outcome} after {retries} retr{plural})")
    }
}

pub fn run(options: &Options) -> anyhow::Result<()> {
    for path in &options.reports {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let retried = match path.extension().is_some_and(|extension| extension == "xml") {
            true => of_junit(&text),
            false => of_playwright(&text).with_context(|| format!("cannot read {}", path.display()))?,
        };
        retried.iter().for_each(|test| println!("{test}"));
    }
    Ok(())
}

/// nextest leaves `flakyFailure` for every try before the one that passed, and `failure` with `rerunFailure`s where none
/// did. What a test printed is escaped in the report, so an opening bracket always begins an element.
fn of_junit(report: &str) -> Vec<Retried> {
    let cases = report.split("<testcase ").skip(1);
    let retried = cases.map(|case| {
        let (head, rest) = case.split_once('>').unwrap_or((case, ""));
        // `<testcase …/>` has no elements; the next one's are not its own.
        let body =
            if head.ends_with('/') { "" } else { rest.split("</testcase>").next().unwrap_or_default() };
        let count = |names: [&str; 2]| names.iter().map(|name| body.matches(name).count()).sum::<usize>();
        let flaky = count(["<flakyFailure", "<flakyError"]);
        Retried {
            test: format!("{} {}", attribute(head, "classname"), attribute(head, "name")),
            retries: flaky + count(["<rerunFailure", "<rerunError"]),
            passed: flaky > 0,
        }
    });
    retried.filter(|test| test.retries > 0).collect()
}

/// The value of an attribute; names of tests hold nothing that XML writes in another way, but for `<T>`.
fn attribute(head: &str, name: &str) -> String {
    let begin = format!("{name}=\"");
    let value = head.split(' ').find_map(|part| part.strip_prefix(&begin));
    let value = value.and_then(|value| value.split('"').next()).unwrap_or("?");
    value.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

#[derive(Deserialize)]
struct Report {
    suites: Vec<Suite>,
}

#[derive(Deserialize)]
struct Suite {
    #[serde(default)]
    specs: Vec<Spec>,
    #[serde(default)]
    suites: Vec<Suite>,
}

#[derive(Deserialize)]
struct Spec {
    title: String,
    file: String,
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    /// `expected`, `flaky`, `unexpected` or `skipped`.
    status: String,
    /// One for every try.
    results: Vec<serde::de::IgnoredAny>,
}

fn of_playwright(report: &str) -> anyhow::Result<Vec<Retried>> {
    let mut suites = serde_json::from_str::<Report>(report)?.suites;
    let mut retried = Vec::new();
    // The order is that of the files, as far as it matters: a suite's own tests, then those of its groups.
    suites.reverse();
    while let Some(suite) = suites.pop() {
        for spec in suite.specs {
            for test in spec.tests.iter().filter(|test| test.results.len() > 1) {
                retried.push(Retried {
                    test: format!("{} {}", spec.file, spec.title),
                    retries: test.results.len() - 1,
                    passed: test.status != "unexpected",
                });
            }
        }
        suites.extend(suite.suites.into_iter().rev());
    }
    Ok(retried)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(retried: &[Retried]) -> Vec<String> {
        retried.iter().map(Retried::to_string).collect()
    }

    /// As cargo-nextest 0.9.151 writes it.
    const JUNIT: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="5" skipped="0" failures="1" errors="0" time="305.835">
    <testsuite name="gururmm-server::it" tests="5" skipped="0" errors="0" failures="1">
        <testcase name="admin::at_once" classname="gururmm-server::it" time="0.088"/>
        <testcase name="admin::the_second_time" classname="gururmm-server::it" time="1.9">
            <flakyFailure time="1.121" message="thread &apos;admin&apos; panicked" type="test failure with exit code 101">left
                <system-out>it said &lt;flakyFailure&gt; &lt;rerunFailure</system-out>
                <system-err></system-err>
            </flakyFailure>
        </testcase>
        <testcase name="keys::parses::&lt;u8&gt;" classname="gururmm-server::it" time="1.9">
            <flakyFailure time="1.1" message="one" type="test failure">one</flakyFailure>
            <flakyFailure time="1.1" message="two" type="test failure">two</flakyFailure>
        </testcase>
        <testcase name="admin::never" classname="gururmm-server::it" time="1.9">
            <failure message="three" type="test failure">three</failure>
            <rerunFailure time="1.1" message="one" type="test failure">one</rerunFailure>
            <rerunFailure time="1.1" message="two" type="test failure">two</rerunFailure>
        </testcase>
        <testcase name="admin::fails_at_once" classname="gururmm-server::it" time="1.9">
            <failure message="one" type="test failure">one</failure>
        </testcase>
    </testsuite>
</testsuites>"#;

    #[test]
    fn every_retried_rust_test_is_named_with_how_often() {
        let expected = [
            "[WARNING] flaky: gururmm-server::it admin::the_second_time (passed after 1 retry)",
            "[WARNING] flaky: gururmm-server::it keys::parses::<u8> (passed after 2 retries)",
            "[WARNING] flaky: gururmm-server::it admin::never (failed after 2 retries)",
        ];
        assert_eq!(lines(&of_junit(JUNIT)), expected);
        assert!(of_junit("").is_empty() && of_junit("<testcase ").is_empty());
    }

    #[test]
    fn every_retried_end_to_end_test_is_named_with_how_often() {
        // As Playwright 1.65 writes it, with what is not read left out.
        let report = r#"{"stats": {"expected": 1, "flaky": 1, "unexpected": 2}, "suites": [
            {"title": "agent.spec.ts", "specs": [
                {"title": "figures", "file": "agent.spec.ts", "tests": [{"status": "expected", "results": [{"retry": 0}]}]},
                {"title": "history", "file": "agent.spec.ts", "tests": [
                    {"status": "flaky", "results": [{"retry": 0, "status": "failed"}, {"retry": 1, "status": "passed"}]}]}],
             "suites": [{"title": "group", "specs": [{"title": "gone", "file": "agent.spec.ts", "tests": [
                    {"status": "unexpected", "results": [{"retry": 0}, {"retry": 1}, {"retry": 2}]}]}]}]},
            {"title": "people.spec.ts", "specs": [{"title": "fails", "file": "people.spec.ts", "tests": [
                    {"status": "unexpected", "results": [{"retry": 0}]}]}]}]}"#;
        let expected = [
            "[WARNING] flaky: agent.spec.ts history (passed after 1 retry)",
            "[WARNING] flaky: agent.spec.ts gone (failed after 2 retries)",
        ];
        assert_eq!(lines(&of_playwright(report).unwrap()), expected);
        assert!(of_playwright("{}").is_err());
    }
}
