//! The driver of keyboards and mice knows when it was last used, whoever asks. Built here, not run.

use super::{Answer, Seen};
use crate::aside::Aside;
use crate::os::{console_user, ioreg};
use std::time::{Duration, Instant};
use tokio::process::Command;
use tokio::time::timeout;

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(super) struct Source;

/// There is nothing to look for again.
#[derive(Debug)]
pub(super) struct Screen;

impl Source {
    pub(super) fn ask(&mut self) -> Option<Aside<Option<Answer>>> {
        Some(Aside::start(answer()))
    }

    pub(super) fn keep(&mut self, _screen: Screen) {}
}

async fn answer() -> Option<Answer> {
    let user = console_user()?;
    let mut command = Command::new(ioreg::PROGRAM);
    command.args(["-r", "-d", "1", "-c", "IOHIDSystem"]).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await.ok()?.ok()?;
    let idle = ioreg::number(&String::from_utf8_lossy(&output.stdout), "HIDIdleTime")?;
    let at = Instant::now();
    let last_input = at.checked_sub(Duration::from_nanos(idle))?;
    Some(Answer { seen: Seen { user, at, last_input }, screen: Screen })
}
