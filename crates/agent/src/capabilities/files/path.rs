//! Paths as techs write them, taken apart. What comes out names one thing in one folder per part; whether the way there
//! is allowed is not decided here, and never by comparing strings.

use super::fault::{Fault, Result};
use gururmm_protocol::tunnel::ErrorCode;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// Longest path that is taken, in bytes.
const MAX_PATH_BYTES: usize = 4_096;
/// Longest part of one, in bytes; no file system here has longer names.
const MAX_PART_BYTES: usize = 1_024;

/// An absolute path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Absolute {
    /// Of a drive on Windows, in capitals.
    drive: Option<char>,
    parts: Vec<String>,
}

impl Absolute {
    /// Takes a path apart, in this system's notation.
    pub fn parse(path: &str) -> Result<Self> {
        if cfg!(windows) { Self::parse_windows(path) } else { Self::parse_unix(path) }
    }

    fn parse_unix(path: &str) -> Result<Self> {
        let rest = path.strip_prefix('/').ok_or_else(|| invalid("A path begins with a slash."))?;
        Ok(Self { drive: None, parts: parts(rest, &['/'], |_| true)? })
    }

    fn parse_windows(path: &str) -> Result<Self> {
        let mut characters = path.chars();
        let (drive, colon, slash) = (characters.next(), characters.next(), characters.next());
        let drive = drive.filter(char::is_ascii_alphabetic);
        let (Some(drive), Some(':'), None | Some('\\' | '/')) = (drive, colon, slash) else {
            return Err(invalid(r"A path begins with a drive, as C:\ does; network paths are not reached."));
        };
        let parts = parts(characters.as_str(), &['\\', '/'], is_windows_name)?;
        Ok(Self { drive: Some(drive.to_ascii_uppercase()), parts })
    }

    /// Whether it is the root, or a drive.
    pub fn is_root(&self) -> bool {
        self.parts.is_empty()
    }

