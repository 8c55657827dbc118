//! The independent checker of samples: what the server has of each agent, held against how often an agent measures and what
//! was done to it. What the agent itself says counts only where it admits a loss.

use super::strike::{Kind, Trouble};
use crate::api::Api;
use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use std::thread;
use std::time::{Duration, Instant};

/// How often agents measure, by policy: the least that there is.
const INTERVAL_SECONDS: u64 = 10;
/// What two samples may be apart: less than two intervals, so that one that is missing shows, and enough for a busy machine.
const LONGEST: TimeDelta = TimeDelta::seconds(18);
/// The same for an agent that was started anew and has not heard the policy yet: it measures once a minute.
const LONGEST_UNTOLD: TimeDelta = TimeDelta::seconds(70);
/// What two samples of one run are apart at least: what is closer was counted twice.
const SHORTEST: TimeDelta = TimeDelta::seconds(5);
/// What a kill may cost of samples that were not acknowledged: the agent writes those that wait longer.
const WRITTEN_WITHIN: TimeDelta = TimeDelta::seconds(15);
/// How soon after a failure the agent tries its disk again.
const DISK_TRIED_EVERY: TimeDelta = TimeDelta::seconds(60);
/// Samples that a store may hold although the server has them: their acknowledgement was on its way when the line was cut.
const KEPT_AND_SENT: usize = 2;
/// How soon an agent that was started has measured.
const FIRST_WITHIN: TimeDelta = TimeDelta::seconds(6);
/// How long what waits on the agents' disks may take to arrive.
const ARRIVES_WITHIN: Duration = Duration::from_secs(120);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

type Time = DateTime<Utc>;
type Span = (Time, Time);

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub samples: usize,
    pub gaps: usize,
    pub faults: Vec<String>,
}

/// What the server says of one agent's samples within the run.
#[derive(Debug, Default)]
struct Told {
    /// When they were taken, oldest first, each time once.
    samples: Vec<Time>,
    /// How many there are by the chart, which counts and does not look at times.
    counted: u64,
    gaps: Vec<Span>,
    /// Those of them whose cause is a store that could not be read.
    unreadable: Vec<Span>,
    /// When its sessions began.
    connected: Vec<Time>,
}

/// Has all agents measure as often as they can. Answers from when on that holds.
///
/// # Errors
/// The server refuses.
pub fn measure_often(api: &Api) -> anyhow::Result<Time> {
    let partners = api.get("/api/v1/partners")?;
    let partner = partners["items"][0]["id"].as_str().context("there is no partner")?;
    let settings = json!({ "settings": { "metrics_interval_seconds": INTERVAL_SECONDS } });
    api.put(&format!("/api/v1/policies/partner/{partner}"), &settings)?;
    Ok(Utc::now())
}

/// Checks the run from `from` to `to` as soon as nothing is missing, or when what waited has had its time to arrive.
///
/// # Errors
/// The server does not answer.
pub fn check(
    api: &Api,
    agents: &[String],
    (from, to): Span,
    troubles: &[Trouble],
) -> anyhow::Result<Outcome> {
    let deadline = Instant::now() + ARRIVES_WITHIN;
    loop {
        let mut outcome = Outcome::default();
        for agent_id in agents {
            let told = Told::ask(api, agent_id, from)?;
            let own: Vec<&Trouble> =
                troubles.iter().filter(|trouble| trouble.agent_id == *agent_id).collect();
            let faults = Life::of(&own, &told.connected).faults(&told, (from, to));
            outcome.samples += told.samples.len();
            outcome.gaps += told.gaps.len();
            outcome.faults.extend(faults.into_iter().map(|fault| format!("{agent_id}: {fault}")));
        }
        if outcome.faults.is_empty() || Instant::now() > deadline {
            return Ok(outcome);
        }
        thread::sleep(LOOK_EVERY);
    }
}

impl Told {
    fn ask(api: &Api, agent_id: &str, from: Time) -> anyhow::Result<Self> {
        // Samples that come while this asks are not of interest.
        let end = Utc::now();
        let samples = samples(api, agent_id, (from, end))?;
        let span = format!("from={}&to={}", text(from + MICROSECOND), text(end + MICROSECOND));
        let chart = api.get(&format!("/api/v1/agents/{agent_id}/metrics?{span}"))?;
        let counted = chart["points"].as_array().context("a chart without points")?.iter();
        let counted = counted.filter_map(|point| point["samples"].as_u64()).sum();
        let gaps = api.get(&format!("/api/v1/agents/{agent_id}/metrics/gaps?{span}"))?;
        let (mut all, mut unreadable) = (Vec::new(), Vec::new());
        for gap in gaps["gaps"].as_array().context("no list of gaps")? {
            let span = (time(&gap["from"])?, time(&gap["to"])?);
            all.push(span);
            unreadable.extend((gap["reason"] == "store_unreadable").then_some(span));
        }
        Ok(Self { samples, counted, gaps: all, unreadable, connected: connected(api, agent_id)? })
    }
}

