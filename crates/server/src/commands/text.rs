//! Output is bytes; screens want text. A character may be cut between two chunks.

/// Turns chunks of one stream into text, keeping the beginning of a cut character for the chunk that brings its rest.
#[derive(Debug, Default)]
pub struct Decoder {
    carry: Vec<u8>,
}

impl Decoder {
    /// Goes on after output of which these are the last bytes (three are enough).
    pub fn after(last_bytes: &[u8]) -> Self {
        let tail = incomplete_tail(last_bytes);
        Self { carry: last_bytes[last_bytes.len() - tail..].to_vec() }
    }

    /// The text of the next chunk; what is not UTF-8 becomes U+FFFD.
    pub fn next(&mut self, data: &[u8]) -> String {
        self.carry.extend_from_slice(data);
        let whole = self.carry.len() - incomplete_tail(&self.carry);
        let text = String::from_utf8_lossy(&self.carry[..whole]).into_owned();
        self.carry.drain(..whole);
        text
    }

    /// What is left when no chunk follows: U+FFFD for a character that never got its end.
    pub fn rest(&self) -> &'static str {
        if self.carry.is_empty() { "" } else { "\u{FFFD}" }
    }
}

/// How many bytes at the end are the beginning of a character that is not complete: three at most.
fn incomplete_tail(bytes: &[u8]) -> usize {
    let is_a_beginning = |tail: &[u8]| {
        std::str::from_utf8(tail).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    let longest = bytes.len().min(3);
    (1..=longest).rev().find(|length| is_a_beginning(&bytes[bytes.len() - length..])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_survives_any_cutting(text in "\\PC{0,60}", cuts in proptest::collection::vec(0_usize..200, 0..8)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let (mut one, mut resumed) = (Decoder::default(), String::new());
            let mut whole = String::new();
            for pair in cuts.windows(2) {
                whole.push_str(&one.next(&bytes[pair[0]..pair[1]]));
                let before = &bytes[..pair[0]];
                let mut other = Decoder::after(&before[before.len().saturating_sub(3)..]);
                resumed.push_str(&other.next(&bytes[pair[0]..pair[1]]));
            }
            prop_assert_eq!(&whole, &text);
            prop_assert_eq!(&resumed, &text);
        }

        #[test]
        fn any_bytes_become_some_text(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8)) {
            let mut decoder = Decoder::default();
            for chunk in chunks {
                decoder.next(&chunk);
                prop_assert!(decoder.carry.len() <= 3);
            }
        }

        #[test]
        fn chunks_are_read_as_the_whole_would_be(chunks in proptest::collection::vec(
            proptest::collection::vec(prop_oneof![0x20_u8..0x7F, 0x80..=0xFF_u8], 0..12), 0..8)) {
            let mut decoder = Decoder::default();
            let text: String = chunks.iter().map(|chunk| decoder.next(chunk)).collect();
            let whole = chunks.concat();
            prop_assert_eq!(text + decoder.rest(), String::from_utf8_lossy(&whole));
        }
    }
}
