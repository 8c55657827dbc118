//! The independent checker: the ledger that the commands themselves wrote, against what the server says.

use super::driver::{Driver, Submitted};
use super::samples;
use super::strike::{Kind, Trouble};
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How long a living agent takes at most from the end of a command to having it on disk: a kill in between may leave
/// a command without a known end, a later one may not.
const END_IS_NOTED_WITHIN: Duration = Duration::from_secs(2);

/// What was found.
#[derive(Default)]
pub struct Findings {
    by_status: BTreeMap<String, usize>,
    samples: usize,
    gaps: usize,
    faults: Vec<String>,
}

impl Findings {
    /// What came of the samples, too.
    pub fn add(&mut self, outcome: samples::Outcome) {
        let samples::Outcome { samples, gaps, faults } = outcome;
        (self.samples, self.gaps) = (samples, gaps);
        self.faults.extend(faults);
    }

    /// Counts per status and every fault, a line each.
    pub fn report(&self) -> String {
        let mut text = String::new();
        for (status, count) in &self.by_status {
            let _ = writeln!(text, "[INFO] {status}: {count}");
        }
        let _ = writeln!(text, "[INFO] samples: {}, recorded gaps: {}", self.samples, self.gaps);
        for fault in &self.faults {
            let _ = writeln!(text, "[ERROR] {fault}");
        }
        text
    }

    /// Fails when there is any fault.
    pub fn verdict(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.faults.is_empty(), "{} faults", self.faults.len());
        Ok(())
    }
}

/// How often a command started and ended on the machine, and when it ended first.
#[derive(Default, Clone, Copy)]
struct Seen {
    starts: usize,
    ends: usize,
    ended_at: Option<SystemTime>,
}

pub fn check(driver: &Driver, ledger: &Path, troubles: &[Trouble]) -> anyhow::Result<Findings> {
    let text = if ledger.exists() { std::fs::read_to_string(ledger)? } else { String::new() };
    let seen = read_ledger(&text)?;
    let mut findings = Findings::default();
    for command in driver.submitted() {
        let on_machine = seen.get(command.mark.as_str()).copied().unwrap_or_default();
        check_command(command, on_machine, troubles, &mut findings);
    }
    Ok(findings)
}

/// Reads lines of mark, `start` or `end`, and nanoseconds since 1970. A line that is none fails: a ledger that is not
/// understood excuses nobody.
fn read_ledger(text: &str) -> anyhow::Result<BTreeMap<&str, Seen>> {
    let mut seen: BTreeMap<&str, Seen> = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let &[mark, word, nanoseconds] = words.as_slice() else { anyhow::bail!("in the ledger: {line:?}") };
        let nanoseconds = nanoseconds.parse().with_context(|| format!("in the ledger: {line:?}"))?;
        let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds);
        let entry = seen.entry(mark).or_default();
        match word {
            "start" => entry.starts += 1,
            "end" => {
                entry.ends += 1;
                entry.ended_at.get_or_insert(at);
            }
            _ => anyhow::bail!("in the ledger: {line:?}"),
        }
    }
    Ok(seen)
}

/// Whether a kill may have kept the agent from knowing how the command ended.
fn is_excused(command: &Submitted, on_machine: Seen, troubles: &[Trouble]) -> bool {
    let own = || troubles.iter().filter(|trouble| trouble.agent_id == command.agent_id);
    own().filter(|trouble| trouble.what == Kind::Killed && trouble.from >= command.asked_at).any(|kill| {
        // Written after the kill: the command outlived its agent. Or before it, and there was no room to note it.
        on_machine.ended_at.is_none_or(|ended_at| kill.from <= ended_at + END_IS_NOTED_WITHIN)
            || had_no_room(command, Some(kill.from), troubles)
    })
}

