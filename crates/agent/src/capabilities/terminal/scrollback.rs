//! The last of what a terminal showed, by its place in the whole.

use gururmm_protocol::tunnel::SCROLLBACK_BYTES;
use std::collections::VecDeque;

/// Grows to its bound and no further.
#[derive(Debug, Default)]
pub(super) struct Scrollback {
    bytes: VecDeque<u8>,
    end: u64,
}

impl Scrollback {
    /// The place of the oldest byte that is kept.
    pub(super) fn start(&self) -> u64 {
        self.end - self.bytes.len() as u64
    }

    /// How much was shown in all.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// More was shown.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.end += bytes.len() as u64;
        let kept = bytes.get(bytes.len().saturating_sub(SCROLLBACK_BYTES)..).unwrap_or_default();
        let surplus = (self.bytes.len() + kept.len()).saturating_sub(SCROLLBACK_BYTES);
        self.bytes.drain(..surplus.min(self.bytes.len()));
        self.bytes.extend(kept);
    }

    /// Bytes from `offset` on, as many as lie together: all of them in at most two calls.
    pub(super) fn from(&self, offset: u64) -> &[u8] {
        let skipped = usize::try_from(offset.saturating_sub(self.start())).unwrap_or(usize::MAX);
        let (first, second) = self.bytes.as_slices();
        match first.get(skipped..) {
            Some(rest) if !rest.is_empty() => rest,
            _ => second.get(skipped.saturating_sub(first.len())..).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all_from(scrollback: &Scrollback, mut offset: u64) -> Vec<u8> {
        let mut all = Vec::new();
        while offset < scrollback.end() {
            let piece = scrollback.from(offset);
            assert!(!piece.is_empty(), "nothing at {offset}");
            all.extend_from_slice(piece);
            offset += piece.len() as u64;
        }
        all
    }

    #[test]
    fn the_last_bytes_are_kept_at_their_places() {
        let mut scrollback = Scrollback::default();
        assert_eq!((scrollback.start(), scrollback.end(), scrollback.from(0)), (0, 0, &b""[..]));
        scrollback.push(b"hello");
        assert_eq!((scrollback.start(), all_from(&scrollback, 2)), (0, b"llo".to_vec()));
        scrollback.push(&vec![7; SCROLLBACK_BYTES - 2]);
        assert_eq!((scrollback.start(), scrollback.end()), (3, SCROLLBACK_BYTES as u64 + 3));
        assert!(all_from(&scrollback, 3).starts_with(b"lo\x07"));
        scrollback.push(&vec![8; 3 * SCROLLBACK_BYTES]);
        assert_eq!(scrollback.end() - scrollback.start(), SCROLLBACK_BYTES as u64);
        assert!(all_from(&scrollback, scrollback.start()).iter().all(|byte| *byte == 8));
    }

    proptest! {
        #[test]
        fn it_holds_what_was_pushed(pieces in proptest::collection::vec(0_usize..400_000, 0..12), at in 0.0_f64..1.0) {
            let (mut scrollback, mut whole) = (Scrollback::default(), Vec::new());
            for (number, piece) in pieces.into_iter().enumerate() {
                let bytes: Vec<u8> = (0..piece).map(|byte| (byte ^ number) as u8).collect();
                scrollback.push(&bytes);
                whole.extend_from_slice(&bytes);
            }
            prop_assert_eq!(scrollback.end(), whole.len() as u64);
            prop_assert_eq!(scrollback.start(), whole.len().saturating_sub(SCROLLBACK_BYTES) as u64);
            let kept = scrollback.end() - scrollback.start();
            let from = scrollback.start() + (kept as f64 * at) as u64;
            prop_assert_eq!(all_from(&scrollback, from), &whole[from as usize..]);
        }
    }
}
