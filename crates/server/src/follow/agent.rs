//! What agents are told of the server's new place, and what they say of it.

use super::store;
use crate::app::App;
use crate::error::Error;
use crate::gateway::AgentSession;
use gururmm_protocol::follow::{FollowReport, FollowState};
use gururmm_protocol::to_server::Hello;
use gururmm_protocol::{ServerMessage, Version, negotiate};

/// The protocol version since which an agent knows of it.
const SINCE: Version = Version { major: 1, minor: 1 };

/// The agent is there.
pub fn hello(app: &App, hello: &Hello) -> Option<ServerMessage> {
    let spoken = negotiate(&app.protocols.served(), &hello.protocols);
    spoken.is_some_and(|version| version >= SINCE).then(|| super::message(app))
}

/// What became of a record. Stored before it is acknowledged.
pub async fn reported(
    app: &App,
    session: &AgentSession,
    mut report: FollowReport,
) -> Result<Vec<ServerMessage>, Error> {
    report.clean();
    let FollowReport { serial, state, .. } = report;
    if let Ok(number) = i64::try_from(serial)
        && state != FollowState::Other
    {
        let mut tx = app.db.begin(&session.scope()).await?;
        store::keep(&mut tx, session.agent_id, number, &report).await?;
        tx.commit().await?;
        tracing::info!(agent_id = %session.agent_id, serial, state = state.as_str(), "an agent was sent elsewhere");
    }
    Ok(vec![ServerMessage::FollowReportAck { serial, state }])
}
