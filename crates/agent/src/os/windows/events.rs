//! The event log, as far as a tech asks for it.
#![expect(unsafe_code, reason = "the system's calls about its log")]

use super::wide::{self, text_at, wide};
use std::collections::HashMap;
use std::io;
use std::ptr::{null, null_mut};
use windows_sys::Win32::Foundation::{
    ERROR_EVT_CHANNEL_NOT_FOUND, ERROR_EVT_INVALID_CHANNEL_PATH, ERROR_INSUFFICIENT_BUFFER,
    ERROR_NO_MORE_ITEMS,
};
use windows_sys::Win32::System::EventLog::{
    EVT_HANDLE, EVT_VARIANT, EvtClose, EvtCreateRenderContext, EvtFormatMessage, EvtFormatMessageEvent,
    EvtNext, EvtOpenPublisherMetadata, EvtQuery, EvtQueryChannelPath, EvtQueryForwardDirection,
    EvtQueryReverseDirection, EvtRender, EvtRenderContextSystem, EvtRenderEventValues, EvtRenderEventXml,
    EvtSystemChannel, EvtSystemEventID, EvtSystemEventRecordId, EvtSystemLevel, EvtSystemProcessID,
    EvtSystemPropertyIdEND, EvtSystemProviderName, EvtSystemTimeCreated, EvtVarTypeNull, EvtVarTypeString,
};

/// Longest text of one entry, in UTF-16 units.
const MAX_UNITS: usize = 64 * 1024;
/// Providers whose texts are kept open.
const MAX_PROVIDERS: usize = 64;
/// How long the log may take for the next entry, in milliseconds.
const NEXT_WITHIN: u32 = 10_000;
/// From 1601 to 1970, in the hundred nanoseconds of the system's times.
const EPOCH: i64 = 116_444_736_000_000_000;

/// An entry as it is.
#[derive(Debug, Clone)]
pub struct Found {
    /// Within its log; later ones have larger ones.
    pub number: u64,
    pub time_ms: i64,
    /// 1 is the gravest; 0 is said to be always logged.
    pub level: u8,
    pub provider: String,
    pub log: String,
    pub event_id: u32,
    pub pid: Option<u32>,
    pub text: String,
}

/// Whether there is no such log.
pub fn is_missing(error: &io::Error) -> bool {
    let missing = [ERROR_EVT_CHANNEL_NOT_FOUND, ERROR_EVT_INVALID_CHANNEL_PATH];
    error.raw_os_error().is_some_and(|code| missing.iter().any(|missing| code == *missing as i32))
}

/// The number of the newest entry of a log; 0, where it is empty.
pub fn newest(log: &str) -> io::Result<u64> {
    let mut query = Query::new(log, "*", true)?;
    let newest = query.next_event()?.map(|event| query.values(&event)).transpose()?;
    Ok(newest.map_or(0, |found| found.number))
}

struct Handle(EVT_HANDLE);

impl Handle {
    fn of(handle: EVT_HANDLE) -> io::Result<Self> {
        if handle == 0 { Err(io::Error::last_os_error()) } else { Ok(Self(handle)) }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: it is open, and closed once.
        unsafe { EvtClose(self.0) };
    }
}

/// Entries of one log that meet a condition.
pub struct Query {
    result: Handle,
    context: Handle,
    providers: HashMap<String, Option<Handle>>,
}

impl Query {
    /// `condition` is the log's XPath.
    pub fn new(log: &str, condition: &str, is_backwards: bool) -> io::Result<Self> {
        let (log, condition) = (wide(log), wide(condition));
        let direction = if is_backwards { EvtQueryReverseDirection } else { EvtQueryForwardDirection };
        // SAFETY: both texts end with a NUL; no paths are given, which the system's own context does not want.
        let (result, context) = unsafe {
            (
                Handle::of(EvtQuery(0, log.as_ptr(), condition.as_ptr(), EvtQueryChannelPath | direction))?,
                Handle::of(EvtCreateRenderContext(0, null(), EvtRenderContextSystem))?,
            )
        };
        Ok(Self { result, context, providers: HashMap::new() })
    }

    /// The next one.
    pub fn next(&mut self) -> io::Result<Option<Found>> {
        let Some(event) = self.next_event()? else { return Ok(None) };
        let mut found = self.values(&event)?;
        let message = self.message(&event, &found.provider);
        found.text = message.unwrap_or_else(|| data(&xml(&event).unwrap_or_default()));
        Ok(Some(found))
    }

