//! Windows' services, by the service control manager.

use super::{CHANGED_WITHIN, Change};
use crate::os::services::{self, Found};
use gururmm_protocol::tunnel::services::{Service, ServiceState, Startup};
use gururmm_protocol::tunnel::{ChannelError, ErrorCode};
use std::io;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// As the answers have it.
pub(super) const MANAGER: &str = "windows";
/// What stands in names beside letters and digits: all but slashes, and nothing that means something elsewhere.
pub(super) const NAME_CHARACTERS: &str = " !#$%&'()+,-.:;=@[]^_`{}~*";
/// How often a service that is on its way is looked at.
const LOOKED_AT: Duration = Duration::from_millis(100);

/// The way to the manager, which is opened for each question.
pub(super) struct Services;

impl Services {
    pub(super) fn find() -> Result<Self, ChannelError> {
        Ok(Self)
    }

    pub(super) async fn list(&self) -> Result<Vec<Service>, ChannelError> {
        let found = on_a_thread(services::all).await?;
        Ok(found.into_iter().map(service).collect())
    }

    pub(super) async fn one(&self, name: &str) -> Result<Service, ChannelError> {
        let name = name.to_owned();
        on_a_thread(move || services::one(&name)).await.map(service)
    }

    pub(super) async fn change(&self, name: &str, change: Change) -> Result<(), ChannelError> {
        match change {
            Change::Start => self.start(name).await,
            Change::Stop => self.stop(name).await,
            Change::Restart => {
                if self.one(name).await?.state != ServiceState::Stopped {
                    self.stop(name).await?;
                }
                self.start(name).await
            }
            Change::Startup(startup) => {
                let (name, detail) = (
                    name.to_owned(),
                    "Windows starts services when it does, a while after, when asked, or never",
                );
                if startup == Startup::Fixed {
                    return Err(ChannelError::new(ErrorCode::Unsupported, detail));
                }
                on_a_thread(move || services::set_startup(&name, startup)).await
            }
        }
    }

    async fn start(&self, name: &str) -> Result<(), ChannelError> {
        let called = name.to_owned();
        on_a_thread(move || services::start(&called)).await?;
        self.until(name, ServiceState::Starting).await
    }

    async fn stop(&self, name: &str) -> Result<(), ChannelError> {
        let called = name.to_owned();
        on_a_thread(move || services::stop(&called)).await?;
        self.until(name, ServiceState::Stopping).await
    }

    /// Waits until it is not on its way any more.
    async fn until(&self, name: &str, passing: ServiceState) -> Result<(), ChannelError> {
        let until = Instant::now() + CHANGED_WITHIN;
        while self.one(name).await?.state == passing {
            if Instant::now() > until {
                return Err(ChannelError::new(ErrorCode::Failed, "the service does not do it in time"));
            }
            sleep(LOOKED_AT).await;
        }
        Ok(())
    }

    pub(super) async fn log(&self, _name: &str, _lines: u32) -> Result<Vec<String>, ChannelError> {
        let detail = "Windows keeps no log of a service: the event log has it";
        Err(ChannelError::new(ErrorCode::Unsupported, detail))
    }
}

fn service(found: Found) -> Service {
    let Found { name, display_name, state, startup, pid, user } = found;
    Service { name, display_name, state, startup, pid, user }
}

async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ChannelError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(io::Error::other).flatten();
    done.map_err(|error| {
        let code = match error.kind() {
            io::ErrorKind::PermissionDenied => ErrorCode::PermissionDenied,
            io::ErrorKind::NotFound => ErrorCode::NotFound,
            _ if services::is_missing(&error) => ErrorCode::NotFound,
            _ => ErrorCode::Failed,
        };
        ChannelError::new(code, error.to_string())
    })
}
