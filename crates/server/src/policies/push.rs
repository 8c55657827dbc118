//! Telling connected agents that their effective settings changed.

use super::catalogue::{self, Settings};
use super::{Target, store};
use crate::app::App;
use crate::auth::Scope;
use crate::error::Error;
use crate::peers::{self, Signal};
use gururmm_protocol::ServerMessage;
use tokio::sync::Mutex;
use uuid::Uuid;

/// Machines that are named to other nodes at once.
const AGENTS_PER_WORD: usize = 1_000;

/// One push at a time: what is sent is read under the lock and after the change's commit, so the last thing an agent
/// hears is never older than the last change.
static PUSHING: Mutex<()> = Mutex::const_new(());

/// Sends their settings to the connected agents below `target` whose effective settings are others than with
/// `before` in its place.
pub async fn changed(app: &App, tenants: &[Uuid], target: &Target, before: &Settings) -> Result<(), Error> {
    let _turn = PUSHING.lock().await;
    for tenant in tenants {
        let mut tx = app.db.begin(&Scope::system("policy push", *tenant)).await?;
        let layers = store::all_layers(&mut tx).await?;
        let agents = store::agents_below(&mut tx, target).await?;
        drop(tx);
        let mut elsewhere = Vec::new();
        for agent in agents {
            let config = |before: Option<&Settings>| {
                let mine = layers.iter().filter(|layer| layer.covers(&agent));
                let settings = mine.map(|layer| ((), settings_of(layer, target, before)));
                catalogue::agent_config(&catalogue::merge(settings))
            };
            let now = config(None);
            if now != config(Some(before))
                && !app.gateway.send(agent.id, ServerMessage::ConfigUpdate { config: now })
            {
                // It is told when it comes back, if no other node holds it.
                elsewhere.push(agent.id);
            }
        }
        for agent_ids in elsewhere.chunks(AGENTS_PER_WORD) {
            peers::tell(&app.bus, *tenant, &Signal::Settings { agent_ids: agent_ids.to_vec() });
        }
    }
    Ok(())
}

/// Sends its settings to one connected agent, whatever it was told before: it stands in another place now.
pub async fn moved(app: &App, tenant: Uuid, agent_id: Uuid) -> Result<(), Error> {
    let _turn = PUSHING.lock().await;
    let mut tx = app.db.begin(&Scope::system("policy push", tenant)).await?;
    let config = super::agent_config(&mut tx, agent_id).await?;
    // One that left meanwhile is told when it comes back.
    let _is_connected = app.gateway.send(agent_id, ServerMessage::ConfigUpdate { config });
    Ok(())
}

/// A layer's settings; with `before`, those of the target's own layer as they were.
fn settings_of<'a>(layer: &'a store::Layer, target: &Target, before: Option<&'a Settings>) -> &'a Settings {
    before.filter(|_| layer.is_of(target)).unwrap_or(&layer.settings)
}
