//! By the system's own calls, in the view of 64 bits.

use super::export;
use super::keys::{self, Root};
use crate::os::registry_tree::{Key, Value};
use crate::tunnel::channel::Channel;
use crate::tunnel::requests::{self, Asker};
use gururmm_protocol::tunnel::registry::{ITEMS_PER_PART, RegistryAnswer, RegistryRequest};
use gururmm_protocol::tunnel::{ChannelEnd, ChannelError, ErrorCode};
use std::io;
use tokio::sync::mpsc;

/// How the text of an export begins.
const HEADER: &str = "Windows Registry Editor Version 5.00\r\n";
/// What one part of an export holds.
const PART_BYTES: usize = 24 * 1024;
/// How deep keys lie below each other at most, which is the system's own bound.
const MAX_DEPTH: usize = 512;

/// Answers until the channel ends.
pub async fn run(channel: Channel) -> ChannelEnd {
    requests::serve(channel, answer).await
}

async fn answer(
    request: RegistryRequest,
    asker: Asker<RegistryAnswer>,
) -> Result<RegistryAnswer, ChannelError> {
    match request {
        RegistryRequest::List { key } => list(key, &asker).await,
        RegistryRequest::Export { key } => export(key, &asker).await,
        RegistryRequest::SetValue { key, name, value } => {
            let (kind, bytes) = keys::stored(&value)?;
            change(&key, move |root, path| Key::open(root, path, true)?.set(&name, kind, &bytes)).await
        }
        RegistryRequest::DeleteValue { key, name } => {
            change(&key, move |root, path| Key::open(root, path, true)?.delete_value(&name)).await
        }
        RegistryRequest::CreateKey { key } => {
            let is_new = change_and_tell(&key, |root, path| Key::create(root, path)).await?;
            if is_new {
                Ok(RegistryAnswer::Done {})
            } else {
                Err(ChannelError::new(ErrorCode::AlreadyExists, "there is such a key"))
            }
        }
        RegistryRequest::DeleteKey { key, recursive } => delete(&key, recursive).await,
        RegistryRequest::Unknown => {
            Err(ChannelError::new(ErrorCode::Unsupported, "this agent does not know that"))
        }
    }
}

async fn list(key: String, asker: &Asker<RegistryAnswer>) -> Result<RegistryAnswer, ChannelError> {
    if key.is_empty() {
        let keys: Vec<_> = Root::ALL.iter().map(|root| root.name().to_owned()).collect();
        let count = keys.len() as u64;
        asker.part(RegistryAnswer::Keys { keys }).await?;
        return Ok(RegistryAnswer::Count { keys: count, values: 0 });
    }
    let (root, path) = keys::parse(&key)?;
    let (keys, values) = on_a_thread(move || {
        let key = Key::open(number(root), &path, false)?;
        let values =
            key.values()?.into_iter().map(|Value { name, kind, bytes }| keys::shown(name, kind, &bytes));
        Ok((key.keys()?, values.collect::<Vec<_>>()))
    })
    .await?;
    let count = RegistryAnswer::Count { keys: keys.len() as u64, values: values.len() as u64 };
    asker.parts(keys, ITEMS_PER_PART, |keys| RegistryAnswer::Keys { keys }).await?;
    asker.parts(values, ITEMS_PER_PART, |values| RegistryAnswer::Values { values }).await?;
    Ok(count)
}

/// Key by key, and no further ahead than it is sent.
async fn export(key: String, asker: &Asker<RegistryAnswer>) -> Result<RegistryAnswer, ChannelError> {
    let (root, path) = keys::parse(&key)?;
    let (sender, mut parts) = mpsc::channel::<String>(2);
    let writing = tokio::task::spawn_blocking(move || {
        let mut text = HEADER.to_owned();
        write(root, &path, 0, &mut text, &sender)?;
        // Who is gone reads nothing.
        let _ = sender.blocking_send(text);
        Ok(())
    });
    while let Some(text) = parts.recv().await {
        asker.part(RegistryAnswer::Text { text }).await?;
    }
    writing.await.map_err(io::Error::other).flatten().map_err(failed)?;
    Ok(RegistryAnswer::Done {})
}

