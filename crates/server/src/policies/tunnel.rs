//! The part of policy that says what techs may do in sessions with machines.

use super::catalogue::{self, Effective};
use super::store;
use crate::auth::Role;
use crate::db::{Tx, words};
use crate::error::Error;
use gururmm_protocol::tunnel::order::{ChannelKind, Consent};
use ipnet::IpNet;
use serde_json::Value;
use std::net::IpAddr;
use uuid::Uuid;

words! {
    /// What a tech has to say when a session is opened.
    #[schema(as = AsksReason)]
    AsksReason {
        /// Nothing, and nothing is asked.
        No = "none",
        Optional = "optional",
        Required = "required",
        /// The number of a ticket.
        Ticket = "ticket",
    }
}

/// Words of the channels, in the catalogue's order.
pub(super) const CHANNELS: &[&str] =
    &["terminal", "files", "processes", "services", "registry", "events", "forward"];
/// Folders, or addresses, of one policy.
pub(super) const ITEMS_AT_MOST: usize = 64;
const PATH_CHARS: usize = 1_024;

/// What holds for sessions with one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelPolicy {
    tech: Vec<ChannelKind>,
    admin: Vec<ChannelKind>,
    owner: Vec<ChannelKind>,
    /// Absent: all folders.
    pub paths: Option<Vec<String>>,
    pub forwards: Vec<String>,
    pub consent: Consent,
    pub asks_reason: AsksReason,
    pub idle_minutes: u32,
    pub minutes_at_most: i32,
    pub sessions_per_tech: i64,
}

impl TunnelPolicy {
    /// Channels that someone with this role may use.
    pub fn channels(&self, role: Option<Role>) -> &[ChannelKind] {
        match role {
            Some(Role::Owner) => &self.owner,
            Some(Role::Admin) => &self.admin,
            Some(Role::Tech) => &self.tech,
            Some(Role::ReadOnly) | None => &[],
        }
    }
}

/// What holds for one machine; `None` when it is not seen.
pub async fn tunnel_policy<P>(tx: &mut Tx<P>, agent_id: Uuid) -> Result<Option<TunnelPolicy>, Error> {
    let layers = store::layers_of(tx, agent_id).await?;
    Ok(layers.map(|layers| of(&catalogue::merge(layers.iter().map(|layer| ((), &layer.settings))))))
}

/// Every value fits its field's kind, and there is a default for each: the catalogue has seen to that.
fn of<S>(effective: &[Effective<S>]) -> TunnelPolicy {
    let value = |name: &str| {
        effective.iter().find(|one| one.field.name == name).map(|one| &one.value).unwrap_or(&Value::Null)
    };
    let texts = |name: &str| -> Option<Vec<String>> { serde_json::from_value(value(name).clone()).ok() };
    let channels =
        |name: &str| -> Vec<ChannelKind> { serde_json::from_value(value(name).clone()).unwrap_or_default() };
    // What cannot be read lets nothing through.
    let number = |name: &str| value(name).as_u64().unwrap_or_default();
    TunnelPolicy {
        tech: channels("tunnel_channels_tech"),
        admin: channels("tunnel_channels_admin"),
        owner: channels("tunnel_channels_owner"),
        paths: match value("tunnel_paths") {
            Value::Null => None,
            _ => Some(texts("tunnel_paths").unwrap_or_default()),
        },
        forwards: texts("tunnel_forwards").unwrap_or_default(),
        consent: serde_json::from_value(value("tunnel_consent").clone()).unwrap_or(Consent::Always),
        asks_reason: value("tunnel_reason")
            .as_str()
            .and_then(AsksReason::parse)
            .unwrap_or(AsksReason::Ticket),
        idle_minutes: u32::try_from(number("tunnel_idle_minutes")).unwrap_or_default(),
        minutes_at_most: i32::try_from(number("tunnel_max_minutes")).unwrap_or_default(),
        sessions_per_tech: i64::try_from(number("tunnel_sessions_per_tech")).unwrap_or_default(),
    }
}

