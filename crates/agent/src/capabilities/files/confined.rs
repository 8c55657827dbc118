//! From a path to a handle: all of the machine, or the folders alone that a policy names.
//!
//! The way there is the only thing in which the two differ. Without a policy the system follows the path as it does for
//! everybody. Under one, what follows after the policy's folder is looked up below that folder's handle by cap-std (on
//! Linux `openat2` with `RESOLVE_BENEATH`): a link that leads out leads nowhere, and nobody can exchange a folder on the
//! way. Behind it, everything is done with one name in a held folder ([`Folder`]), with a policy or without.

use super::fault::{Fault, LEADS_OUT, Result};
use super::folder::{Facts, Folder, Identity, of_file, open_below, open_path, open_root, places};
use super::path::{Absolute, joined};
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use gururmm_protocol::tunnel::files::{EntryKind, Place};
use gururmm_protocol::tunnel::{ErrorCode, TunnelRules};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::OnceLock;

/// What of the machine's files can be reached.
#[derive(Debug)]
pub(super) struct Reach(Option<Vec<Root>>);

/// A folder that a policy names.
#[derive(Debug)]
struct Root {
    path: Absolute,
    /// Held from when it is first asked for.
    folder: OnceLock<Folder>,
}

/// A name in a folder, whether there is something or not.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    pub folder: Folder,
    pub name: OsString,
}

impl Spot {
    pub fn look(&self) -> io::Result<Facts> {
        self.folder.look(&self.name)
    }

