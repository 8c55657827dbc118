//! Changes: folders made, things renamed, moved, copied, removed, and given other rights.

use super::confined::Reach;
use super::fault::{Fault, Result};
use super::folder::FOLDER_MODE;
use super::partial::{self, Claim};
use super::path::Absolute;
use super::tree::{Copying, Removal};
use super::work::{aside, through};
use gururmm_protocol::tunnel::ErrorCode;
use std::io;
use std::sync::Arc;

pub(super) async fn make_folder(reach: Arc<Reach>, path: String) -> Result<()> {
    aside(move || {
        let spot = reach.spot(&Absolute::parse(&path)?)?;
        spot.folder.make_folder(&spot.name, FOLDER_MODE)?;
        Ok(spot.folder.sync()?)
    })
    .await?
}

/// In one step where both places are on one file system; else by a copy, after which the original goes.
pub(super) async fn rename(reach: Arc<Reach>, from: String, to: String) -> Result<()> {
    let renaming = {
        let reach = Arc::clone(&reach);
        move || {
            let (from, to) = (reach.spot(&Absolute::parse(&from)?)?, reach.spot(&Absolute::parse(&to)?)?);
            if reach.is_a_root(from.look()?.identity) {
                return Err(Fault::new(
                    ErrorCode::NotAllowed,
                    "It is a folder that the policy names, and stays.",
                ));
            }
            match from.folder.rename(&from.name, &to.folder, &to.name, false) {
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => Ok(Some((from, to))),
                Err(error) => Err(error.into()),
                Ok(()) => {
                    to.folder.sync()?;
                    from.folder.sync()?;
                    Ok(None)
                }
            }
        }
    };
    let Some((from, to)) = aside(renaming).await?? else { return Ok(()) };
    let claim = claim(&to).await?;
    through(Copying::new(from.clone(), to, claim, Arc::clone(&reach), true)).await?;
    through(Removal::new(from, reach, true)).await
}

pub(super) async fn copy(reach: Arc<Reach>, from: String, to: String) -> Result<()> {
    let both = {
        let reach = Arc::clone(&reach);
        move || Ok::<_, Fault>((reach.spot(&Absolute::parse(&from)?)?, reach.spot(&Absolute::parse(&to)?)?))
    };
    let (from, to) = aside(both).await??;
    let claim = claim(&to).await?;
    through(Copying::new(from, to, claim, reach, false)).await
}

/// A name beside a spot for what is going to be there, claimed.
async fn claim(to: &super::confined::Spot) -> Result<(std::ffi::OsString, Claim)> {
    let folder = to.folder.clone();
    let identity = aside(move || folder.facts()).await??.identity;
    let name = partial::new_name();
    let claim = Claim::take(identity, &name).await;
    Ok((name, claim))
}

pub(super) async fn delete(reach: Arc<Reach>, path: String, recursive: bool) -> Result<()> {
    let finding = {
        let reach = Arc::clone(&reach);
        move || reach.spot(&Absolute::parse(&path)?)
    };
    let spot = aside(finding).await??;
    through(Removal::new(spot, reach, recursive)).await
}

#[cfg(unix)]
pub(super) async fn set_mode(reach: Arc<Reach>, path: String, mode: u32) -> Result<()> {
    use super::folder::{Facts, SETS_ID};
    use gururmm_protocol::tunnel::files::EntryKind;
    if mode > 0o7777 {
        return Err(Fault::new(ErrorCode::Invalid, "Permission bits are 0 to 7777, octal."));
    }
    aside(move || {
        let spot = reach.spot(&Absolute::parse(&path)?)?;
        spot.folder.set_mode(&spot.name, mode, |facts: &Facts| {
            reach.check_names(facts)?;
            // With such a file, whoever runs it would be out of every folder.
            if reach.is_confined() && facts.kind != EntryKind::Folder && mode & SETS_ID != 0 {
                let detail = "The policy allows no programs that run as their owner.";
                return Err(Fault::new(ErrorCode::NotAllowed, detail));
            }
            if facts.kind == EntryKind::Link {
                return Err(Fault::new(ErrorCode::Unsupported, "A link has no permissions of its own."));
            }
            Ok(())
        })
    })
    .await?
}

#[cfg(unix)]
pub(super) async fn set_owner(
    reach: Arc<Reach>,
    path: String,
    owner: Option<String>,
    group: Option<String>,
) -> Result<()> {
    use super::folder::Accounts;
    let unknown =
        |name: &str| Fault::new(ErrorCode::NotFound, format!("This machine knows no account {name:?}."));
    aside(move || {
        let find = |name: Option<String>, find: fn(&str) -> Option<u32>| match name {
            Some(name) => find(&name).map(Some).ok_or_else(|| unknown(&name)),
            None => Ok(None),
        };
        let (owner, group) = (find(owner, Accounts::user)?, find(group, Accounts::group)?);
        let spot = reach.spot(&Absolute::parse(&path)?)?;
        spot.folder.set_owner(&spot.name, owner, group, |facts| reach.check_names(facts))
    })
    .await?
}

#[cfg(windows)]
pub(super) async fn set_mode(_reach: Arc<Reach>, _path: String, _mode: u32) -> Result<()> {
    Err(Fault::new(ErrorCode::Unsupported, "Windows has no permission bits; use icacls in a terminal."))
}

#[cfg(windows)]
pub(super) async fn set_owner(
    _reach: Arc<Reach>,
    _path: String,
    _owner: Option<String>,
    _group: Option<String>,
) -> Result<()> {
    Err(Fault::new(ErrorCode::Unsupported, "Owners are not changed on Windows; use icacls in a terminal."))
}
