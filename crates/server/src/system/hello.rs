//! What an agent asks before it connects, and what it is told to do. The oldest agent out there must be able to ask:
//! this only ever gains fields, and whatever an agent leaves out or says that is new is no reason to refuse it.

use crate::app::App;
use crate::error::Error;
use crate::gateway::http::SOCKET_PATH;
use crate::http::RequestInfo;
use crate::updates;
use chrono::Utc;
use gururmm_protocol::bootstrap::{BootstrapAction, HelloResponse};
use gururmm_protocol::{Version, negotiate};
use serde::Deserialize;
use utoipa::ToSchema;

/// What an agent says before it connects. Nothing is required: who names no version is told to upgrade, like any agent
/// that is too old. All but the versions is for the log.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct HelloInput {
    pub agent_version: Option<String>,
    /// The newest version the agent speaks, `MAJOR.MINOR`.
    #[schema(example = "1.0")]
    pub protocol_version: Option<String>,
    /// All versions the agent speaks. Those that cannot be read are passed over.
    #[schema(example = json!(["1.0"]))]
    pub protocol_versions: Option<Vec<String>>,
    pub os_type: Option<String>,
    pub arch: Option<String>,
    pub agent_id: Option<String>,
}

/// Answers an agent.
pub fn hello(app: &App, request: &RequestInfo, input: &HelloInput) -> Result<HelloResponse, Error> {
    app.limits.hello.check(request)?;
    let served = app.protocols.served();
    let action = action(&served, input)?;
    // As Debug: these are a stranger's words.
    tracing::debug!(
        ?action,
        agent_version = ?input.agent_version,
        protocol_version = ?input.protocol_version,
        os_type = ?input.os_type,
        arch = ?input.arch,
        agent_id = ?input.agent_id,
        "an agent asked"
    );
    Ok(HelloResponse {
        server_version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol_versions: served,
        server_time: Utc::now(),
        action,
        socket_path: SOCKET_PATH.to_owned(),
        update: updates::for_outdated(
            app,
            action,
            input.agent_version.as_deref(),
            input.os_type.as_deref(),
            input.arch.as_deref(),
            Utc::now(),
        ),
    })
}

fn action(ours: &[Version], input: &HelloInput) -> Result<BootstrapAction, Error> {
    let invalid = |code, message| Error::field("protocol_version", code, message);
    let newest = match &input.protocol_version {
        Some(text) => Some(text.parse().map_err(|_| invalid("INVALID", "must be MAJOR.MINOR"))?),
        None => None,
    };
    let listed = input.protocol_versions.iter().flatten().filter_map(|text| text.parse().ok());
    let theirs: Vec<Version> = listed.chain(newest).collect();
    let has_list = input.protocol_versions.as_ref().is_some_and(|list| !list.is_empty());
    let Some(newest) = theirs.iter().max() else {
        // From before there were versions, or with words that are none, which is the caller's mistake.
        return if has_list {
            Err(invalid("INVALID", "must be MAJOR.MINOR"))
        } else {
            Ok(BootstrapAction::Upgrade)
        };
    };
    if negotiate(ours, &theirs).is_some() {
        return Ok(BootstrapAction::Connect);
    }
    // Without a list only the newest is known. A minor version only adds, so within one major there may well be a
    // common one: the agent's socket names them all.
    if !has_list && ours.iter().any(|version| version.major == newest.major) {
        return Ok(BootstrapAction::Connect);
    }
    Ok(match ours.iter().max() {
        Some(our_newest) if newest > our_newest => BootstrapAction::DowngradeRequired,
        _ => BootstrapAction::Upgrade,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [Version; 3] =
        [Version { major: 2, minor: 1 }, Version { major: 2, minor: 2 }, Version { major: 3, minor: 0 }];

    fn ask(newest: Option<&str>, list: &[&str]) -> Result<BootstrapAction, Error> {
        let list = list.iter().map(|text| (*text).to_owned()).collect();
        let input = HelloInput {
            protocol_version: newest.map(str::to_owned),
            protocol_versions: Some(list),
            ..HelloInput::default()
        };
        action(&OURS, &input)
    }

    #[test]
    fn whoever_shares_a_version_connects() {
        for (newest, list) in [
            (Some("3.0"), &[][..]),
            (Some("2.1"), &[]),
            (Some("9.0"), &["9.0", "2.2"]),
            (None, &["2.2"]),
            (Some("9.0"), &["next", "3.0"]),
        ] {
            assert_eq!(ask(newest, list).unwrap(), BootstrapAction::Connect, "{newest:?} {list:?}");
        }
    }

    #[test]
    fn without_a_list_another_minor_version_is_left_to_the_socket() {
        for newest in ["2.0", "2.9", "3.1"] {
            assert_eq!(ask(Some(newest), &[]).unwrap(), BootstrapAction::Connect, "{newest}");
        }
        assert_eq!(ask(Some("3.1"), &["3.1"]).unwrap(), BootstrapAction::DowngradeRequired);
        assert_eq!(ask(Some("2.0"), &["2.0"]).unwrap(), BootstrapAction::Upgrade);
    }

    #[test]
    fn the_too_old_go_forward_and_the_too_new_back() {
        assert_eq!(ask(Some("1.9"), &[]).unwrap(), BootstrapAction::Upgrade);
        assert_eq!(ask(Some("1.9"), &["1.8", "1.9"]).unwrap(), BootstrapAction::Upgrade);
        assert_eq!(ask(Some("4.0"), &[]).unwrap(), BootstrapAction::DowngradeRequired);
        assert_eq!(ask(None, &["1.0", "4.0"]).unwrap(), BootstrapAction::DowngradeRequired);
    }

    #[test]
    fn who_names_no_version_is_taken_for_an_old_agent() {
        assert_eq!(ask(None, &[]).unwrap(), BootstrapAction::Upgrade);
        assert_eq!(action(&OURS, &HelloInput::default()).unwrap(), BootstrapAction::Upgrade);
    }

    #[test]
    fn words_that_are_no_version_are_an_error() {
        for (newest, list) in [(Some("one"), &["3.0"][..]), (Some(""), &[]), (None, &["three"])] {
            assert!(ask(newest, list).is_err(), "{newest:?} {list:?}");
        }
    }
}