/// Whether the agent's disk was full at some time since the command was asked for, and before `to`.
fn had_no_room(command: &Submitted, to: Option<SystemTime>, troubles: &[Trouble]) -> bool {
    troubles.iter().any(|trouble| {
        trouble.what == Kind::DiskFull
            && trouble.agent_id == command.agent_id
            && trouble.is_between(command.asked_at, to.unwrap_or_else(SystemTime::now))
    })
}

fn check_command(command: &Submitted, on_machine: Seen, troubles: &[Trouble], findings: &mut Findings) {
    let mut fault =
        |text: &str| findings.faults.push(format!("{} ({}): {text}", command.mark, command.agent_id));
    if on_machine.starts > 1 {
        fault(&format!("started {} times", on_machine.starts));
    }
    let Some(answer) = command.id.as_ref().and(command.last.as_ref()) else {
        if on_machine.starts > 0 {
            fault("ran, but the server knows nothing of it");
        }
        *findings.by_status.entry("never accepted".to_owned()).or_default() += 1;
        return;
    };
    let status = answer["status"].as_str().unwrap_or_default();
    let stdout = answer["stdout"].as_str().unwrap_or_default();
    match status {
        "completed" => {
            if (on_machine.starts, on_machine.ends) != (1, 1) {
                fault("completed, but the machine's ledger disagrees");
            }
            // Where there is no room for output, it is said to be a part.
            let may_be_a_part = answer["truncated"] == true
                && command.expected_output().starts_with(stdout)
                && had_no_room(command, None, troubles);
            if stdout != command.expected_output() && !may_be_a_part {
                fault(&format!(
                    "completed with {} bytes of output instead of {}",
                    stdout.len(),
                    command.expected_output().len()
                ));
            }
        }
        "interrupted" => {
            if !is_excused(command, on_machine, troubles) {
                fault("interrupted, though its agent was not killed before it could note the end");
            }
        }
        "failed" if had_no_room(command, None, troubles) => {
            // What cannot be noted must not be started.
            if on_machine.starts > 0 {
                fault("failed for want of room, and ran all the same");
            }
        }
        "cancelled" if !command.cancelled => fault("cancelled, though nobody asked"),
        "cancelled" => {}
        other => fault(&format!("is {other}")),
    }
    if let Some((first, output)) = &command.first_final {
        let replaced_unknown = first == "interrupted" && status != "interrupted";
        if !replaced_unknown && (first != status || output != stdout) {
            fault(&format!("was {first} and is now {status}: an acknowledged result changed"));
        }
    }
    *findings.by_status.entry(status.to_owned()).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn command(status: &str, stdout: &str) -> Submitted {
        Submitted {
            mark: "mark-1".to_owned(),
            agent_id: "agent".to_owned(),
            id: Some("id".to_owned()),
            asked_at: SystemTime::UNIX_EPOCH,
            lines: 1,
            cancelled: false,
            first_final: Some((status.to_owned(), stdout.to_owned())),
            last: Some(json!({ "status": status, "stdout": stdout })),
        }
    }

    fn faults(command: &Submitted, starts: usize, ends: usize, troubles: &[Trouble]) -> usize {
        let mut findings = Findings::default();
        check_command(command, Seen { starts, ends, ended_at: None }, troubles, &mut findings);
        findings.faults.len()
    }

    fn killed(agent: &str, at: SystemTime) -> Trouble {
        Trouble { agent_id: agent.to_owned(), what: Kind::Killed, from: at, to: Some(at) }
    }

    fn full(from: u64, to: u64) -> Trouble {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        Trouble { agent_id: "agent".to_owned(), what: Kind::DiskFull, from: at(from), to: Some(at(to)) }
    }

    #[test]
    fn a_full_disk_explains_what_was_not_started_or_not_kept_and_nothing_else() {
        assert_eq!(faults(&command("failed", ""), 0, 0, &[full(5, 9)]), 0, "there was no room to note it");
        assert_eq!(faults(&command("failed", ""), 0, 0, &[]), 1);
        assert_eq!(faults(&command("failed", ""), 1, 1, &[full(5, 9)]), 1, "it ran");
        let mut part = command("completed", "mark-1 ");
        assert_eq!(faults(&part, 1, 1, &[full(5, 9)]), 1, "nothing says that it is a part");
        part.last = Some(json!({ "status": "completed", "stdout": "mark-1 ", "truncated": true }));
        assert_eq!(faults(&part, 1, 1, &[full(5, 9)]), 0);
        assert_eq!(faults(&part, 1, 1, &[]), 1);
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let ended = Seen { starts: 1, ends: 1, ended_at: Some(at(100)) };
        let interrupted = |troubles: &[Trouble]| {
            let mut findings = Findings::default();
            check_command(&command("interrupted", ""), ended, troubles, &mut findings);
            findings.faults.len()
        };
        assert_eq!(interrupted(&[full(95, 200), killed("agent", at(150))]), 0, "its end had no room");
        assert_eq!(interrupted(&[full(160, 200), killed("agent", at(150))]), 1, "the disk was full later");
    }

    #[test]
    fn a_clean_run_has_no_faults() {
        assert_eq!(faults(&command("completed", "mark-1 line 1\n"), 1, 1, &[]), 0);
    }

    #[test]
    fn double_starts_lost_output_and_unexplained_interruptions_are_faults() {
        assert_eq!(faults(&command("completed", "mark-1 line 1\n"), 2, 1, &[]), 2);
        assert_eq!(faults(&command("completed", ""), 1, 1, &[]), 1);
        assert_eq!(faults(&command("interrupted", ""), 1, 0, &[]), 1);
        assert_eq!(faults(&command("running", ""), 1, 0, &[]), 1);
    }

    #[test]
    fn an_interruption_is_explained_by_a_kill_of_its_agent_only() {
        let kill = |agent: &str| [killed(agent, SystemTime::now())];
        assert_eq!(faults(&command("interrupted", ""), 1, 0, &kill("agent")), 0);
        assert_eq!(faults(&command("interrupted", ""), 1, 0, &kill("another")), 1);
    }

    #[test]
    fn a_kill_after_the_end_was_noted_explains_no_interruption() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let kill = |seconds| killed("agent", at(seconds));
        let ended = Seen { starts: 1, ends: 1, ended_at: Some(at(100)) };
        let faults = |on_machine, troubles: &[Trouble]| {
            let mut findings = Findings::default();
            check_command(&command("interrupted", ""), on_machine, troubles, &mut findings);
            findings.faults.len()
        };
        assert_eq!(faults(ended, &[kill(103)]), 1, "the agent knew the end for seconds");
        assert_eq!(faults(ended, &[kill(101)]), 0, "the agent may not have noted the end yet");
        assert_eq!(faults(ended, &[kill(90)]), 0, "the command outlived its agent");
        assert_eq!(faults(ended, &[kill(90), kill(103)]), 0, "the first kill explains it");
        assert_eq!(faults(Seen { ended_at: None, ends: 0, ..ended }, &[kill(103)]), 0, "it never ended");
    }

    #[test]
    fn the_ledger_says_how_often_and_when() {
        let ledger =
            read_ledger("a start 1000000000\nb start 1\na end 3000000000\na end 4000000000\n").unwrap();
        let Seen { starts, ends, ended_at } = ledger["a"];
        assert_eq!((starts, ends), (1, 2));
        assert_eq!(ended_at, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(3)), "the first end counts");
        assert_eq!(ledger["b"].ended_at, None);
        for unreadable in ["a end", "a end ", "a end 1N", "a middle 1", "a end 1 2"] {
            assert!(read_ledger(unreadable).is_err(), "{unreadable:?}");
        }
    }

    #[test]
    fn a_result_that_changes_after_it_was_said_is_a_fault() {
        let mut changed = command("completed", "mark-1 line 1\n");
        changed.first_final = Some(("cancelled".to_owned(), String::new()));
        assert_eq!(faults(&changed, 1, 1, &[]), 1);
    }
}
