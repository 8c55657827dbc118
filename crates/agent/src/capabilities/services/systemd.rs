//! systemd's services, by `systemctl`: in the form of `show`, which old and new versions print alike.

use super::{ASKED_WITHIN, CHANGED_WITHIN, Change};
use crate::capabilities::tool::Tool;
use gururmm_protocol::tunnel::services::{Service, ServiceState, Startup};
use gururmm_protocol::tunnel::{ChannelError, ErrorCode};
use std::collections::{BTreeMap, HashMap};

/// As the answers have it.
pub(super) const MANAGER: &str = "systemd";
/// What stands in names beside letters and digits, `systemd.unit(5)`.
pub(super) const NAME_CHARACTERS: &str = ":-_.\\@";
const PROPERTIES: &str =
    "--property=Id,Description,LoadState,ActiveState,SubState,UnitFileState,MainPID,User";
const SUFFIX: &str = ".service";

/// The way to systemd.
pub(super) struct Services(Tool);

impl Services {
    pub(super) fn find() -> Result<Self, ChannelError> {
        Ok(Self(Tool::find("systemctl", "this machine has no systemd, and its services are not known")?))
    }

    /// What is loaded, and what is only installed.
    pub(super) async fn list(&self) -> Result<Vec<Service>, ChannelError> {
        let shown = ["show", "*.service", "--all", PROPERTIES, "--no-pager"];
        let shown = self.0.run(&shown, ASKED_WITHIN).await?;
        let files = ["list-unit-files", "--type=service", "--no-legend", "--no-pager", "--full"];
        let files = self.0.run(&files, ASKED_WITHIN).await?;
        Ok(merge(&shown, &files))
    }

    pub(super) async fn one(&self, name: &str) -> Result<Service, ChannelError> {
        let unit = unit(name);
        let shown = self.0.run(&["show", PROPERTIES, "--no-pager", "--", &unit], ASKED_WITHIN).await?;
        let found = blocks(&shown).next().filter(|block| block.get("LoadState") != Some(&"not-found"));
        found
            .and_then(|block| service(&block))
            .ok_or_else(|| ChannelError::new(ErrorCode::NotFound, format!("there is no service {name}")))
    }

    pub(super) async fn change(&self, name: &str, change: Change) -> Result<(), ChannelError> {
        let verbs: &[&str] = match change {
            Change::Start => &["start"],
            Change::Stop => &["stop"],
            Change::Restart => &["restart"],
            // One that is not masked is none the worse.
            Change::Startup(Startup::Automatic) => &["unmask", "enable"],
            Change::Startup(Startup::Manual) => &["unmask", "disable"],
            // What is only not enabled, everybody can start, and other units do. Whatever it was, it is after an unmask.
            Change::Startup(Startup::Disabled) => &["mask"],
            Change::Startup(startup) => {
                let detail = format!("systemd starts no service the way called {startup:?}");
                return Err(ChannelError::new(ErrorCode::Unsupported, detail));
            }
        };
        for verb in verbs {
            self.0.run(&[verb, "--no-ask-password", "--", &unit(name)], CHANGED_WITHIN).await?;
        }
        Ok(())
    }

    pub(super) async fn log(&self, name: &str, lines: u32) -> Result<Vec<String>, ChannelError> {
        let journal = Tool::find("journalctl", "this machine has no journal")?;
        let (unit, lines) = (format!("--unit={}", unit(name)), format!("--lines={lines}"));
        let words = [&unit, &lines, "--output=short-iso", "--no-pager", "--quiet"];
        let text = journal.run(&words, ASKED_WITHIN).await?;
        Ok(text.lines().map(str::to_owned).collect())
    }
}

/// `ssh` is `ssh.service`; nothing but services is touched.
fn unit(name: &str) -> String {
    if name.ends_with(SUFFIX) { name.to_owned() } else { format!("{name}{SUFFIX}") }
}