const MICROSECOND: TimeDelta = TimeDelta::microseconds(1);

/// When the samples were taken that the server has, from the newest backwards: after `from`, up to `end`.
fn samples(api: &Api, agent_id: &str, (from, end): Span) -> anyhow::Result<Vec<Time>> {
    let (mut found, mut at) = (Vec::new(), end);
    loop {
        let sample = match api.get(&format!("/api/v1/agents/{agent_id}/metrics/at?time={}", text(at))) {
            Ok(sample) => sample,
            // There is none before it.
            Err(error) if error.to_string().contains("answered 404") => break,
            Err(error) => return Err(error),
        };
        let taken = time(&sample["t"])?;
        if taken <= from {
            break;
        }
        found.push(taken);
        at = taken - MICROSECOND;
    }
    found.reverse();
    Ok(found)
}

fn connected(api: &Api, agent_id: &str) -> anyhow::Result<Vec<Time>> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("/api/v1/agents/{agent_id}/connections?limit=200&cursor={cursor}"))?;
        for connection in page["items"].as_array().context("no list of connections")? {
            found.push(time(&connection["connected_at"])?);
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => return Ok(found),
        }
    }
}

fn text(time: Time) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn time(value: &Value) -> anyhow::Result<Time> {
    let text = value.as_str().context("a time is missing")?;
    text.parse().with_context(|| format!("{text:?} is no time"))
}

/// What one agent went through, as far as it explains what samples look like.
#[derive(Debug, Default)]
struct Life {
    /// From a kill until the next run has measured, with what the kill may have cost.
    killed: Vec<Span>,
    /// From each kill to the start after it.
    away: Vec<Span>,
    /// From a start until a server told the run the policy.
    untold: Vec<Span>,
    /// Runs that began with a wrong clock and ended before a server told them the time: nobody knows when they measured.
    timeless: Vec<Span>,
    has_full_disk: bool,
    /// From when on samples may have been kept that were lost with their store, until the start without them.
    spoiled: Vec<Span>,
}

impl Life {
    fn of(troubles: &[&Trouble], connected: &[Time]) -> Self {
        let all = |kind| troubles.iter().copied().filter(move |trouble| trouble.what == kind);
        let mut life = Self {
            has_full_disk: all(Kind::DiskFull).next().is_some(),
            // What was on its way when the line was cut is kept, too.
            spoiled: all(Kind::Spoiled)
                .map(Trouble::span)
                .map(|(from, to)| (from - WRITTEN_WITHIN, to))
                .collect(),
            ..Self::default()
        };
        let mut kills: Vec<Span> = all(Kind::Killed).map(Trouble::span).collect();
        kills.sort_unstable();
        for (index, &(killed, started)) in kills.iter().enumerate() {
            // A full disk takes nothing, and is not tried again at once when it has room.
            let in_memory_since = all(Kind::DiskFull)
                .map(Trouble::span)
                .filter(|(full, room)| *full <= killed && killed <= *room + DISK_TRIED_EVERY + WRITTEN_WITHIN)
                .map(|(full, _)| full)
                .fold(killed, Time::min);
            life.killed.push((in_memory_since - WRITTEN_WITHIN, started + FIRST_WITHIN));
            life.away.push((killed, started));
            let next_kill = kills.get(index + 1).map_or(Time::MAX_UTC, |next| next.0);
            let told = connected.iter().copied().filter(|at| (started..next_kill).contains(at)).min();
            life.untold.push((started, told.unwrap_or(next_kill)));
            let is_clock_wrong = all(Kind::ClockWrong).any(|trouble| trouble.span().0 <= started);
            if told.is_none() && is_clock_wrong {
                life.timeless.push((started, next_kill));
            }
        }
        life
    }

