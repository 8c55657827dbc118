//! Names of keys, and values as they are written in messages.

use gururmm_protocol::tunnel::registry::{MAX_VALUE_BYTES, RegistryData, RegistryValue};
use gururmm_protocol::tunnel::{ChannelError, ErrorCode};

/// The types of values, as the system numbers them.
pub(super) const SZ: u32 = 1;
pub(super) const EXPAND_SZ: u32 = 2;
pub(super) const BINARY: u32 = 3;
pub(super) const DWORD: u32 = 4;
pub(super) const MULTI_SZ: u32 = 7;
pub(super) const QWORD: u32 = 11;

/// Where keys begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    LocalMachine,
    Users,
    Classes,
    CurrentConfig,
    CurrentUser,
}

impl Root {
    pub(super) const ALL: [Self; 5] =
        [Self::LocalMachine, Self::Users, Self::Classes, Self::CurrentConfig, Self::CurrentUser];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::LocalMachine => "HKEY_LOCAL_MACHINE",
            Self::Users => "HKEY_USERS",
            Self::Classes => "HKEY_CLASSES_ROOT",
            Self::CurrentConfig => "HKEY_CURRENT_CONFIG",
            Self::CurrentUser => "HKEY_CURRENT_USER",
        }
    }

    fn short(self) -> &'static str {
        match self {
            Self::LocalMachine => "HKLM",
            Self::Users => "HKU",
            Self::Classes => "HKCR",
            Self::CurrentConfig => "HKCC",
            Self::CurrentUser => "HKCU",
        }
    }
}

/// A key's root, and its way from there; empty: the root itself.
pub(super) fn parse(key: &str) -> Result<(Root, String), ChannelError> {
    let invalid = || ChannelError::new(ErrorCode::Invalid, "there is no such name of a key");
    let key = key.trim_end_matches('\\');
    let (root, path) = key.split_once('\\').unwrap_or((key, ""));
    let is_it =
        |known: &Root| root.eq_ignore_ascii_case(known.name()) || root.eq_ignore_ascii_case(known.short());
    let root = Root::ALL.into_iter().find(is_it).ok_or_else(invalid)?;
    if path.contains('\0') || path.split('\\').any(|part| part.len() > 255) || path.contains("\\\\") {
        return Err(invalid());
    }
    Ok((root, path.to_owned()))
}

/// A value as it is shown: of what is too long only the beginning.
pub(super) fn shown(name: String, kind: u32, bytes: &[u8]) -> RegistryValue {
    let is_cut = bytes.len() > MAX_VALUE_BYTES;
    let bytes = bytes.get(..bytes.len().min(MAX_VALUE_BYTES)).unwrap_or_default();
    let whole: Result<[u8; 8], _> = bytes.try_into();
    let value = match (kind, bytes.len()) {
        (SZ, _) => RegistryData::String(text(bytes)),
        (EXPAND_SZ, _) => RegistryData::ExpandString(text(bytes)),
        (MULTI_SZ, _) => RegistryData::MultiString(texts(bytes)),
        (DWORD, 4) => {
            RegistryData::Dword(bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte)))
        }
        (QWORD, 8) => RegistryData::Qword(whole.map_or(0, u64::from_le_bytes).to_string()),
        (BINARY, _) => RegistryData::Binary(hex::encode(bytes)),
        (number, _) => RegistryData::Other { number, hex: hex::encode(bytes) },
    };
    RegistryValue { name, value, is_cut }
}

/// What is written: the type's number and the bytes.
pub(super) fn stored(value: &RegistryData) -> Result<(u32, Vec<u8>), ChannelError> {
    let invalid = |detail| ChannelError::new(ErrorCode::Invalid, detail);
    let (kind, bytes) = match value {
        RegistryData::String(text) => (SZ, units(text)),
        RegistryData::ExpandString(text) => (EXPAND_SZ, units(text)),
        RegistryData::MultiString(texts) => {
            if texts.iter().any(|text| text.is_empty() || text.contains('\0')) {
                return Err(invalid("no text in a list of texts is empty"));
            }
            let mut bytes: Vec<u8> = texts.iter().flat_map(|text| units(text)).collect();
            bytes.extend([0, 0]);
            (MULTI_SZ, bytes)
        }
        RegistryData::Dword(number) => (DWORD, number.to_le_bytes().to_vec()),
        RegistryData::Qword(text) => {
            let number: u64 = text.parse().map_err(|_| invalid("that is no number of 64 bits"))?;
            (QWORD, number.to_le_bytes().to_vec())
        }
        RegistryData::Binary(text) => {
            (BINARY, hex::decode(text).map_err(|_| invalid("that is not hexadecimal"))?)
        }
        RegistryData::Other { .. } => return Err(invalid("values of this type are not written")),
    };
    if bytes.len() > MAX_VALUE_BYTES {
        return Err(ChannelError::new(
            ErrorCode::TooLarge,
            format!("a value has at most {MAX_VALUE_BYTES} bytes"),
        ));
    }
    Ok((kind, bytes))
}