    fn next_event(&mut self) -> io::Result<Option<Handle>> {
        let (mut event, mut count) = (0, 0);
        // SAFETY: there is room for the one that is asked for.
        if unsafe { EvtNext(self.result.0, 1, &mut event, NEXT_WITHIN, 0, &mut count) } != 0 {
            return Handle::of(event).map(Some);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() == Some(ERROR_NO_MORE_ITEMS as i32) { Ok(None) } else { Err(error) }
    }

    /// All but its text.
    fn values(&self, event: &Handle) -> io::Result<Found> {
        let mut size = 0;
        let mut count = 0;
        // SAFETY: asks for the size only.
        unsafe {
            EvtRender(self.context.0, event.0, EvtRenderEventValues, 0, null_mut(), &mut size, &mut count)
        };
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(ERROR_INSUFFICIENT_BUFFER as i32) || size as usize > 2 * MAX_UNITS {
            return Err(error);
        }
        // Aligned as the structures in it have to be.
        let mut buffer = vec![0u64; (size as usize).div_ceil(8)];
        let at = buffer.as_mut_ptr();
        // SAFETY: the buffer is at least as large as is said.
        let rendered = unsafe {
            EvtRender(self.context.0, event.0, EvtRenderEventValues, size, at.cast(), &mut size, &mut count)
        };
        if rendered == 0 {
            return Err(io::Error::last_os_error());
        }
        if count < EvtSystemPropertyIdEND as u32 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // SAFETY: the system wrote so many values, whose texts are in the same buffer; each is read as its type says, and one
        // without a value not at all.
        let value = |id: i32| unsafe { &*at.cast::<EVT_VARIANT>().add(id as usize) };
        let has = |id: i32| value(id).Type != EvtVarTypeNull as u32;
        let text = |id: i32| {
            let is_text = value(id).Type == EvtVarTypeString as u32;
            // SAFETY: as above.
            if is_text { unsafe { text_at(value(id).Anonymous.StringVal) } } else { String::new() }
        };
        // SAFETY: as above; these have one type each, which goes with their number.
        unsafe {
            let time = i64::try_from(value(EvtSystemTimeCreated).Anonymous.FileTimeVal).unwrap_or(EPOCH);
            Ok(Found {
                number: value(EvtSystemEventRecordId).Anonymous.UInt64Val,
                time_ms: (time - EPOCH) / 10_000,
                level: if has(EvtSystemLevel) { value(EvtSystemLevel).Anonymous.ByteVal } else { 0 },
                provider: text(EvtSystemProviderName),
                log: text(EvtSystemChannel),
                event_id: value(EvtSystemEventID).Anonymous.UInt16Val.into(),
                pid: has(EvtSystemProcessID).then(|| value(EvtSystemProcessID).Anonymous.UInt32Val),
                text: String::new(),
            })
        }
    }

    /// As the provider's own texts say it, where these are installed.
    fn message(&mut self, event: &Handle, provider: &str) -> Option<String> {
        if self.providers.len() >= MAX_PROVIDERS {
            self.providers.clear();
        }
        let metadata = self.providers.entry(provider.to_owned()).or_insert_with(|| {
            let name = wide(provider);
            // SAFETY: the name ends with a NUL.
            Handle::of(unsafe { EvtOpenPublisherMetadata(0, name.as_ptr(), null(), 0, 0) }).ok()
        });
        let metadata = metadata.as_ref()?;
        let mut units = 0;
        // SAFETY: asks for the size only.
        unsafe {
            EvtFormatMessage(
                metadata.0,
                event.0,
                0,
                0,
                null(),
                EvtFormatMessageEvent,
                0,
                null_mut(),
                &mut units,
            )
        };
        let mut buffer = vec![0u16; (units as usize).min(MAX_UNITS)];
        // SAFETY: the buffer is as large as is said.
        let formatted = unsafe {
            EvtFormatMessage(
                metadata.0,
                event.0,
                0,
                0,
                null(),
                EvtFormatMessageEvent,
                buffer.len() as u32,
                buffer.as_mut_ptr(),
                &mut units,
            )
        };
        Some(wide::text(&buffer)).filter(|text| formatted != 0 && !text.is_empty())
    }
}

fn xml(event: &Handle) -> Option<String> {
    let (mut size, mut count) = (0, 0);
    // SAFETY: asks for the size only, in bytes.
    unsafe { EvtRender(0, event.0, EvtRenderEventXml, 0, null_mut(), &mut size, &mut count) };
    let mut buffer = vec![0u16; (size as usize / 2).min(MAX_UNITS)];
    let bytes = buffer.len() * 2;
    // SAFETY: the buffer is as large as is said.
    let rendered = unsafe {
        EvtRender(
            0,
            event.0,
            EvtRenderEventXml,
            bytes as u32,
            buffer.as_mut_ptr().cast(),
            &mut size,
            &mut count,
        )
    };
    (rendered != 0).then(|| wide::text(&buffer))
}

/// What an entry without a text says all the same: what stands between the tags of its data.
fn data(xml: &str) -> String {
    let from = xml.find("<EventData").or_else(|| xml.find("<UserData")).unwrap_or(xml.len());
    let mut words = Vec::new();
    for piece in xml.get(from..).unwrap_or_default().split('<').skip(1) {
        let word = piece.split_once('>').map(|(_, word)| word.trim()).unwrap_or_default();
        if !word.is_empty() {
            words.push(
                word.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&"),
            );
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_without_a_text_shows_its_data() {
        let xml = "<Event><System><Level>4</Level></System><EventData><Data Name='a'>one &lt;b&gt;</Data>\
                   <Data>two</Data></EventData></Event>";
        assert_eq!(data(xml), "one <b> two");
        assert_eq!(data("<Event/>"), "");
    }
}
