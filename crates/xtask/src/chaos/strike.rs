//! What happens to the stack in a round: processes are killed, lines go bad, clocks jump, disks fill.

use super::link::Weather;
use super::surroundings::{Disk, Meeting, World};
use crate::stack::{Stack, wait_for};
use chrono::{DateTime, Utc};
use rand::RngExt as _;
use rand::rngs::StdRng;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How long it may take until what waits on a disk is sent, or something waits there: a disk that failed is tried again after
/// a minute, and an agent that has not heard the policy measures once a minute.
const SETTLES_WITHIN: Duration = Duration::from_secs(150);
/// How long samples are kept before they are lost: two and more of them.
const KEPT_FOR: Duration = Duration::from_secs(25);

/// Everything that something may happen to. What is first in it ends first.
pub struct Scene<'a> {
    pub stack: Stack,
    pub worlds: Vec<World>,
    pub server_disk: Option<&'a Disk>,
    /// Where there are several servers.
    pub meeting: Option<Meeting>,
    pub troubles: Vec<Trouble>,
}

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
    /// The servers' disk is full until calm, their database's with it.
    ServerDisk,
    /// One of several servers is stopped in order and started again.
    Restart(usize),
    /// One of several servers is killed and stays away until calm.
    Away(usize),
    /// kill -9 of NATS, which is away until calm.
    Nats,
    /// One server's line to NATS goes bad until calm.
    NatsLine(usize, Weather),
    /// An agent is without a server until samples wait on its disk, is killed, and what it kept is damaged before it is
    /// started again. Takes a minute, so it is never chosen: each run ends with one.
    Spoil(usize),
}

#[derive(Debug, Clone, Copy)]
pub struct Victims {
    server: Option<usize>,
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
    /// From when on samples may have been kept that were lost, until it was started without them.
    Spoiled,
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
    pub fn choose(rng: &mut StdRng, scene: &Scene) -> Self {
        let (agents, servers) = (scene.worlds.len(), scene.stack.addresses().len());
        let (agent, server) = (rng.random_range(0..agents), rng.random_range(0..servers));
        let kill = |server, postgres, agent| Self::Kill(Victims { server, postgres, agent });
        if servers > 1 && rng.random_range(0..5) < 2 {
            return match rng.random_range(0..6) {
                0 => Self::Restart(server),
                1..=2 => Self::Away(server),
                3 => Self::Nats,
                4 => Self::NatsLine(server, Weather::Cut),
                _ => Self::NatsLine(server, Weather::Silent),
            };
        }
        match rng.random_range(0..20) {
            0..=2 => kill(Some(server), false, None),
            3..=4 => kill(None, true, None),
            5 => kill(Some(server), true, None),
            6 => kill(Some(server), false, Some(agent)),
            7..=9 => kill(None, false, Some(agent)),
            10..=11 => Self::Line(agent, Weather::Cut),
            12..=13 => Self::Line(agent, Weather::Silent),
            14 => Self::Line(agent, Weather::Slow(rng.random_range(2_000..50_000))),
            15 => Self::Line(agent, Weather::Late(Duration::from_millis(rng.random_range(50..800)))),
            16 if scene.has_disks() => Self::Disk(agent),
            17 if scene.has_disks() => Self::ServerDisk,
            // From a year behind to a year ahead: batteries die, and people set dates.
            _ => Self::Clock(agent, rng.random_range(-365 * 86_400..365 * 86_400)),
        }
    }

    /// Lets it happen.
    ///
    /// # Errors
    /// Something could not be done to the stack, or did not come back.
    pub fn happen(self, scene: &mut Scene, rng: &mut StdRng) -> anyhow::Result<()> {
        match self {
            Self::Kill(victims) => victims.kill(scene, rng),
            Self::Line(agent, weather) => {
                scene.worlds[agent].link.set(weather);
                Ok(())
            }
            Self::Clock(agent, seconds) => {
                scene.troubles.push(Trouble::begin(&scene.stack, agent, Kind::ClockWrong));
                scene.worlds[agent].clock.set(seconds)
            }
            Self::Disk(agent) => {
                scene.troubles.push(Trouble::begin(&scene.stack, agent, Kind::DiskFull));
                scene.worlds[agent].disk.as_ref().map_or(Ok(()), Disk::fill)
            }
            Self::ServerDisk => scene.server_disk.map_or(Ok(()), Disk::fill),
            Self::Restart(server) => {
                scene.make_room()?;
                scene.stack.stop_node(server)?;
                scene.stack.start_node(server).map(drop)
            }
            Self::Away(server) => scene.stack.kill_node(server),
            Self::Nats => scene.meeting.as_mut().map_or(Ok(()), |meeting| meeting.nats.kill()),
            Self::NatsLine(server, weather) => {
                if let Some(meeting) = &scene.meeting {
                    meeting.lines[server].set(weather);
                }
                Ok(())
            }
            Self::Spoil(agent) => spoil(scene, agent, rng),
        }
    }
}

