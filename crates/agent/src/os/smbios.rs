//! SMBIOS tables (DMTF DSP0134) as Windows hands them out. On Linux the kernel has read them already.

/// What the makers of a machine and its board wrote about them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Smbios {
    /// The system's UUID, written as Linux writes it, so that a machine is the same under both.
    pub uuid: Option<String>,
    /// Who made the machine.
    pub manufacturer: Option<String>,
    /// Which model it is.
    pub product: Option<String>,
    /// The machine's serial.
    pub serial: Option<String>,
    /// The board's serial.
    pub board_serial: Option<String>,
    /// Who made the board.
    pub board_vendor: Option<String>,
    /// Who made the BIOS.
    pub bios_vendor: Option<String>,
    /// Which BIOS it is.
    pub bios_version: Option<String>,
    /// What the owner, or the hypervisor, calls the chassis.
    pub chassis_tag: Option<String>,
}

/// Structures beyond this number are not looked at: a damaged table must not hold the agent up.
const MAX_STRUCTURES: usize = 4096;

/// From `RawSMBIOSData`: four bytes of versions, the length in four, then the structures.
pub fn parse_raw(raw: &[u8]) -> Smbios {
    let (Some([_, major, minor, _]), Some(structures)) = (raw.first_chunk(), raw.get(8..)) else {
        return Smbios::default();
    };
    let mut found = Smbios::default();
    let mut rest = structures;
    for _ in 0..MAX_STRUCTURES {
        let Some(structure) = Structure::read(&mut rest) else { break };
        match structure.kind {
            0 => {
                found.bios_vendor = found.bios_vendor.or_else(|| structure.text(0x04));
                found.bios_version = found.bios_version.or_else(|| structure.text(0x05));
            }
            1 => {
                found.manufacturer = found.manufacturer.or_else(|| structure.text(0x04));
                found.product = found.product.or_else(|| structure.text(0x05));
                found.serial = found.serial.or_else(|| structure.text(0x07));
                found.uuid = found.uuid.or_else(|| structure.uuid((*major, *minor) >= (2, 6)));
            }
            2 => {
                found.board_vendor = found.board_vendor.or_else(|| structure.text(0x04));
                found.board_serial = found.board_serial.or_else(|| structure.text(0x07));
            }
            3 => found.chassis_tag = found.chassis_tag.or_else(|| structure.text(0x08)),
            // The end of the table.
            127 => break,
            _ => {}
        }
    }
    found
}

struct Structure<'a> {
    kind: u8,
    /// With its header.
    fixed: &'a [u8],
    /// One after the other, each ended by a NUL.
    strings: &'a [u8],
}

impl<'a> Structure<'a> {
    /// Takes the next structure off `rest`: type, length of the fixed part, its bytes, strings, and a NUL more.
    fn read(rest: &mut &'a [u8]) -> Option<Self> {
        let (kind, length) = (*rest.first()?, usize::from(*rest.get(1)?));
        // The header alone has four.
        let (fixed, behind) = rest.split_at_checked(length).filter(|_| length >= 4)?;
        let strings_end = behind.windows(2).position(|pair| pair == [0, 0])?;
        let (strings, next) = behind.split_at_checked(strings_end + 2)?;
        *rest = next;
        Some(Self { kind, fixed, strings })
    }

    /// The string whose number, counted from 1, stands at `offset`.
    fn text(&self, offset: usize) -> Option<String> {
        let number = usize::from(*self.fixed.get(offset)?).checked_sub(1)?;
        let text = self.strings.split(|byte| *byte == 0).nth(number)?;
        Some(String::from_utf8_lossy(text).trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// Since version 2.6 the first three fields are little-endian.
    fn uuid(&self, is_little_endian: bool) -> Option<String> {
        let bytes: [u8; 16] = self.fixed.get(0x08..0x18)?.try_into().ok()?;
        let uuid =
            if is_little_endian { uuid::Uuid::from_bytes_le(bytes) } else { uuid::Uuid::from_bytes(bytes) };
        Some(uuid.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(minor: u8) -> Vec<u8> {
        let mut system = vec![1, 27, 1, 0, 1, 2, 0, 3];
        system.extend([
            0x44, 0x45, 0x4c, 0x4c, 0x42, 0x00, 0x10, 0x35, 0x80, 0x52, 0xb4, 0xc0, 0x4f, 0x31, 0x32, 0x33,
        ]);
        system.extend([6, 0, 0]);
        system.extend(b"Acme\0Model 9\0SYS-1\0\0");
        let bios = b"\0\x06\0\0\x01\0Acme BIOS\0\0";
        let board = b"\x02\x08\x02\0\x01\x02\x00\x03Acme\0Board\0 BOARD-1 \0\0";
        let chassis = b"\x03\x09\x03\0\x00\x01\x00\x00\x01TAG-1\0\0";
        let end = b"\x7f\x04\x7f\0\0\0";
        let structures =
            [&bios[..], &system, board, chassis, end, b"\x02\x08\x09\0\0\0\0\x01AFTER\0\0"].concat();
        let mut raw = vec![0, 2, minor, 0];
        raw.extend((structures.len() as u32).to_le_bytes());
        raw.extend(structures);
        raw
    }

    #[test]
    fn maker_model_serials_and_uuid_are_found() {
        let found = parse_raw(&table(8));
        assert_eq!(found.uuid.as_deref(), Some("4c4c4544-0042-3510-8052-b4c04f313233"));
        let told = |text: Option<String>| text.unwrap_or_default();
        assert_eq!((told(found.manufacturer), told(found.product)), ("Acme".into(), "Model 9".into()));
        assert_eq!((told(found.serial), told(found.board_serial)), ("SYS-1".into(), "BOARD-1".into()));
        assert_eq!((told(found.board_vendor), told(found.chassis_tag)), ("Acme".into(), "TAG-1".into()));
        assert_eq!((told(found.bios_vendor), found.bios_version), ("Acme BIOS".into(), None));
    }

    #[test]
    fn an_old_tables_uuid_is_read_as_it_stands() {
        assert_eq!(parse_raw(&table(5)).uuid.as_deref(), Some("44454c4c-4200-1035-8052-b4c04f313233"));
    }

    proptest! {
        #[test]
        fn no_table_makes_it_panic(raw in any::<Vec<u8>>(), at in 0usize..200, byte in any::<u8>()) {
            parse_raw(&raw);
            let mut damaged = table(8);
            let length = damaged.len();
            damaged[at % length] = byte;
            parse_raw(&damaged);
            damaged.truncate(at);
            parse_raw(&damaged);
        }
    }
}