    /// The same, or `None` where there is nothing.
    pub fn look_if_there(&self) -> io::Result<Option<Facts>> {
        match self.look() {
            Ok(facts) => Ok(Some(facts)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Reach {
    pub fn new(rules: &TunnelRules) -> Self {
        let root = |path: &String| match Absolute::parse(path) {
            Ok(path) => Some(Root { path, folder: OnceLock::new() }),
            Err(error) => {
                tracing::warn!(path, %error, "a folder of the policy cannot be used");
                None
            }
        };
        Self(rules.paths.as_ref().map(|paths| paths.iter().filter_map(root).collect()))
    }

    /// Whether a policy confines.
    pub fn is_confined(&self) -> bool {
        self.0.is_some()
    }

    /// Where a tech can begin.
    pub fn places(&self) -> Vec<Place> {
        let Some(roots) = &self.0 else { return places() };
        let place = |root: &Root| {
            let path = root.path.to_text();
            Place { label: path.clone(), path }
        };
        roots.iter().map(place).collect()
    }

    /// The folder at a path, where a link may lead to it.
    pub fn folder(&self, path: &Absolute) -> Result<Folder> {
        let Some((root, rest)) = self.root_of(path)? else {
            return Ok(Folder::new(Dir::open_ambient_dir(path.to_path(), ambient_authority())?));
        };
        if rest.is_empty() {
            return Ok(root.clone());
        }
        Ok(Folder::new(root.dir().open_dir(joined(rest))?))
    }

    /// The name that a path ends with, in its folder. What stands there may be a link.
    pub fn spot(&self, path: &Absolute) -> Result<Spot> {
        let (folder, name) = self.parent(path)?;
        Ok(Spot { folder: self.folder(&folder)?, name: name.into() })
    }

    /// The folder of what a path names.
    fn parent<'a>(&self, path: &'a Absolute) -> Result<(Absolute, &'a str)> {
        match path.split() {
            Some(split) if !self.is_top(path)? => Ok(split),
            _ => Err(Fault::new(
                ErrorCode::NotAllowed,
                "It is where everything else is in, and stays as it is.",
            )),
        }
    }

    /// Whether it is a root, or a folder that a policy names: what is in it can be changed, itself not.
    pub fn is_top(&self, path: &Absolute) -> Result<bool> {
        Ok(match self.root_of(path)? {
            None => path.is_root(),
            Some((_, rest)) => rest.is_empty(),
        })
    }

    /// Like [`Self::spot`]; where a link stands, the place it leads to: for writing what a link stands for.
    pub fn real_spot(&self, path: &Absolute) -> Result<Spot> {
        let spot = self.spot(path)?;
        if !spot.look_if_there()?.is_some_and(|facts| facts.kind == EntryKind::Link) {
            return Ok(spot);
        }
        let real = match self.root_of(path)? {
            None => std::fs::canonicalize(path.to_path())?,
            Some((root, rest)) => root.dir().canonicalize(joined(rest))?,
        };
        let (Some(folder), Some(name)) = (real.parent(), real.file_name()) else {
            return Err(Fault::new(ErrorCode::IsAFolder, "The link leads to a folder."));
        };
        let folder = match self.root_of(path)? {
            None => Folder::new(Dir::open_ambient_dir(folder, ambient_authority())?),
            Some((root, _)) if folder == Path::new("") => root.clone(),
            Some((root, _)) => Folder::new(root.dir().open_dir(folder)?),
        };
        Ok(Spot { folder, name: name.to_owned() })
    }

    /// A file for reading, where a link may lead to it.
    pub fn file(&self, path: &Absolute) -> Result<(File, Facts)> {
        // Looked at before it is opened: to open a device does something to it.
        let file = match self.root_of(path)? {
            None => {
                check_is_file(&std::fs::metadata(path.to_path())?.file_type())?;
                open_path(&path.to_path())?
            }
            Some((_, [])) => return Err(io::Error::from(io::ErrorKind::IsADirectory).into()),
            Some((root, rest)) => {
                let rest = joined(rest);
                check_is_file(&root.dir().metadata(&rest)?.file_type())?;
                open_below(root.dir(), &rest)?
            }
        };
        let facts = of_file(&file)?;
        self.check_content(&facts)?;
        Ok((file, facts))
    }

    /// Whether what a file holds may be read or changed: it is a file, and not one that may stand elsewhere as well.
    pub fn check_content(&self, facts: &Facts) -> Result<()> {
        match facts.kind {
            EntryKind::File => self.check_names(facts),
            EntryKind::Folder => Err(io::Error::from(io::ErrorKind::IsADirectory).into()),
            _ => Err(Fault::new(ErrorCode::Unsupported, "It is no ordinary file.")),
        }
    }

    /// Under a policy, a file with a second name may have that one outside. Anybody who can write into an allowed folder
    /// could have made it.
    pub fn check_names(&self, facts: &Facts) -> Result<()> {
        if self.is_confined() && facts.kind != EntryKind::Folder && facts.names > 1 {
            let detail =
                "The file has a second name, which may be outside the folders that the policy allows.";
            return Err(Fault::new(ErrorCode::NotAllowed, detail));
        }
        Ok(())
    }

    /// Whether this is a folder that a policy names: it is not removed with what it is in.
    pub fn is_a_root(&self, identity: Identity) -> bool {
        let is_it = |root: &Root| {
            root.open().and_then(|folder| Ok(folder.facts()?)).is_ok_and(|facts| facts.identity == identity)
        };
        self.0.as_ref().is_some_and(|roots| roots.iter().any(is_it))
    }

    /// Under a policy: the handle of its folder that the path is in, and what follows. The innermost one, of several.
    fn root_of<'a>(&self, path: &'a Absolute) -> Result<Option<(Folder, &'a [String])>> {
        let Some(roots) = &self.0 else { return Ok(None) };
        let found = roots
            .iter()
            .filter_map(|root| path.below(&root.path).map(|rest| (root, rest)))
            .min_by_key(|(_, rest)| rest.len());
        let (root, rest) = found.ok_or_else(|| Fault::new(ErrorCode::NotAllowed, LEADS_OUT))?;
        Ok(Some((root.open()?, rest)))
    }
}

impl Root {
    fn open(&self) -> Result<Folder> {
        if let Some(folder) = self.folder.get() {
            return Ok(folder.clone());
        }
        let folder = open_root(&self.path)?;
        Ok(self.folder.get_or_init(|| folder).clone())
    }
}

/// What a file's kind is called in std and in cap-std.
trait Kind {
    fn is_dir(&self) -> bool;
    fn is_file(&self) -> bool;
}

impl Kind for std::fs::FileType {
    fn is_dir(&self) -> bool {
        self.is_dir()
    }

    fn is_file(&self) -> bool {
        self.is_file()
    }
}

impl Kind for cap_std::fs::FileType {
    fn is_dir(&self) -> bool {
        self.is_dir()
    }

    fn is_file(&self) -> bool {
        self.is_file()
    }
}

fn check_is_file(kind: &impl Kind) -> Result<()> {
    if kind.is_dir() {
        Err(io::Error::from(io::ErrorKind::IsADirectory).into())
    } else if kind.is_file() {
        Ok(())
    } else {
        Err(Fault::new(ErrorCode::Unsupported, "It is no ordinary file."))
    }
}
