//! What runs beside requests: started with the server, stopped in order.

use crate::agent_logs;
use crate::agents;
use crate::app::AppState;
use crate::chain;
use crate::commands;
use crate::follow;
use crate::gateway;
use crate::jobs::{self, Job};
use crate::nodes;
use crate::peer_router;
use crate::recordings;
use crate::retention;
use crate::telemetry::{self, ingest::Ingest, live::LiveView};
use crate::tunnel;
use crate::updates;
use crate::watchdog;
use chrono::Utc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const JOBS: &[Job] = &[
    Job {
        name: commands::dispatch::DEADLINES,
        every: Duration::from_secs(10),
        // Orders go out on the node that holds the socket.
        everywhere: true,
        round: |app| Box::pin(commands::dispatch::keep_deadlines(app, Utc::now())),
    },
    Job {
        name: agent_logs::deadlines::JOB,
        every: Duration::from_secs(10),
        everywhere: false,
        round: |app| Box::pin(agent_logs::deadlines::keep(app, Utc::now())),
    },
    Job {
        name: updates::deadlines::JOB,
        every: Duration::from_secs(10),
        everywhere: false,
        round: |app| Box::pin(updates::deadlines::keep(app, Utc::now())),
    },
    Job {
        name: agents::UNINSTALL_JOB,
        every: Duration::from_secs(10),
        everywhere: false,
        round: |app| Box::pin(agents::keep_uninstall_deadlines(app, Utc::now())),
    },
    Job {
        name: tunnel::deadlines::JOB,
        every: Duration::from_secs(30),
        everywhere: false,
        round: |app| Box::pin(tunnel::deadlines::keep(app)),
    },
    Job {
        name: updates::rollout::JOB,
        every: Duration::from_secs(60),
        everywhere: false,
        round: |app| Box::pin(updates::rollout::keep(app, Utc::now())),
    },
    Job {
        name: updates::alarm::JOB,
        every: Duration::from_secs(600),
        everywhere: false,
        round: |app| Box::pin(updates::alarm::keep(app, Utc::now())),
    },
    Job {
        name: watchdog::JOB,
        every: Duration::from_secs(60),
        everywhere: false,
        round: |app| Box::pin(watchdog::keep(app, Utc::now())),
    },
    Job {
        name: nodes::JOB,
        every: Duration::from_secs(5),
        everywhere: false,
        round: |app| Box::pin(gateway::give_up_nodes(app)),
    },
    Job {
        name: "metric partitions",
        every: Duration::from_secs(3_600),
        everywhere: false,
        round: |app| Box::pin(telemetry::keep_partitions(app, Utc::now())),
    },
    Job {
        name: telemetry::history::JOB,
        every: Duration::from_secs(300),
        everywhere: false,
        round: |app| Box::pin(telemetry::history::keep(app, Utc::now())),
    },
    Job {
        name: retention::JOB,
        every: Duration::from_secs(3_600),
        everywhere: false,
        round: |app| Box::pin(retention::keep(app, Utc::now())),
    },
    Job {
        name: recordings::EXPIRY,
        every: Duration::from_secs(3_600),
        everywhere: false,
        round: |app| Box::pin(recordings::keep_expiry(app, Utc::now())),
    },
    Job {
        name: chain::STORE_JOB,
        every: Duration::from_secs(30),
        everywhere: false,
        round: |app| Box::pin(chain::keep_in_store(app)),
    },
    Job {
        name: chain::FILE_JOB,
        every: Duration::from_secs(30),
        // Each server may have a file of its own.
        everywhere: true,
        round: |app| Box::pin(chain::keep_in_file(app)),
    },
    Job {
        name: "prune expired",
        every: Duration::from_secs(3_600),
        everywhere: false,
        round: |app| Box::pin(app.db.prune_expired()),
    },
];

/// How long sockets may take to close at a stop.
const SOCKETS_CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// How long the rest may take then.
const REST_ENDS_WITHIN: Duration = Duration::from_secs(10);

/// The running background work.
pub struct Background {
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl Background {
    /// Starts all of it.
    pub fn start(app: &AppState) -> Self {
        let (stopping, tasks) = (CancellationToken::new(), TaskTracker::new());
        let background = Self { stopping, tasks };
        background.run(app, |app, stop| async move { gateway::keep_presence(&app, stop).await });
        background.run(app, |app, stop| async move { Ingest::run(&app, stop).await });
        background.run(app, |app, stop| async move { gateway::follow_moves(&app, stop).await });
        background.run(app, |app, stop| async move { updates::keep_looking(&app, stop).await });
        background.run(app, |app, stop| async move { follow::keep_telling(&app, stop).await });
        background.run(app, |app, stop| async move { nodes::keep_alive(&app, stop).await });
        background.run(app, |app, stop| async move { gateway::keep_comparing(&app, stop).await });
        background.run(app, |app, stop| async move { peer_router::listen(&app, stop).await });
        background.run(app, |app, stop| async move { peer_router::wake_followers(&app, stop).await });
        background.run(app, |app, stop| async move { tunnel::keep_watch(&app, stop).await });
        background.run(app, |app, stop| async move { tunnel::keep_carrying(&app, stop).await });
        background.run(app, |app, stop| async move { LiveView::keep_telling(&app, stop).await });
        JOBS.iter().for_each(|job| background.run(app, |app, stop| jobs::run(app, *job, stop)));
        background
    }

    fn run<F: Future<Output = ()> + Send + 'static>(
        &self,
        app: &AppState,
        work: impl FnOnce(AppState, CancellationToken) -> F,
    ) {
        self.tasks.spawn(work(app.clone(), self.stopping.clone()));
    }

    /// Sends agents and browsers away, then ends the rest: what they said last is still stored.
    pub async fn stop(self, app: &AppState) {
        tokio::join!(
            app.gateway.stop(SOCKETS_CLOSE_WITHIN),
            app.live.stop(SOCKETS_CLOSE_WITHIN),
            app.tunnel.stop(SOCKETS_CLOSE_WITHIN)
        );
        self.stopping.cancel();
        self.tasks.close();
        if tokio::time::timeout(REST_ENDS_WITHIN, self.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "some background work did not end in time");
        }
        // Last: until here its agents' presence was written.
        if let Err(error) = app.db.node_stopped(app.bus.node_id()).await {
            tracing::warn!(%error, "the others will give this node up instead of knowing that it stopped");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_comes_round_under_a_lock_of_its_own_or_on_every_node() {
        let mut names: Vec<_> = JOBS.iter().map(|job| job.name).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "agent log deadlines",
                "audit anchor file",
                "audit anchors",
                "command deadlines",
                "history",
                "lost nodes",
                "metric partitions",
                "prune expired",
                "recording retention",
                "retention",
                "tunnel deadlines",
                "uninstall deadlines",
                "update alarms",
                "update deadlines",
                "update rollouts",
                "watchdog alerts"
            ]
        );
        let everywhere: Vec<_> = JOBS.iter().filter(|job| job.everywhere).map(|job| job.name).collect();
        assert_eq!(everywhere, ["command deadlines", "audit anchor file"]);
    }
}