    fn faults(&self, told: &Told, (from, to): Span) -> Vec<String> {
        let mut faults = Vec::new();
        if told.counted != told.samples.len() as u64 {
            faults.push(format!("{} samples at {} times", told.counted, told.samples.len()));
        }
        let is_over = told.samples.last().is_some_and(|last| *last >= to);
        if !is_over {
            faults.push("no sample since the end of the trouble".to_owned());
        }
        if told.gaps.len() > told.unreadable.len() && !self.has_full_disk {
            faults.push("says that samples are lost, though its disk was never full".to_owned());
        }
        for &(gap_from, gap_to) in &told.unreadable {
            let is_within = |(from, to): &Span| *from <= gap_from && gap_to <= *to;
            if !self.spoiled.iter().any(is_within) {
                let (gap_from, gap_to) = (text(gap_from), text(gap_to));
                faults.push(format!(
                    "says that its store was lost from {gap_from} to {gap_to}, which it was not"
                ));
            }
            let there = told.samples.iter().filter(|taken| (gap_from..=gap_to).contains(taken)).count();
            if there > KEPT_AND_SENT {
                faults.push(format!("says that samples are lost of which {there} are there"));
            }
        }
        for (from, to) in &self.spoiled {
            if !told.unreadable.iter().any(|(gap_from, gap_to)| gap_from < to && from < gap_to) {
                faults.push("does not say that its store was lost".to_owned());
            }
        }
        let excused: Vec<Span> =
            [&self.killed, &self.timeless, &told.gaps].into_iter().flatten().copied().collect();
        let ends = (!is_over).then_some(to);
        let times: Vec<Time> =
            std::iter::once(from).chain(told.samples.iter().copied()).chain(ends).collect();
        for pair in times.windows(2) {
            let &[earlier, later] = pair else { continue };
            for hole in without((earlier, later), &excused) {
                let untold = length(hole) - without(hole, &self.untold).into_iter().map(length).sum();
                if length(hole) - untold > LONGEST || length(hole) > LONGEST_UNTOLD {
                    let (hole_from, hole_to) = (text(hole.0), text(hole.1));
                    faults.push(format!("no sample and no word of it from {hole_from} to {hole_to}"));
                }
            }
        }
        // Samples without a time of their own may be anywhere.
        for pair in told.samples.windows(2).filter(|_| self.timeless.is_empty()) {
            let &[earlier, later] = pair else { continue };
            let is_of_one_run = !self.away.iter().any(|(killed, started)| {
                earlier <= *killed + TimeDelta::seconds(1) && *started <= later + TimeDelta::seconds(1)
            });
            if is_of_one_run && later - earlier < SHORTEST {
                faults.push(format!("the samples of {} and {} are one", text(earlier), text(later)));
            }
        }
        faults
    }
}

fn length((from, to): Span) -> TimeDelta {
    to - from
}

