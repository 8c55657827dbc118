//! What an agent that comes back asks of the database, in one statement each: the functions of migration 0025. They work as
//! the application's role under row-level security, and name the agent's partner first.

use super::Db;
use crate::error::Error;
use gururmm_protocol::update::UpdateAbility;
use serde_json::Value;
use uuid::Uuid;

/// What an agent says of itself, as it is stored.
pub struct Said<'a> {
    pub hostname: &'a str,
    pub os_type: &'a str,
    pub os_version: &'a str,
    pub arch: &'a str,
    pub agent_version: &'a str,
    pub protocol: Option<&'a str>,
    pub system: &'a Value,
    pub machine_type: Option<&'a str>,
    pub machine_uid: &'a str,
    pub update: Option<&'a UpdateAbility>,
}

/// What the database says to a hello.
pub struct Known {
    /// An array of the policies' settings, most general first; `None` where there are none.
    pub settings: Option<Value>,
    /// It is not, or not on, what is stored of it.
    pub is_other_machine: bool,
    pub has_commands: bool,
    pub has_log: bool,
    /// One is open, or what it says of its ability is new.
    pub has_update: bool,
    pub has_uninstall: bool,
}

impl Db {
    /// Counts a new session of an agent; the answer is its epoch, and the other node that holds a session of it. `None`
    /// when it is no agent any more.
    pub async fn begin_agent_session(
        &self,
        tenant_id: Uuid,
        agent_id: Uuid,
        node_id: Uuid,
    ) -> Result<Option<(i64, Option<Uuid>)>, Error> {
        let begun = sqlx::query!(
            r#"SELECT epoch AS "epoch!", held_by FROM begin_agent_session($1, $2, $3)"#,
            tenant_id,
            agent_id,
            node_id
        );
        // All of the answer, and so its end: the first row comes before the statement is committed, and what follows on
        // another connection must find it.
        Ok(begun.fetch_all(&self.agents).await?.pop().map(|begun| (begun.epoch, begun.held_by)))
    }

    /// What holds for the agent, and what of its hello is news. `None`: it had a later session since, another key, or was
    /// deleted.
    pub async fn agent_says_hello(
        &self,
        (tenant_id, agent_id, epoch): (Uuid, Uuid, i64),
        said: &Said<'_>,
    ) -> Result<Option<Known>, Error> {
        let known = sqlx::query_as!(
            Known,
            r#"SELECT settings, is_other_machine AS "is_other_machine!", has_commands AS "has_commands!",
                 has_log AS "has_log!", has_update AS "has_update!", has_uninstall AS "has_uninstall!"
               FROM agent_says_hello($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"#,
            tenant_id,
            agent_id,
            epoch,
            said.hostname,
            said.os_type,
            said.os_version,
            said.arch,
            said.agent_version,
            said.protocol,
            said.system,
            said.machine_type,
            said.machine_uid,
            said.update.map(|ability| ability.supported),
            said.update.and_then(|ability| ability.reason.as_deref()),
            said.update.and_then(|ability| ability.previous_version.as_deref())
        );
        Ok(known.fetch_optional(&self.agents).await?)
    }
}