/// What `show` prints: `Name=value` lines, units with an empty line between.
fn blocks<'a>(text: &'a str) -> impl Iterator<Item = HashMap<&'a str, &'a str>> {
    let blocks = text.split("\n\n").filter(|block| !block.trim().is_empty());
    blocks.map(|block: &'a str| block.lines().filter_map(|line| line.split_once('=')).collect())
}

fn merge(shown: &str, files: &str) -> Vec<Service> {
    let mut found: BTreeMap<String, Service> = BTreeMap::new();
    for block in blocks(shown).filter(|block| block.get("LoadState") != Some(&"not-found")) {
        if let Some(service) = service(&block) {
            found.insert(service.name.clone(), service);
        }
    }
    for line in files.lines() {
        let mut words = line.split_whitespace();
        let (Some(name), Some(state)) = (words.next(), words.next()) else { continue };
        // One with an `@` and nothing behind it is a template.
        if !name.ends_with(SUFFIX) || name.ends_with("@.service") || state == "alias" {
            continue;
        }
        found.entry(name.to_owned()).or_insert_with(|| Service {
            name: name.to_owned(),
            display_name: name.trim_end_matches(SUFFIX).to_owned(),
            state: ServiceState::Stopped,
            startup: Some(startup(state)),
            pid: None,
            user: None,
        });
    }
    found.into_values().collect()
}

fn service(block: &HashMap<&str, &str>) -> Option<Service> {
    let text = |name: &str| block.get(name).copied().unwrap_or_default();
    let name = Some(text("Id")).filter(|name| name.ends_with(SUFFIX))?;
    let described = Some(text("Description")).filter(|description| !description.is_empty());
    let state = match text("ActiveState") {
        "active" | "reloading" | "refreshing" => ServiceState::Running,
        "inactive" => ServiceState::Stopped,
        "failed" => ServiceState::Failed,
        "activating" => ServiceState::Starting,
        "deactivating" => ServiceState::Stopping,
        _ => ServiceState::Unknown,
    };
    Some(Service {
        name: name.to_owned(),
        display_name: described.unwrap_or(name.trim_end_matches(SUFFIX)).to_owned(),
        state,
        startup: Some(text("UnitFileState")).filter(|state| !state.is_empty()).map(startup),
        pid: text("MainPID").parse().ok().filter(|pid| *pid > 0),
        user: Some(text("User")).filter(|user| !user.is_empty()).map(str::to_owned),
    })
}

/// `systemctl(1)`, the states of `is-enabled`.
fn startup(state: &str) -> Startup {
    match state {
        "enabled" | "enabled-runtime" => Startup::Automatic,
        "disabled" => Startup::Manual,
        "masked" => Startup::Disabled,
        _ => Startup::Fixed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "Id=ssh.service\nDescription=OpenBSD Secure Shell server\nLoadState=loaded\nActiveState=active\n\
        SubState=running\nUnitFileState=enabled\nMainPID=812\nUser=\n\n\
        Id=gone.service\nDescription=gone.service\nLoadState=not-found\nActiveState=inactive\nMainPID=0\n\n\
        Id=db.service\nDescription=A=B, the database\nLoadState=loaded\nActiveState=failed\nUnitFileState=static\n\
        MainPID=0\nUser=postgres\n";
    const FILES: &str = "ssh.service                enabled         enabled\n\
        cups.service               disabled        enabled\ngetty@.service             enabled         enabled\n\
        sshd.service               alias           -\nrc-local.service           masked\n";

    #[test]
    fn loaded_and_installed_services_are_one_list() {
        let found = merge(SHOWN, FILES);
        let names: Vec<_> = found.iter().map(|service| service.name.as_str()).collect();
        assert_eq!(names, ["cups.service", "db.service", "rc-local.service", "ssh.service"]);
        let [cups, db, rc_local, ssh] = &found[..] else { panic!() };
        assert_eq!((ssh.state, ssh.startup), (ServiceState::Running, Some(Startup::Automatic)));
        assert_eq!((ssh.pid, ssh.user.as_deref()), (Some(812), None));
        assert_eq!(ssh.display_name, "OpenBSD Secure Shell server");
        assert_eq!((db.state, db.startup, db.pid), (ServiceState::Failed, Some(Startup::Fixed), None));
        assert_eq!((db.display_name.as_str(), db.user.as_deref()), ("A=B, the database", Some("postgres")));
        assert_eq!((cups.state, cups.startup), (ServiceState::Stopped, Some(Startup::Manual)));
        assert_eq!(rc_local.startup, Some(Startup::Disabled));
    }

    #[test]
    fn only_services_are_meant() {
        assert_eq!(unit("ssh"), "ssh.service");
        assert_eq!(unit("getty@tty1.service"), "getty@tty1.service");
        assert_eq!(unit("poweroff.target"), "poweroff.target.service");
    }
}