/// What is left of a span without others.
fn without(span: Span, others: &[Span]) -> Vec<Span> {
    let mut left = vec![span];
    for &(from, to) in others {
        left = left
            .into_iter()
            .flat_map(|piece| [(piece.0, piece.1.min(from)), (piece.0.max(to), piece.1)])
            .filter(|(from, to)| from < to)
            .collect();
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    fn at(seconds: i64) -> Time {
        DateTime::from_timestamp(1_900_000_000 + seconds, 0).unwrap()
    }

    fn trouble(what: Kind, from: i64, to: i64) -> Trouble {
        let system = |seconds| SystemTime::from(at(seconds));
        Trouble { agent_id: "agent".to_owned(), what, from: system(from), to: Some(system(to)) }
    }

    fn told(samples: impl IntoIterator<Item = i64>) -> Told {
        let samples: Vec<Time> = samples.into_iter().map(at).collect();
        Told { counted: samples.len() as u64, samples, ..Told::default() }
    }

    /// Samples each ten seconds up to 300, without those in between.
    fn without_those(from: i64, to: i64) -> Told {
        told((0..=300).step_by(10).filter(|second| !(from..=to).contains(second)))
    }

    fn faults(told: &Told, troubles: &[Trouble]) -> usize {
        let troubles: Vec<&Trouble> = troubles.iter().collect();
        Life::of(&troubles, &told.connected).faults(told, (at(0), at(300))).len()
    }

    #[test]
    fn one_sample_that_is_missing_is_a_fault() {
        assert_eq!(faults(&without_those(-1, -1), &[]), 0);
        assert_eq!(faults(&without_those(100, 100), &[]), 1);
        assert_eq!(faults(&without_those(0, 10), &[]), 1, "at the beginning");
        assert_eq!(faults(&without_those(300, 300), &[]), 1, "the end has not come");
        assert_eq!(faults(&without_those(280, 300), &[]), 2, "and before it something is missing");
        assert_eq!(faults(&told([]), &[]), 2, "everything is");
    }

    #[test]
    fn a_recorded_gap_explains_what_it_covers_and_needs_a_cause() {
        let mut told = without_those(100, 150);
        told.gaps = vec![(at(100), at(150))];
        let full = [trouble(Kind::DiskFull, 80, 160)];
        assert_eq!(faults(&told, &full), 0);
        assert_eq!(faults(&told, &[]), 1, "nothing was full");
        told.gaps = vec![(at(100), at(130))];
        assert_eq!(faults(&told, &full), 1, "140 and 150 are missing, too");
        told.gaps.clear();
        assert_eq!(faults(&told, &full), 1, "a full disk alone explains nothing");
    }

    #[test]
    fn a_store_that_is_lost_is_told_of_as_it_was() {
        let troubles = [trouble(Kind::Spoiled, 98, 152), trouble(Kind::Killed, 150, 152)];
        let faults_with = |gaps: &[(i64, i64)]| {
            let mut told = without_those(100, 150);
            told.connected.push(at(153));
            told.gaps = gaps.iter().map(|(from, to)| (at(*from), at(*to))).collect();
            told.unreadable = told.gaps.clone();
            faults(&told, &troubles)
        };
        assert_eq!(faults_with(&[(96, 140)]), 0);
        assert_eq!(faults_with(&[]), 2, "a hole without a word, and no word of the store");
        assert_eq!(faults_with(&[(118, 140)]), 1, "100 and 110 are missing, too");
        assert_eq!(faults_with(&[(60, 140)]), 2, "it claims what was sent, and was not kept");
        let mut told = without_those(-1, -1);
        told.gaps = vec![(at(100), at(101))];
        told.unreadable = told.gaps.clone();
        assert_eq!(faults(&told, &[]), 1, "nothing happened to it");
    }

    #[test]
    fn a_kill_costs_fifteen_seconds_and_its_downtime() {
        let kill = [trouble(Kind::Killed, 104, 112)];
        let with_session = |mut told: Told, second| {
            told.connected.push(at(second));
            told
        };
        assert_eq!(faults(&with_session(without_those(90, 110), 113), &kill), 0);
        assert_eq!(faults(&with_session(without_those(80, 110), 113), &kill), 1, "80 was on disk");
        assert_eq!(faults(&with_session(without_those(90, 130), 113), &kill), 1, "130 was measured");
        assert_eq!(faults(&without_those(80, 110), &[trouble(Kind::Killed, 204, 205)]), 1, "another time");
    }

    #[test]
    fn a_run_that_no_server_talked_to_measures_once_a_minute() {
        let kill = [trouble(Kind::Killed, 104, 112)];
        let late = |connected: i64, samples: &[i64]| {
            let mut told =
                told((0..=100).step_by(10).chain(samples.iter().copied()).chain((250..=300).step_by(10)));
            told.connected.push(at(connected));
            faults(&told, &kill)
        };
        assert_eq!(late(235, &[113, 173, 233, 243]), 0);
        assert_eq!(late(235, &[113, 243]), 1, "more than a minute");
        assert_eq!(late(175, &[113, 173, 233, 243]), 1, "it had the policy by then");
    }

    #[test]
    fn a_kill_with_a_full_disk_costs_all_that_was_in_memory() {
        let mut lost = without_those(90, 140);
        lost.connected.push(at(146));
        let with_full =
            |from, to| faults(&lost, &[trouble(Kind::DiskFull, from, to), trouble(Kind::Killed, 144, 145)]);
        assert_eq!(with_full(100, 120), 0);
        assert_eq!(with_full(20, 75), 0, "the disk was not tried again");
        assert_eq!(with_full(140, 143), 1, "there was room before");
        assert_eq!(with_full(20, 40), 1, "and long since");
    }

    #[test]
    fn only_a_run_that_never_heard_the_time_may_have_measured_at_any() {
        let kills = [trouble(Kind::Killed, 100, 101), trouble(Kind::Killed, 200, 201)];
        let wrong = |from| [&kills[..], &[trouble(Kind::ClockWrong, from, from)]].concat();
        let mut told = without_those(95, 205);
        told.connected.push(at(202));
        assert_eq!(faults(&told, &wrong(50)), 0);
        assert_eq!(faults(&told, &kills), 1, "its clock was right");
        assert_eq!(faults(&told, &wrong(150)), 1, "its clock was right when it began");
        told.connected.push(at(102));
        assert_eq!(faults(&told, &wrong(50)), 1, "it was told");
    }

    #[test]
    fn what_is_stored_twice_is_a_fault() {
        let mut twice = without_those(-1, -1);
        twice.counted += 1;
        assert_eq!(faults(&twice, &[]), 1, "at the same time");
        let near = told((0..=100).step_by(10).chain([102]).chain((110..=300).step_by(10)));
        assert_eq!(faults(&near, &[]), 1, "stamped anew");
        let mut restarted = near;
        restarted.connected.push(at(102));
        assert_eq!(faults(&restarted, &[trouble(Kind::Killed, 100, 101)]), 0, "the first one of a new run");
    }
}
