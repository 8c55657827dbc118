//! Windows' registry. Keys begin with one of `HKEY_LOCAL_MACHINE`, `HKEY_USERS`, `HKEY_CLASSES_ROOT`, `HKEY_CURRENT_CONFIG`,
//! `HKEY_CURRENT_USER`, or its usual abbreviation; parts are divided by backslashes.

use serde::{Deserialize, Serialize};

/// Largest value that is read or written, in bytes.
pub const MAX_VALUE_BYTES: usize = 16 * 1024;
/// Keys or values in one part of an answer.
pub const ITEMS_PER_PART: usize = 200;

/// Something about the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum RegistryRequest {
    /// What is in a key: parts with subkeys and values, then a reply with their numbers. An empty key: the roots.
    List {
        key: String,
    },
    /// Writes a value, new or not.
    SetValue {
        key: String,
        /// Empty: the key's default value.
        name: String,
        value: RegistryData,
    },
    DeleteValue {
        key: String,
        name: String,
    },
    CreateKey {
        key: String,
    },
    /// With all in it only when `recursive`.
    DeleteKey {
        key: String,
        #[serde(default)]
        recursive: bool,
    },
    /// The key with all in it as the text of a `.reg` file, in parts.
    Export {
        key: String,
    },
    /// A kind this build does not know.
    #[serde(other)]
    Unknown,
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum RegistryAnswer {
    Keys {
        keys: Vec<String>,
    },
    Values {
        values: Vec<RegistryValue>,
    },
    /// The end of a list.
    Count {
        keys: u64,
        values: u64,
    },
    /// A part of a `.reg` file.
    Text {
        text: String,
    },
    Done {},
}

/// One value of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RegistryValue {
    /// Empty: the default value.
    pub name: String,
    pub value: RegistryData,
    /// The value is longer than [`MAX_VALUE_BYTES`] and shows cut.
    #[serde(default)]
    pub is_cut: bool,
}

/// A value with its type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum RegistryData {
    /// `REG_SZ`
    String(String),
    /// `REG_EXPAND_SZ`
    ExpandString(String),
    /// `REG_MULTI_SZ`
    MultiString(Vec<String>),
    /// `REG_DWORD`
    Dword(u32),
    /// `REG_QWORD`, as decimal text: beyond what JSON's numbers hold in a browser.
    Qword(String),
    /// `REG_BINARY`, in hex.
    Binary(String),
    /// Another type, by its number, in hex. Not to be written.
    Other { number: u32, hex: String },
}
