//! The text of a `.reg` file, version 5.00.

use super::keys::{BINARY, DWORD, SZ};

/// A key's line.
pub(super) fn key(path: &str) -> String {
    format!("\r\n[{path}]\r\n")
}

/// A value's line. An empty name is the default value's.
pub(super) fn value(name: &str, kind: u32, bytes: &[u8]) -> String {
    let name = if name.is_empty() { "@".to_owned() } else { quoted(name) };
    let content = match (kind, bytes.len()) {
        (SZ, _) if is_plain(bytes) => quoted(&plain(bytes)),
        (DWORD, 4) => {
            let number = bytes.iter().rev().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
            format!("dword:{number:08x}")
        }
        (BINARY, _) => format!("hex:{}", hex(bytes)),
        (kind, _) => format!("hex({kind:x}):{}", hex(bytes)),
    };
    format!("{name}={content}\r\n")
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(",")
}

/// Whether it is one line of Unicode with a NUL at its end and nowhere else: anything else would not come back as it was.
fn is_plain(bytes: &[u8]) -> bool {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
    let Some((last, text)) = units.split_last() else { return false };
    let is_line = !text.iter().any(|unit| matches!(unit, 0 | 10 | 13));
    rest.is_empty() && *last == 0 && is_line && String::from_utf16(text).is_ok()
}

fn plain(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
    String::from_utf16_lossy(units.split_last().map(|(_, text)| text).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn values_stand_as_the_registry_editor_writes_them() {
        assert_eq!(key(r"HKEY_USERS\x"), "\r\n[HKEY_USERS\\x]\r\n");
        assert_eq!(value("", SZ, &units("a\\\"b\"\0")), "@=\"a\\\\\\\"b\\\"\"\r\n");
        assert_eq!(value("n", DWORD, &[1, 0, 0, 0x80]), "\"n\"=dword:80000001\r\n");
        assert_eq!(value("b", BINARY, &[0, 255]), "\"b\"=hex:00,ff\r\n");
        assert_eq!(value("e", 2, &units("%x%\0")), "\"e\"=hex(2):25,00,78,00,25,00,00,00\r\n");
        // Would not come back as it is from a line.
        assert_eq!(value("l", SZ, &units("a\nb\0")), "\"l\"=hex(1):61,00,0a,00,62,00,00,00\r\n");
        assert_eq!(value("l", SZ, &units("a")), "\"l\"=hex(1):61,00\r\n");
        assert_eq!(value("l", SZ, &[]), "\"l\"=hex(1):\r\n");
        assert_eq!(value("d", DWORD, &[1]), "\"d\"=hex(4):01\r\n");
    }
}
