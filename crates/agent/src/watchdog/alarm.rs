//! When the agent itself cannot say that it fails, the watchdog says it for it.

use crate::clock::ServerClock;
use crate::http::{self, Credential};
use crate::identity::Identity;
use crate::state::StateDir;
use crate::supervisor;
use gururmm_protocol::watchdog::{Condition, REPORT_PATH, WatchdogReport};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// What the server was told, and the telling that is on its way.
pub(super) struct Alarm {
    state: StateDir,
    /// The server was told, or is being told, that the agent fails.
    is_raised: bool,
    telling: Option<JoinHandle<()>>,
}

impl Alarm {
    pub(super) fn new(state: StateDir) -> Self {
        Self { state, is_raised: false, telling: None }
    }

    /// The agent failed again. Told each time, so that a server that could not be reached hears of it later.
    pub(super) fn failing(&mut self, failures: u32, why: &str) {
        self.is_raised = true;
        self.tell(WatchdogReport {
            condition: Condition::Failing,
            failures,
            agent_version: crate::version().to_owned(),
            reason: Some(why.to_owned()),
        });
    }

    /// The agent is connected.
    pub(super) fn recovered(&mut self) {
        if std::mem::take(&mut self.is_raised) {
            self.tell(WatchdogReport {
                condition: Condition::Recovered,
                failures: 0,
                agent_version: crate::version().to_owned(),
                reason: None,
            });
        }
    }

    fn tell(&mut self, report: WatchdogReport) {
        // The newest word counts.
        if let Some(before) = self.telling.take() {
            before.abort();
        }
        let state = self.state.clone();
        self.telling = Some(tokio::spawn(async move {
            if let Err(error) = tell(&state, report).await {
                tracing::warn!("the server cannot be told about the agent: {error:#}");
            }
        }));
    }
}

async fn tell(state: &StateDir, mut report: WatchdogReport) -> anyhow::Result<()> {
    report.clean();
    let identity = Identity::load(state)?;
    let connector = supervisor::connector(state, &identity, Arc::new(ServerClock::load(state)))?;
    let credential = Credential { agent_id: identity.agent_id, key: identity.agent_key.clone() };
    let _answer: serde_json::Value = http::post_as(&connector, REPORT_PATH, &credential, &report).await?;
    Ok(())
}