    /// The root it is below.
    pub fn root(&self) -> PathBuf {
        match self.drive {
            Some(drive) => format!(r"{drive}:\").into(),
            None => "/".into(),
        }
    }

    /// The names on the way, from the root on.
    pub fn parts(&self) -> &[String] {
        &self.parts
    }

    /// The path as the system takes it.
    pub fn to_path(&self) -> PathBuf {
        let mut path = self.root();
        path.extend(&self.parts);
        path
    }

    /// The path as the tech reads it.
    pub fn to_text(&self) -> String {
        let separator = if self.drive.is_some() { r"\" } else { "/" };
        match self.drive {
            Some(drive) => format!(r"{drive}:\{}", self.parts.join(separator)),
            None => format!("/{}", self.parts.join(separator)),
        }
    }

    /// The folder it is in, and its name there.
    pub fn split(&self) -> Option<(Self, &str)> {
        let (name, folder) = self.parts.split_last()?;
        Some((Self { drive: self.drive, parts: folder.to_vec() }, name))
    }

    /// What follows after `root` in this path, if it begins with it. Only chooses a handle: what follows is looked up
    /// below that handle.
    pub fn below(&self, root: &Self) -> Option<&[String]> {
        let is_same = |(one, other): (&String, &String)| {
            one == other || (self.drive.is_some() && one.to_lowercase() == other.to_lowercase())
        };
        let begins = self.drive == root.drive
            && self.parts.len() >= root.parts.len()
            && self.parts.iter().zip(&root.parts).all(is_same);
        if begins { self.parts.get(root.parts.len()..) } else { None }
    }
}

fn parts(rest: &str, separators: &[char], is_name: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    if rest.len() > MAX_PATH_BYTES {
        return Err(invalid("The path is too long."));
    }
    let mut parts = Vec::new();
    for part in rest.split(separators) {
        match part {
            "" | "." => {}
            ".." => return Err(invalid("A path with .. in it is not taken.")),
            part if part.len() > MAX_PART_BYTES || part.contains('\0') || !is_name(part) => {
                return Err(invalid("The path has a name in it that no file can have."));
            }
            part => parts.push(part.to_owned()),
        }
    }
    Ok(parts)
}

fn invalid(detail: &str) -> Fault {
    Fault::new(ErrorCode::Invalid, detail)
}

/// Whether a path can name an entry of this name, and means that one by it.
pub(super) fn is_nameable(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    !matches!(name, "" | "." | "..") && if cfg!(windows) { is_windows_name(name) } else { true }
}

/// Whether Windows would take this name for itself: not for a device, a stream of a file, or another name.
fn is_windows_name(name: &str) -> bool {
    let has_meaning =
        |c: char| c < ' ' || matches!(c, '<' | '>' | ':' | '"' | '/' | '\\' | '|' | '?' | '*' | '\u{7f}');
    let is_cut = name.ends_with(['.', ' ']);
    !name.contains(has_meaning) && !is_cut && !is_device(name)
}

/// Names that mean a device in every folder, whatever follows after a dot.
fn is_device(name: &str) -> bool {
    let stem = name.split(['.', ':']).next().unwrap_or_default().trim_end().to_uppercase();
    if matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" | "CLOCK$") {
        return true;
    }
    let number = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT"));
    // The raised digits count as well.
    number.is_some_and(|number| {
        let mut characters = number.chars();
        matches!((characters.next(), characters.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
    })
}

/// A name for people and for JSON.
pub(super) fn shown(name: &OsStr) -> String {
    name.to_string_lossy().into_owned()
}

/// The names as one relative path.
pub(super) fn joined(parts: &[String]) -> PathBuf {
    parts.iter().map(OsString::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn windows(path: &str) -> Option<String> {
        Absolute::parse_windows(path).ok().map(|path| path.to_text())
    }

    fn unix(path: &str) -> Option<String> {
        Absolute::parse_unix(path).ok().map(|path| path.to_text())
    }

    #[test]
    fn paths_are_read_in_each_systems_notation() {
        assert_eq!(unix("/").as_deref(), Some("/"));
        assert_eq!(unix("//srv/./data//").as_deref(), Some("/srv/data"));
        assert_eq!(unix(r"/srv/a\b").as_deref(), Some(r"/srv/a\b"));
        assert_eq!(windows("c:").as_deref(), Some(r"C:\"));
        assert_eq!(windows(r"c:\Users/acme\\Desktop\").as_deref(), Some(r"C:\Users\acme\Desktop"));
        assert_eq!(windows(r"C:\PROGRA~1").as_deref(), Some(r"C:\PROGRA~1"));
    }

    #[test]
    fn what_is_no_plain_absolute_path_is_refused() {
        for path in ["", "srv", "./srv", "/srv/../etc", "/..", "/a\0b", "~/x", r"C:\x"] {
            assert_eq!(unix(path), None, "{path}");
        }
        for path in [
            "",
            "/srv",
            r"\Windows",
            "C",
            "C:x",
            r"1:\x",
            r"\\server\share\x",
            "//server/share/x",
            r"\\?\C:\x",
            r"\\.\C:\x",
            r"\\.\pipe\x",
            r"\??\C:\x",
            r"\\?\GLOBALROOT\Device\HarddiskVolume1\x",
            r"C:\x\..\y",
            r"C:\x\.. \y",
            r"C:\x\...\y",
            r"C:\x.",
            r"C:\x \y",
            r"C:\x:stream",
            r"C:\x::$DATA",
            r"C:\x:$I30:$INDEX_ALLOCATION",
            r"C:\C:\x",
            r"C:\x\NUL",
            r"C:\con",
            r"C:\aux.txt",
            r"C:\com1 .log",
            r"C:\lpt¹",
            r"C:\conin$",
            r"C:\a?b",
            r"C:\a*",
            "C:\\a\tb",
            "C:\\a\0b",
        ] {
            assert_eq!(windows(path), None, "{path}");
        }
    }

    proptest! {
        /// Whatever is written: what is taken is a path that says the same when it is read again, and leads nowhere up.
        #[test]
        fn what_is_taken_is_plain(path in r"([/\\.: \\PC]|[a-zA-Z]:|\.\.|~|CON|nul|\x00|\$|\*){0,12}", unix in any::<bool>()) {
            let parse = if unix { Absolute::parse_unix } else { Absolute::parse_windows };
            let begun = if unix { format!("/{path}") } else { format!(r"C:\{path}") };
            for path in [path, begun] {
                let Ok(taken) = parse(&path) else { continue };
                prop_assert!(taken.parts().iter().all(|part| !matches!(part.as_str(), "" | "." | "..")));
                prop_assert!(!taken.parts().iter().any(|part| part.contains(['/', '\0']) || (!unix && part.contains(['\\', ':']))));
                prop_assert_eq!(parse(&taken.to_text()), Ok(taken));
            }
        }
    }

    #[test]
    fn names_that_only_look_like_devices_are_names() {
        for name in ["console", "com", "com10", "nully", "lpt1x", "auxiliary.txt", "prn-a"] {
            assert!(is_windows_name(name), "{name}");
        }
    }

    #[test]
    fn a_root_is_the_beginning_of_what_is_below_it_by_whole_names() {
        let parse = |path: &str| Absolute::parse_unix(path).unwrap();
        let rest = |path: &str, root: &str| parse(path).below(&parse(root)).map(<[String]>::to_vec);
        assert_eq!(rest("/srv/data/x", "/srv/data"), Some(vec!["x".to_owned()]));
        assert_eq!(rest("/srv/data", "/srv/data/"), Some(vec![]));
        assert_eq!(rest("/srv/database", "/srv/data"), None);
        assert_eq!(rest("/SRV/data/x", "/srv/data"), None);
        let parse = |path: &str| Absolute::parse_windows(path).unwrap();
        let rest = |path: &str, root: &str| parse(path).below(&parse(root)).map(<[String]>::to_vec);
        assert_eq!(rest(r"c:\DATA\x", r"C:\data"), Some(vec!["x".to_owned()]));
        assert_eq!(rest(r"d:\data\x", r"C:\data"), None);
    }
}
