//! What happens to the stack in a round: processes are killed, lines go bad, clocks jump, disks fill.

use super::link::Weather;
use super::surroundings::{Disk, World};
use crate::stack::Stack;
use chrono::{DateTime, Utc};
use rand::RngExt as _;
use rand::rngs::StdRng;
use std::time::{Duration, SystemTime};

/// One thing that happens.
#[derive(Debug, Clone, Copy)]
pub enum Strike {
    /// kill -9 of one of them or several; they are started again within a second.
    Kill(Victims),
    /// An agent's line goes bad until calm.
    Line(usize, Weather),
    /// An agent's clock is so many seconds ahead from now on.
    Clock(usize, i64),
    /// An agent's disk is full until calm.
    Disk(usize),
    /// The server's disk is full until calm, its database's with it.
    ServerDisk,
}

#[derive(Debug, Clone, Copy)]
pub struct Victims {
    server: bool,
    postgres: bool,
    agent: Option<usize>,
}

/// A time within which something was wrong with an agent, that may explain how a command ended.
#[derive(Debug, Clone)]
pub struct Trouble {
    pub agent_id: String,
    pub what: Kind,
    pub from: SystemTime,
    /// Absent while it lasts.
    pub to: Option<SystemTime>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Until it was started again.
    Killed,
    DiskFull,
    /// From then on.
    ClockWrong,
}

impl Trouble {
    fn begin(stack: &Stack, agent: usize, what: Kind) -> Self {
        Self { agent_id: stack.agents()[agent].id.clone(), what, from: SystemTime::now(), to: None }
    }

    /// From when to when; until now while it lasts.
    pub fn span(&self) -> (DateTime<Utc>, DateTime<Utc>) {
        (self.from.into(), self.to.map_or_else(Utc::now, DateTime::from))
    }

    /// Whether it was there at some time between two.
    pub fn is_between(&self, from: SystemTime, to: SystemTime) -> bool {
        self.from <= to && self.to.is_none_or(|end| end >= from)
    }
}

impl Strike {
    /// A random one. Half of them kill: that is what loses things most easily.
    pub fn choose(rng: &mut StdRng, agents: usize, has_disks: bool) -> Self {
        let agent = rng.random_range(0..agents);
        let kill = |server, postgres, agent| Self::Kill(Victims { server, postgres, agent });
        match rng.random_range(0..20) {
            0..=2 => kill(true, false, None),
            3..=4 => kill(false, true, None),
            5 => kill(true, true, None),
            6 => kill(true, false, Some(agent)),
            7..=9 => kill(false, false, Some(agent)),
            10..=11 => Self::Line(agent, Weather::Cut),
            12..=13 => Self::Line(agent, Weather::Silent),
            14 => Self::Line(agent, Weather::Slow(rng.random_range(2_000..50_000))),
            15 => Self::Line(agent, Weather::Late(Duration::from_millis(rng.random_range(50..800)))),
            16 if has_disks => Self::Disk(agent),
            17 if has_disks => Self::ServerDisk,
            // From a year behind to a year ahead: batteries die, and people set dates.
            _ => Self::Clock(agent, rng.random_range(-365 * 86_400..365 * 86_400)),
        }
    }

    /// Lets it happen.
    ///
    /// # Errors
    /// Something could not be done to the stack, or did not come back.
    pub fn happen(
        self,
        stack: &mut Stack,
        worlds: &[World],
        server_disk: Option<&Disk>,
        rng: &mut StdRng,
        troubles: &mut Vec<Trouble>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Kill(victims) => victims.kill(stack, rng, troubles),
            Self::Line(agent, weather) => {
                worlds[agent].link.set(weather);
                Ok(())
            }
            Self::Clock(agent, seconds) => {
                troubles.push(Trouble::begin(stack, agent, Kind::ClockWrong));
                worlds[agent].clock.set(seconds)
            }
            Self::Disk(agent) => {
                troubles.push(Trouble::begin(stack, agent, Kind::DiskFull));
                worlds[agent].disk.as_ref().map_or(Ok(()), Disk::fill)
            }
            Self::ServerDisk => server_disk.map_or(Ok(()), Disk::fill),
        }
    }
}

impl Victims {
    fn kill(self, stack: &mut Stack, rng: &mut StdRng, troubles: &mut Vec<Trouble>) -> anyhow::Result<()> {
        let Self { server, postgres, agent } = self;
        let mut killed = None;
        if let Some(index) = agent {
            killed = Some(Trouble::begin(stack, index, Kind::Killed));
            stack.kill_agent(index)?;
        }
        if server {
            stack.kill_server()?;
        }
        if postgres {
            stack.kill_postgres()?;
        }
        std::thread::sleep(Duration::from_millis(rng.random_range(0..700)));
        if server {
            stack.start_server()?;
        }
        if let Some(index) = agent {
            stack.start_agent(index)?;
        }
        troubles.extend(killed.map(|killed| Trouble { to: Some(SystemTime::now()), ..killed }));
        Ok(())
    }
}

/// Lines are fair and disks have room again; clocks stay as they are.
///
/// # Errors
/// A disk could not be emptied.
pub fn calm(worlds: &[World], server_disk: Option<&Disk>, troubles: &mut [Trouble]) -> anyhow::Result<()> {
    server_disk.map_or(Ok(()), Disk::empty)?;
    worlds.iter().try_for_each(World::calm)?;
    let now = SystemTime::now();
    for trouble in troubles.iter_mut().filter(|trouble| trouble.what == Kind::DiskFull) {
        trouble.to.get_or_insert(now);
    }
    Ok(())
}