fn write(
    root: Root,
    path: &str,
    depth: usize,
    text: &mut String,
    parts: &mpsc::Sender<String>,
) -> io::Result<()> {
    let key = match Key::open(number(root), path, false) {
        Ok(key) => key,
        // What nobody may read is not part of what is read.
        Err(_) if depth > 0 => return Ok(()),
        Err(error) => return Err(error),
    };
    let separator = if path.is_empty() { "" } else { "\\" };
    text.push_str(&export::key(&format!("{}{separator}{path}", root.name())));
    for Value { name, kind, bytes } in key.values()? {
        text.push_str(&export::value(&name, kind, &bytes));
        while text.len() > PART_BYTES {
            let cut = text.floor_char_boundary(PART_BYTES);
            let rest = text.split_off(cut);
            parts.blocking_send(std::mem::replace(text, rest)).map_err(io::Error::other)?;
        }
    }
    if depth < MAX_DEPTH {
        for name in key.keys()? {
            write(root, &format!("{path}{separator}{name}"), depth + 1, text, parts)?;
        }
    }
    Ok(())
}

async fn delete(key: &str, recursive: bool) -> Result<RegistryAnswer, ChannelError> {
    let (root, path) = keys::parse(key)?;
    if path.is_empty() {
        return Err(ChannelError::new(ErrorCode::Invalid, "a root is not deleted"));
    }
    let is_deleted = on_a_thread(move || {
        let key = Key::open(number(root), &path, false)?;
        if !recursive && !key.keys()?.is_empty() {
            return Ok(false);
        }
        drop(key);
        tracing::info!(key = %path, "a tech deletes a key of the registry");
        Key::delete(number(root), &path).map(|()| true)
    })
    .await?;
    if is_deleted {
        Ok(RegistryAnswer::Done {})
    } else {
        Err(ChannelError::new(ErrorCode::NotEmpty, "the key has other keys in it"))
    }
}

async fn change(
    key: &str,
    work: impl FnOnce(isize, &str) -> io::Result<()> + Send + 'static,
) -> Result<RegistryAnswer, ChannelError> {
    change_and_tell(key, work).await.map(|()| RegistryAnswer::Done {})
}

async fn change_and_tell<T: Send + 'static>(
    key: &str,
    work: impl FnOnce(isize, &str) -> io::Result<T> + Send + 'static,
) -> Result<T, ChannelError> {
    let (root, path) = keys::parse(key)?;
    tracing::info!(root = root.name(), key = %path, "a tech changes the registry");
    on_a_thread(move || work(number(root), &path)).await
}

fn number(root: Root) -> isize {
    use windows_sys::Win32::System::Registry::{
        HKEY_CLASSES_ROOT, HKEY_CURRENT_CONFIG, HKEY_CURRENT_USER, HKEY_LOCAL_MACHINE, HKEY_USERS,
    };
    let key = match root {
        Root::LocalMachine => HKEY_LOCAL_MACHINE,
        Root::Users => HKEY_USERS,
        Root::Classes => HKEY_CLASSES_ROOT,
        Root::CurrentConfig => HKEY_CURRENT_CONFIG,
        Root::CurrentUser => HKEY_CURRENT_USER,
    };
    key as isize
}

async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ChannelError> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other).flatten().map_err(failed)
}

fn failed(error: io::Error) -> ChannelError {
    let code = match error.kind() {
        io::ErrorKind::PermissionDenied => ErrorCode::PermissionDenied,
        io::ErrorKind::NotFound => ErrorCode::NotFound,
        _ => ErrorCode::Failed,
    };
    ChannelError::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = r"Software\GuruRMM-test-tree";

    #[test]
    fn what_is_written_is_found_exported_and_deleted() {
        let root = number(Root::CurrentUser);
        let _ = Key::delete(root, KEY);
        assert!(Key::create(root, &format!(r"{KEY}\below")).unwrap());
        assert!(!Key::create(root, KEY).unwrap(), "it is there already");
        let key = Key::open(root, KEY, true).unwrap();
        key.set("number", keys::DWORD, &[7, 0, 0, 0]).unwrap();
        key.set("", keys::BINARY, &[1, 2]).unwrap();
        assert_eq!(key.keys().unwrap(), ["below"]);
        let mut names: Vec<_> = key.values().unwrap().into_iter().map(|value| value.name).collect();
        names.sort();
        assert_eq!(names, ["", "number"]);
        let (sender, _parts) = mpsc::channel(1);
        let mut text = String::new();
        write(Root::CurrentUser, KEY, 0, &mut text, &sender).unwrap();
        assert!(text.contains("\"number\"=dword:00000007\r\n"), "{text}");
        assert!(text.contains("[HKEY_CURRENT_USER\\Software\\GuruRMM-test-tree\\below]\r\n"), "{text}");
        key.delete_value("number").unwrap();
        assert_eq!(key.delete_value("number").unwrap_err().kind(), io::ErrorKind::NotFound);
        drop(key);
        Key::delete(root, KEY).unwrap();
        assert_eq!(Key::open(root, KEY, false).err().unwrap().kind(), io::ErrorKind::NotFound);
    }
}
