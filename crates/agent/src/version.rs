//! Which version this program is. It stands in the file as one text behind a mark, as `what(1)` looks for it: whoever
//! has the file can tell its version without running it.

/// What stands before the version.
pub const MARK: &[u8; 18] = b"@(#)gururmm-agent ";
/// The version and what is left of its room, as zeros.
pub const ROOM: usize = 48;

const TEXT: &str = match option_env!("GURURMM_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

static STAMP: [u8; MARK.len() + ROOM] = stamp();

const fn stamp() -> [u8; MARK.len() + ROOM] {
    let mut stamp = [0; MARK.len() + ROOM];
    let (mark, version) = stamp.split_at_mut(MARK.len());
    mark.copy_from_slice(MARK);
    version.split_at_mut(TEXT.len()).0.copy_from_slice(TEXT.as_bytes());
    stamp
}

/// The version of this program: `MAJOR.MINOR.PATCH`, and what was built between two releases has more behind it.
pub fn version() -> &'static str {
    // Read from where it stands, so that the text in the file is the one the program says.
    let stamp: &'static [u8] = std::hint::black_box(&STAMP);
    let text = stamp.get(MARK.len()..).unwrap_or_default();
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    std::str::from_utf8(text).unwrap_or("0.0.0")
}
