//! The machine's services, as a tech sees, starts and stops them.

#[cfg(target_os = "linux")]
#[path = "systemd.rs"]
mod platform;

#[cfg(target_os = "macos")]
#[path = "launchd.rs"]
mod platform;

#[cfg(windows)]
#[path = "windows.rs"]
mod platform;

use crate::tunnel::channel::Channel;
use crate::tunnel::requests::{self, Asker};
use gururmm_protocol::limits::{MAX_NAME_CHARS, MAX_TEXT_CHARS, clean, clean_optional};
use gururmm_protocol::tunnel::services::{
    SERVICES_PER_PART, Service, ServiceAnswer, ServiceRequest, Startup,
};
use gururmm_protocol::tunnel::{ChannelEnd, ChannelError, ErrorCode};
use platform::Services;
use std::time::Duration;

/// How long a service may take to start or to stop: systemd's own patience, and a little more.
const CHANGED_WITHIN: Duration = Duration::from_secs(100);
/// How long a question may take.
#[cfg(not(windows))]
const ASKED_WITHIN: Duration = Duration::from_secs(20);
/// Lines of a service's log at most.
const MAX_LOG_LINES: u32 = 500;
/// What the lines of a log may take in one answer.
const MAX_LOG_BYTES: usize = 40 * 1024;

/// What is done to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Start,
    Stop,
    Restart,
    Startup(Startup),
}

/// Answers until the channel ends.
pub async fn run(channel: Channel) -> ChannelEnd {
    requests::serve(channel, answer).await
}

async fn answer(request: ServiceRequest, asker: Asker<ServiceAnswer>) -> Result<ServiceAnswer, ChannelError> {
    let services = Services::find()?;
    let (name, change) = match request {
        ServiceRequest::List {} => {
            let mut found = services.list().await?;
            found.iter_mut().for_each(bring_within_limits);
            let count = found.len() as u64;
            asker.parts(found, SERVICES_PER_PART, |services| ServiceAnswer::Services { services }).await?;
            return Ok(ServiceAnswer::Count { services: count, manager: platform::MANAGER.to_owned() });
        }
        ServiceRequest::Log { name, lines } => {
            check(&name)?;
            let lines = services.log(&name, lines.clamp(1, MAX_LOG_LINES)).await?;
            return Ok(ServiceAnswer::Log { lines: last_lines(lines) });
        }
        ServiceRequest::Start { name } => (name, Change::Start),
        ServiceRequest::Stop { name } => (name, Change::Stop),
        ServiceRequest::Restart { name } => (name, Change::Restart),
        ServiceRequest::SetStartup { name, startup } => (name, Change::Startup(startup)),
        ServiceRequest::Unknown => {
            return Err(ChannelError::new(ErrorCode::Unsupported, "this agent does not know that"));
        }
    };
    check(&name)?;
    tracing::info!(service = %name, ?change, "a tech changes a service");
    services.change(&name, change).await?;
    let mut service = services.one(&name).await?;
    bring_within_limits(&mut service);
    Ok(ServiceAnswer::Service { service })
}

/// A name that a service can have; none of them is an option of a program's.
fn check(name: &str) -> Result<(), ChannelError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || platform::NAME_CHARACTERS.contains(c);
    let is_name = !name.is_empty()
        && name.chars().count() <= MAX_NAME_CHARS
        && !name.starts_with('-')
        && name.chars().all(is_plain);
    if is_name {
        Ok(())
    } else {
        Err(ChannelError::new(ErrorCode::Invalid, "there is no such name of a service"))
    }
}

fn bring_within_limits(service: &mut Service) {
    clean(&mut service.name, MAX_NAME_CHARS);
    clean(&mut service.display_name, MAX_NAME_CHARS);
    clean_optional(&mut service.user, MAX_NAME_CHARS);
}

/// The last of them that fit in one answer.
fn last_lines(lines: Vec<String>) -> Vec<String> {
    let mut room = MAX_LOG_BYTES;
    let mut kept: Vec<String> = lines
        .into_iter()
        .rev()
        .map(|mut line| {
            clean(&mut line, MAX_TEXT_CHARS);
            line
        })
        .take_while(|line| {
            let size = serde_json::to_vec(line).map_or(0, |json| json.len() + 1);
            let fits = size <= room;
            room = room.saturating_sub(size);
            fits
        })
        .collect();
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_and_no_options_or_paths() {
        let code = |name: &str| check(name).err().map(|error| error.code);
        // Windows' names have blanks and more in them.
        let elsewhere = if cfg!(windows) { &[][..] } else { &["a b.service", "a;reboot", "$(reboot)"] };
        for name in ["--force", "-H", "", "../x", "a/b", "x\n", "ü"].iter().chain(elsewhere) {
            assert_eq!(code(name), Some(ErrorCode::Invalid), "{name}");
        }
        assert_eq!(code(&"x".repeat(MAX_NAME_CHARS + 1)), Some(ErrorCode::Invalid));
        assert_eq!(code("gururmm-agent.service"), None);
    }

    #[test]
    fn of_a_long_log_the_last_lines_are_kept() {
        let lines: Vec<String> = (0..100).map(|number| format!("{number} {}", "x".repeat(1_000))).collect();
        let kept = last_lines(lines);
        assert!(kept.len() > 30 && kept.len() < 41, "{}", kept.len());
        assert!(kept.last().unwrap().starts_with("99 "));
        assert!(serde_json::to_vec(&kept).unwrap().len() <= MAX_LOG_BYTES + 2);
    }
}
