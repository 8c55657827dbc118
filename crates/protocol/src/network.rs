//! Network state of a machine, sent when it changes.

use crate::limits::{MAX_LIST_ITEMS, MAX_NAME_CHARS, clean, clean_optional};
use serde::{Deserialize, Serialize};

/// All interfaces of a machine, with gateway and name servers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct NetworkState {
    #[serde(default)]
    pub interfaces: Vec<Interface>,
    /// Default gateway's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Name servers' addresses, in order.
    #[serde(default)]
    pub dns: Vec<String>,
}

/// One network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Interface {
    pub name: String,
    /// `aa:bb:cc:dd:ee:ff`; empty where there is none.
    #[serde(default)]
    pub mac: String,
    #[serde(default)]
    pub up: bool,
    /// Addresses with prefix length, `192.0.2.7/24`.
    #[serde(default)]
    pub ipv4: Vec<String>,
    /// Addresses with prefix length, `2001:db8::7/64`.
    #[serde(default)]
    pub ipv6: Vec<String>,
    /// The subnets those addresses stand in, `192.0.2.0/24`.
    #[serde(default)]
    pub subnets: Vec<String>,
}

impl NetworkState {
    /// Brings agent-supplied values within limits.
    pub fn clean(&mut self) {
        self.interfaces.truncate(MAX_LIST_ITEMS);
        for interface in &mut self.interfaces {
            clean(&mut interface.name, MAX_NAME_CHARS);
            clean(&mut interface.mac, 64);
            for list in [&mut interface.ipv4, &mut interface.ipv6, &mut interface.subnets] {
                clean_list(list);
            }
        }
        clean_optional(&mut self.gateway, 64);
        clean_list(&mut self.dns);
    }
}

fn clean_list(list: &mut Vec<String>) {
    list.truncate(MAX_LIST_ITEMS);
    list.iter_mut().for_each(|text| clean(text, 64));
}