fn spoil(scene: &mut Scene, agent: usize, rng: &mut StdRng) -> anyhow::Result<()> {
    scene.calm()?;
    // When a file was made, its machine's clock says; nothing else does when it cannot be read any more.
    scene.worlds[agent].clock.set(0)?;
    let store = scene.stack.agents()[agent].state_dir().join("outbox/samples.redb");
    wait_for("what waited on an agent's disk to be sent", SETTLES_WITHIN, || {
        (!store.exists()).then_some(())
    })?;
    let (began, link) = (SystemTime::now(), &scene.worlds[agent].link);
    link.set(Weather::Cut);
    wait_for("samples on an agent's disk", SETTLES_WITHIN, || store.exists().then_some(()))?;
    std::thread::sleep(KEPT_FOR);
    let killed = Trouble::begin(&scene.stack, agent, Kind::Killed);
    scene.stack.kill_agent(agent)?;
    damage(&store, rng)?;
    scene.stack.start_agent(agent)?;
    scene.worlds[agent].link.set(Weather::Fair);
    let to = Some(SystemTime::now());
    scene.troubles.push(Trouble { what: Kind::Spoiled, from: began, to, ..killed.clone() });
    scene.troubles.push(Trouble { to, ..killed });
    Ok(())
}

/// Garbage where the file begins, and perhaps an early end. A disk that does so changes no times.
fn damage(store: &Path, rng: &mut StdRng) -> anyhow::Result<()> {
    let mut bytes = std::fs::read(store)?;
    let modified = std::fs::metadata(store)?.modified()?;
    bytes.iter_mut().take(4_096).for_each(|byte| *byte = rng.random());
    let length = if rng.random() { bytes.len() } else { rng.random_range(0..bytes.len()) };
    std::fs::write(store, &bytes[..length])?;
    Ok(File::options().write(true).open(store)?.set_modified(modified)?)
}

impl Victims {
    fn kill(self, scene: &mut Scene, rng: &mut StdRng) -> anyhow::Result<()> {
        let Self { server, postgres, agent } = self;
        let mut killed = None;
        if let Some(index) = agent {
            killed = Some(Trouble::begin(&scene.stack, index, Kind::Killed));
            scene.stack.kill_agent(index)?;
        }
        if server.is_some() || postgres {
            scene.make_room()?;
        }
        if let Some(server) = server {
            scene.stack.kill_node(server)?;
        }
        if postgres {
            scene.stack.kill_postgres()?;
        }
        std::thread::sleep(Duration::from_millis(rng.random_range(0..700)));
        if postgres {
            scene.stack.start_postgres()?;
        }
        if let Some(server) = server {
            scene.stack.start_node(server)?;
        }
        if let Some(index) = agent {
            scene.stack.start_agent(index)?;
        }
        scene.troubles.extend(killed.map(|killed| Trouble { to: Some(SystemTime::now()), ..killed }));
        Ok(())
    }
}

impl Scene<'_> {
    /// Whether disks can be filled.
    pub fn has_disks(&self) -> bool {
        self.server_disk.is_some() && self.worlds.iter().all(|world| world.disk.is_some())
    }

    /// Without room neither the server nor its database starts; whoever operates them gives them some first.
    fn make_room(&self) -> anyhow::Result<()> {
        self.server_disk.map_or(Ok(()), Disk::empty)
    }

    /// Lines are fair, disks have room again, and who is away comes back; clocks stay as they are.
    ///
    /// # Errors
    /// A disk could not be emptied, or something does not start.
    pub fn calm(&mut self) -> anyhow::Result<()> {
        self.make_room()?;
        self.worlds.iter().try_for_each(World::calm)?;
        let now = SystemTime::now();
        for trouble in self.troubles.iter_mut().filter(|trouble| trouble.what == Kind::DiskFull) {
            trouble.to.get_or_insert(now);
        }
        self.meeting.as_mut().map_or(Ok(()), Meeting::calm)?;
        for server in 0..self.stack.addresses().len() {
            if self.stack.node_pid(server).is_none() {
                self.stack.start_node(server)?;
            }
        }
        Ok(())
    }
}
