//! Files: requests about them, and transfers. Paths are absolute, in the machine's own notation.

use serde::{Deserialize, Serialize};

/// Largest file that is edited as text, in bytes.
pub const MAX_TEXT_BYTES: usize = 32 * 1024;
/// Entries of a folder in one part of an answer.
pub const ENTRIES_PER_PART: usize = 200;

/// Something about files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum FileRequest {
    /// Where one can begin: roots, drives, home folders; under a policy that confines, its folders alone.
    Places {},
    /// What is in a folder: parts with entries, then a reply with the folder itself.
    List {
        path: String,
    },
    /// One entry.
    Stat {
        path: String,
    },
    MakeFolder {
        path: String,
    },
    /// Also moves. Never replaces what is there.
    Rename {
        from: String,
        to: String,
    },
    /// Never replaces what is there. Folders with all in them; links stay links.
    Copy {
        from: String,
        to: String,
    },
    /// A folder with something in it only when `recursive`. Links are removed, never what they point to.
    Delete {
        path: String,
        #[serde(default)]
        recursive: bool,
    },
    /// Permission bits, 0 to 0o7777. Not on Windows.
    SetMode {
        path: String,
        mode: u32,
    },
    /// By name or number. Not on Windows.
    SetOwner {
        path: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group: Option<String>,
    },
    /// A file's text, if it is UTF-8 and at most [`MAX_TEXT_BYTES`].
    ReadText {
        path: String,
    },
    /// Replaces a file's text whole. `version`: what [`FileAnswer::Text`] said when it was read; absent: there must be no
    /// such file yet.
    WriteText {
        path: String,
        text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
    },
    /// A kind this build does not know.
    #[serde(other)]
    Unknown,
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum FileAnswer {
    Places {
        places: Vec<Place>,
    },
    /// A part of a folder.
    Entries {
        entries: Vec<Entry>,
    },
    /// The end of a folder: its own path, as the machine writes it, and how many entries it has.
    Folder {
        path: String,
        entries: u64,
    },
    Entry {
        entry: Entry,
    },
    Text {
        text: String,
        version: String,
    },
    Done {},
}

/// Where one can begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Place {
    pub path: String,
    /// For people: `Home of root`, `Disk C`.
    pub label: String,
}

/// One thing in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Entry {
    /// Its last part. What is not Unicode in it shows as U+FFFD.
    pub name: String,
    pub kind: EntryKind,
    /// Bytes; of a folder 0.
    pub size: u64,
    /// Milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_ms: Option<i64>,
    /// Permission bits; absent on Windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Of a link: where it points to, as it is written there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(default)]
    pub is_hidden: bool,
    /// Its name is not Unicode, so no path names it.
    #[serde(default)]
    pub is_unnameable: bool,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    File,
    Folder,
    /// A symbolic link, or a junction.
    Link,
    /// A device, a pipe, a socket.
    #[serde(other)]
    Other,
}

/// From the machine. Its data is the file from `offset` on, or a tar archive of the folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenDownload {
    pub path: String,
    /// Of a file: where to begin; the checksum at the end is of the whole file all the same.
    #[serde(default)]
    pub offset: u64,
    /// With `offset`: the file as it was when the transfer began; another one is a conflict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_ms: Option<i64>,
    /// A folder, streamed as a gzip-compressed tar archive.
    #[serde(default)]
    pub archive: bool,
}

/// To the machine. The data beyond [`super::Opened::received`] is sent, then [`UploadMessage::Finish`]; the end says
/// whether the file is in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenUpload {
    pub path: String,
    pub size: u64,
    /// Whether a file that is there may be replaced.
    #[serde(default)]
    pub replace: bool,
    /// Made by who sends it, at most 64 characters of `A-Z a-z 0-9 - _`: a transfer with the same key to the same path goes on
    /// where the one before was cut.
    pub resume_key: String,
}

/// A message in an upload's channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum UploadMessage {
    /// All was sent; SHA-256 of the whole file, in hex.
    Finish { sha256: String },
    /// The transfer is given up: what arrived is removed.
    Discard {},
    /// A kind this build does not know.
    #[serde(other)]
    Unknown,
}