/// What is wrong with a list of folders.
pub(super) fn paths_complaint(value: &Value) -> Option<String> {
    items_complaint(value, "folders", |text| {
        let is_drive =
            |bytes: &[u8]| matches!(bytes, [letter, b':', b'\\' | b'/', ..] if letter.is_ascii_alphabetic());
        let is_whole = text.starts_with('/') || text.starts_with("\\\\") || is_drive(text.as_bytes());
        let climbs = text.split(['/', '\\']).any(|part| part == ".." || part == ".");
        let is_plain = text.chars().count() <= PATH_CHARS && !text.chars().any(char::is_control);
        is_whole && !climbs && is_plain
    })
    .map(|complaint| format!("{complaint}, each whole, such as /srv or C:\\Data"))
}

/// What is wrong with a list of addresses.
pub(super) fn addresses_complaint(value: &Value) -> Option<String> {
    items_complaint(value, "addresses", is_address)
        .map(|complaint| format!("{complaint}, each as host:port, * for any, or 192.0.2.0/24:port"))
}

fn items_complaint(value: &Value, what: &str, fits: impl Fn(&str) -> bool) -> Option<String> {
    let items = value.as_array().filter(|items| items.len() <= ITEMS_AT_MOST);
    let all_fit = items.is_some_and(|items| items.iter().all(|item| item.as_str().is_some_and(&fits)));
    (!all_fit).then(|| format!("must be a list of at most {ITEMS_AT_MOST} {what}"))
}

fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let has_port =
        port == "*" || port.parse::<u16>().is_ok_and(|number| number > 0 && !port.starts_with(['+', '0']));
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let has_host = match bare {
        Some(address) => {
            address.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) || address.parse::<IpNet>().is_ok()
        }
        None => host == "*" || host.parse::<IpNet>().is_ok() || is_name(host),
    };
    has_port && has_host
}

fn is_name(host: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    host.len() <= 253 && host.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_words_of_channels_are_those_of_the_wire() {
        let words: Vec<&str> = ChannelKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(CHANNELS, words);
    }

    #[test]
    fn by_default_everybody_who_may_open_sessions_may_use_all_channels_but_reaches_no_other_host() {
        let policy = of(&catalogue::merge::<()>([]));
        for role in [Role::Tech, Role::Admin, Role::Owner] {
            assert_eq!(policy.channels(Some(role)), ChannelKind::ALL);
        }
        assert_eq!(policy.channels(Some(Role::ReadOnly)), []);
        assert_eq!((&policy.paths, policy.forwards.len()), (&None, 0));
        assert_eq!((policy.consent, policy.asks_reason), (Consent::Never, AsksReason::No));
        assert_eq!((policy.idle_minutes, policy.minutes_at_most, policy.sessions_per_tech), (15, 480, 10));
    }

    #[test]
    fn addresses_and_folders_are_whole_or_complained_about() {
        for good in [
            "*:22",
            "localhost:*",
            "192.0.2.0/24:443",
            "192.0.2.7:1",
            "db.example.com:5432",
            "[2001:db8::1]:80",
        ] {
            assert_eq!(addresses_complaint(&json!([good])), None, "{good}");
        }
        for bad in [
            "",
            "22",
            "host",
            "host:",
            "host:0",
            "host:65536",
            ":22",
            "a b:22",
            "2001:db8::1:80:x",
            "host:+22",
        ] {
            assert!(addresses_complaint(&json!([bad])).is_some(), "{bad}");
        }
        for good in ["/", "/srv/data", "C:\\Data", "c:/Data", "\\\\files\\share"] {
            assert_eq!(paths_complaint(&json!([good])), None, "{good}");
        }
        for bad in ["", "srv", "/srv/../etc", "C:", "1:\\x", "/a\u{0}", "C:\\a\\..\\b"] {
            assert!(paths_complaint(&json!([bad])).is_some(), "{bad}");
        }
        assert!(paths_complaint(&json!("/srv")).is_some());
        assert!(paths_complaint(&json!(vec!["/srv"; ITEMS_AT_MOST + 1])).is_some());
    }
}
