//! The helper in a person's session: what only a program of theirs can see, told to the watchdog that started it. It runs
//! as that person, does nothing on anybody's word, and ends with its watchdog.

pub mod wire;

use crate::os::last_input::LastInput;
use crate::os::local_socket;
use std::future::Future;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::{MissedTickBehavior, interval, timeout};
use wire::{Frames, FromHelper, ToHelper, WireError};

/// How often the watchdog hears of the helper.
pub const TELL_EVERY: Duration = Duration::from_secs(15);
/// How long the watchdog may take to answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// Why a helper cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// There is no socket, or it is not this one's.
    #[error("the watchdog cannot be reached")]
    Unreachable(#[source] io::Error),
    /// What came was not the watchdog's.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// It takes its time.
    #[error("the watchdog does not answer")]
    Silent,
}

/// Tells the watchdog behind `socket` what there is to tell, until `stop` resolves.
pub async fn run(socket: &Path, stop: impl Future<Output = ()>) -> Result<(), HelperError> {
    tokio::select! {
        told = tell(socket) => told,
        () = stop => Ok(()),
    }
}

async fn tell(socket: &Path) -> Result<(), HelperError> {
    let stream = local_socket::connect(socket).await.map_err(HelperError::Unreachable)?;
    let (receiver, mut sender) = tokio::io::split(stream);
    let mut frames = Frames::new(receiver);
    let mut last_input = LastInput::default();
    let mut ticks = interval(TELL_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next = FromHelper::Hello { version: wire::VERSION };
    loop {
        sender.write_all(&wire::encode(&next)).await.map_err(WireError::Io)?;
        let answer = timeout(ANSWERED_WITHIN, frames.next()).await.map_err(|_| HelperError::Silent)??;
        match answer {
            ToHelper::Welcome {} | ToHelper::Noted {} => {}
        }
        ticks.tick().await;
        next = match last_input.idle().await {
            Some(idle) => FromHelper::Idle { seconds: idle.as_secs() },
            None => FromHelper::Ping {},
        };
    }
}
