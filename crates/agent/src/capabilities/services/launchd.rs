//! launchd's jobs of the system, by `launchctl`. Built here, not run.

use super::{ASKED_WITHIN, CHANGED_WITHIN, Change};
use crate::capabilities::tool::Tool;
use gururmm_protocol::tunnel::services::{Service, ServiceState, Startup};
use gururmm_protocol::tunnel::{ChannelError, ErrorCode};
use std::collections::HashMap;

/// As the answers have it.
pub(super) const MANAGER: &str = "launchd";
/// What stands in labels beside letters and digits.
pub(super) const NAME_CHARACTERS: &str = "-_.";

/// The way to launchd.
pub(super) struct Services(Tool);

impl Services {
    pub(super) fn find() -> Result<Self, ChannelError> {
        Ok(Self(Tool::find("launchctl", "this machine has no launchd")?))
    }

    pub(super) async fn list(&self) -> Result<Vec<Service>, ChannelError> {
        let listed = self.0.run(&["list"], ASKED_WITHIN).await?;
        // Absent on old systems: then nothing is known of how they start.
        let switched = self.0.run(&["print-disabled", "system"], ASKED_WITHIN).await.unwrap_or_default();
        Ok(parse(&listed, &switched))
    }

    pub(super) async fn one(&self, name: &str) -> Result<Service, ChannelError> {
        let found = self.list().await?.into_iter().find(|service| service.name == name);
        found.ok_or_else(|| ChannelError::new(ErrorCode::NotFound, format!("there is no service {name}")))
    }

    pub(super) async fn change(&self, name: &str, change: Change) -> Result<(), ChannelError> {
        let target = format!("system/{name}");
        let words: &[&str] = match change {
            Change::Start => &["kickstart", &target],
            Change::Stop => &["kill", "SIGTERM", &target],
            Change::Restart => &["kickstart", "-k", &target],
            Change::Startup(Startup::Automatic) => &["enable", &target],
            Change::Startup(Startup::Disabled) => &["disable", &target],
            Change::Startup(startup) => {
                let detail = format!("launchd starts no service the way called {startup:?}");
                return Err(ChannelError::new(ErrorCode::Unsupported, detail));
            }
        };
        self.0.run(words, CHANGED_WITHIN).await.map(drop)
    }

    pub(super) async fn log(&self, _name: &str, _lines: u32) -> Result<Vec<String>, ChannelError> {
        let detail = "launchd keeps no log of a service: the system's log has it";
        Err(ChannelError::new(ErrorCode::Unsupported, detail))
    }
}

/// `launchctl list`: number of the process or `-`, how it ended last, label.
fn parse(listed: &str, switched: &str) -> Vec<Service> {
    let is_on: HashMap<&str, bool> = switched
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.split_once("\" => "))
        .map(|(label, state)| (label, !matches!(state.trim_end_matches(','), "disabled" | "true")))
        .collect();
    let service = |line: &str| {
        let mut words = line.split_whitespace();
        let (pid, ended, label) = (words.next()?, words.next()?, words.next()?);
        let pid = pid.parse().ok();
        let has_failed = !matches!(ended, "0" | "-") && !ended.starts_with('-');
        let state = match pid {
            Some(_) => ServiceState::Running,
            None if has_failed => ServiceState::Failed,
            None => ServiceState::Stopped,
        };
        let is_on = is_on.get(label).copied().unwrap_or(true);
        let startup = if is_on { Startup::Automatic } else { Startup::Disabled };
        Some(Service {
            name: label.to_owned(),
            display_name: label.to_owned(),
            state,
            startup: Some(startup),
            pid,
            user: None,
        })
    };
    listed.lines().skip(1).filter_map(service).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_read_with_what_became_of_them() {
        let listed = "PID\tStatus\tLabel\n412\t0\tcom.example.runs\n-\t78\tcom.example.failed\n-\t-15\tcom.example.off\n";
        let switched = "\tdisabled services = {\n\t\t\"com.example.off\" => disabled\n\t\t\"com.example.runs\" => enabled\n\t}\n";
        let found = parse(listed, switched);
        let [runs, failed, off] = &found[..] else { panic!("{found:?}") };
        assert_eq!(
            (runs.pid, runs.state, runs.startup),
            (Some(412), ServiceState::Running, Some(Startup::Automatic))
        );
        assert_eq!((failed.state, off.state), (ServiceState::Failed, ServiceState::Stopped));
        assert_eq!(off.startup, Some(Startup::Disabled));
    }
}
