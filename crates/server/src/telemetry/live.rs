//! The live view: while someone looks at an agent it measures every two seconds, and stops when nobody does.

use super::Sample;
use crate::app::AppState;
use crate::gateway::Gateway;
use gururmm_protocol::ServerMessage;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use uuid::Uuid;

const INTERVAL_MS: u32 = 2_000;

type Latest = Option<Arc<Sample>>;

/// Who is looked at. The channel of an agent keeps its latest sample only: a slow screen misses some, and never
/// holds anything up.
#[derive(Default)]
pub struct LiveView {
    watched: Mutex<HashMap<Uuid, watch::Sender<Latest>>>,
}

/// Someone looks at an agent, until this is dropped.
pub struct Watch {
    app: AppState,
    agent_id: Uuid,
    latest: Option<watch::Receiver<Latest>>,
}

impl LiveView {
    /// Begins to look.
    pub fn watch(app: &AppState, agent_id: Uuid) -> Watch {
        let mut watched = app.telemetry.live.lock();
        let latest = match watched.get(&agent_id) {
            Some(sender) => sender.subscribe(),
            None => {
                let (sender, latest) = watch::channel(None);
                watched.insert(agent_id, sender);
                tell(&app.gateway, agent_id, Some(INTERVAL_MS));
                latest
            }
        };
        drop(watched);
        Watch { app: app.clone(), agent_id, latest: Some(latest) }
    }

    /// A live sample came.
    pub fn publish(&self, agent_id: Uuid, sample: Sample) {
        if let Some(sender) = self.lock().get(&agent_id) {
            sender.send_replace(Some(Arc::new(sample)));
        }
    }

    /// The agent came back: it does not know that someone looks.
    pub fn resume(&self, gateway: &Gateway, agent_id: Uuid) {
        if self.lock().contains_key(&agent_id) {
            tell(gateway, agent_id, Some(INTERVAL_MS));
        }
    }

    /// How many agents are looked at.
    pub fn watched(&self) -> usize {
        self.lock().len()
    }

    /// Agents are told under this lock, so that the last word said is the true one.
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, watch::Sender<Latest>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// The next sample; those that came meanwhile are passed over.
    pub async fn next(&mut self) -> Option<Arc<Sample>> {
        let latest = self.latest.as_mut()?;
        latest.changed().await.ok()?;
        latest.borrow_and_update().clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watched = self.app.telemetry.live.lock();
        self.latest = None;
        if watched.get(&self.agent_id).is_some_and(|sender| sender.receiver_count() == 0) {
            watched.remove(&self.agent_id);
            tell(&self.app.gateway, self.agent_id, None);
        }
    }
}

fn tell(gateway: &Gateway, agent_id: Uuid, interval_ms: Option<u32>) {
    // Not connected: it is told when it comes back.
    let _connected = gateway.send(agent_id, ServerMessage::LiveMetrics { interval_ms });
}