fn units(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

fn wide(bytes: &[u8]) -> Vec<u16> {
    bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect()
}

/// Up to the NULs at its end; those within it show.
fn text(bytes: &[u8]) -> String {
    let units = wide(bytes);
    let end = units.iter().rposition(|unit| *unit != 0).map_or(0, |last| last + 1);
    String::from_utf16_lossy(units.get(..end).unwrap_or_default())
}

fn texts(bytes: &[u8]) -> Vec<String> {
    let units = wide(bytes);
    let mut texts: Vec<String> = units.split(|unit| *unit == 0).map(String::from_utf16_lossy).collect();
    while texts.last().is_some_and(String::is_empty) {
        texts.pop();
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_begin_with_a_root_by_either_name() {
        assert_eq!(parse(r"HKLM\SOFTWARE\x").unwrap(), (Root::LocalMachine, r"SOFTWARE\x".to_owned()));
        assert_eq!(parse(r"hkey_users\").unwrap(), (Root::Users, String::new()));
        for wrong in ["", r"SOFTWARE\x", r"\HKLM\x", "HKLM\\a\0b", r"HKLM\a\\b", r"\\other\HKLM\x"] {
            assert_eq!(parse(wrong).unwrap_err().code, ErrorCode::Invalid, "{wrong}");
        }
        assert!(parse(&format!(r"HKLM\{}", "x".repeat(256))).is_err());
    }

    #[test]
    fn what_is_written_is_what_is_shown() {
        let values = [
            RegistryData::String("Grüße \u{1f600}".into()),
            RegistryData::String(String::new()),
            RegistryData::ExpandString("%SystemRoot%\\x".into()),
            RegistryData::MultiString(vec!["one".into(), "two".into()]),
            RegistryData::MultiString(Vec::new()),
            RegistryData::Dword(0x8000_0001),
            RegistryData::Qword(u64::MAX.to_string()),
            RegistryData::Binary("00ff10".into()),
        ];
        for value in values {
            let (kind, bytes) = stored(&value).unwrap();
            let shown = shown("x".into(), kind, &bytes);
            assert_eq!((shown.value, shown.is_cut), (value, false));
        }
    }

    #[test]
    fn what_does_not_fit_its_type_is_shown_as_it_is() {
        let value = |kind, bytes: &[u8]| shown(String::new(), kind, bytes).value;
        assert_eq!(value(DWORD, &[1, 2]), RegistryData::Other { number: DWORD, hex: "0102".into() });
        assert_eq!(value(0, &[]), RegistryData::Other { number: 0, hex: String::new() });
        assert_eq!(value(SZ, &[65, 0, 66]), RegistryData::String("A".into()), "half a unit is none");
        let long = shown(String::new(), BINARY, &vec![7; MAX_VALUE_BYTES + 1]);
        assert!(long.is_cut);
        assert_eq!(long.value, RegistryData::Binary("07".repeat(MAX_VALUE_BYTES)));
        assert_eq!(stored(&RegistryData::Binary("0".into())).unwrap_err().code, ErrorCode::Invalid);
        assert_eq!(stored(&RegistryData::Qword("-1".into())).unwrap_err().code, ErrorCode::Invalid);
        let other = RegistryData::Other { number: 8, hex: String::new() };
        assert_eq!(stored(&other).unwrap_err().code, ErrorCode::Invalid);
        let long = RegistryData::String("x".repeat(MAX_VALUE_BYTES));
        assert_eq!(stored(&long).unwrap_err().code, ErrorCode::TooLarge);
        let gap = RegistryData::MultiString(vec!["a".into(), String::new()]);
        assert_eq!(stored(&gap).unwrap_err().code, ErrorCode::Invalid);
    }
}
