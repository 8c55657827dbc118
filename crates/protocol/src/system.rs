//! What a machine is: operating system, hardware, identity.

use crate::limits::{MAX_NAME_CHARS, clean, clean_optional, clean_time};
use crate::virtualization::Virtualization;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Operating systems an agent runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum OsType {
    Linux,
    Windows,
    Macos,
}

impl OsType {
    /// The word used in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Windows => "windows",
            Self::Macos => "macos",
        }
    }
}

/// Where a machine's `machine_uid` comes from, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum UidSource {
    /// The SMBIOS system UUID.
    SmbiosUuid,
    /// Board serial and disk serial together.
    BoardAndDisk,
    /// The operating system's own id: changes when the machine is re-imaged.
    OsId,
}

impl UidSource {
    /// The word used in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SmbiosUuid => "smbios_uuid",
            Self::BoardAndDisk => "board_and_disk",
            Self::OsId => "os_id",
        }
    }
}

/// Identity of the hardware an agent runs on. All values are digests or serials as the hardware gives them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MachineIdentity {
    /// Hex digest over the source's value; stable over re-imaging unless the source is `os_id`.
    pub machine_uid: String,
    pub machine_uid_source: UidSource,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub board_serial: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_serial: Option<String>,
}

impl MachineIdentity {
    /// Brings agent-supplied values within limits.
    pub fn clean(&mut self) {
        clean(&mut self.machine_uid, 128);
        clean_optional(&mut self.board_serial, MAX_NAME_CHARS);
        clean_optional(&mut self.disk_serial, MAX_NAME_CHARS);
    }
}

/// The machine as it describes itself at every connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemInfo {
    pub hostname: String,
    pub os_type: OsType,
    /// For people: `Debian GNU/Linux 12 (bookworm)`.
    pub os_version: String,
    /// `x86_64` or `aarch64`.
    pub arch: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_cores: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_time: Option<DateTime<Utc>>,
    /// Since 1.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtualization: Option<Box<Virtualization>>,
}

impl SystemInfo {
    /// Brings agent-supplied values within limits.
    pub fn clean(&mut self) {
        clean(&mut self.hostname, MAX_NAME_CHARS);
        clean(&mut self.os_version, MAX_NAME_CHARS);
        clean(&mut self.arch, 32);
        for text in
            [&mut self.kernel, &mut self.cpu_model, &mut self.manufacturer, &mut self.model, &mut self.serial]
        {
            clean_optional(text, MAX_NAME_CHARS);
        }
        self.memory_bytes = self.memory_bytes.map(|bytes| bytes.min(i64::MAX as u64));
        clean_time(&mut self.boot_time);
        if let Some(virtualization) = &mut self.virtualization {
            virtualization.clean();
        }
    }
}
