//! Sizes both sides enforce. A peer that breaks one is disconnected with a reason; text beyond its limit is cut.

use chrono::{DateTime, Datelike as _, Utc};

/// Largest control (JSON text) frame, in bytes.
pub const MAX_CONTROL_FRAME_BYTES: usize = 256 * 1024;
/// Largest piece of command output in one message, in bytes before base64.
pub const MAX_OUTPUT_CHUNK_BYTES: usize = 32 * 1024;
/// Output of one command that is kept by default, in bytes; the rest is counted and dropped.
pub const DEFAULT_OUTPUT_LIMIT_BYTES: u64 = 16 * 1024 * 1024;
/// Largest piece of an agent's own log in one message, in bytes before base64; also what a crash report carries of it.
pub const MAX_LOG_PART_BYTES: usize = 32 * 1024;
/// Most of an agent's own log that is sent at a request, in bytes.
pub const MAX_LOG_BYTES: u64 = 2 * 1024 * 1024;
/// Longest command text or script, in bytes.
pub const MAX_COMMAND_BYTES: usize = 128 * 1024;
/// Longest standard input of a command, in bytes.
pub const MAX_STDIN_BYTES: usize = 64 * 1024;
/// Longest name (host, user, interface, process), in characters.
pub const MAX_NAME_CHARS: usize = 255;
/// Longest free text (command line, error), in characters.
pub const MAX_TEXT_CHARS: usize = 2_048;
/// Most entries of any list in a message (disks, interfaces, addresses).
pub const MAX_LIST_ITEMS: usize = 128;
/// Most processes per list in a sample.
pub const MAX_TOP_PROCESSES: usize = 10;
/// Most commands an agent may report in its hello.
pub const MAX_RESUMED_COMMANDS: usize = 1_024;

/// Cuts `text` to `max_chars` and removes NUL, which PostgreSQL's text cannot hold.
pub fn clean(text: &mut String, max_chars: usize) {
    if text.contains('\0') {
        text.retain(|c| c != '\0');
    }
    if let Some((end, _)) = text.char_indices().nth(max_chars) {
        text.truncate(end);
    }
}

/// [`clean`] for an optional text; an empty one becomes `None`.
pub fn clean_optional(text: &mut Option<String>, max_chars: usize) {
    if let Some(inner) = text {
        clean(inner, max_chars);
        if inner.is_empty() {
            *text = None;
        }
    }
}

/// The years in which anything can have happened to a machine. PostgreSQL takes more of them, but not all that a
/// message can name, and a time beyond four digits is read by few.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=9999;

/// Drops a time that no machine can mean.
pub fn clean_time(time: &mut Option<DateTime<Utc>>) {
    *time = time.filter(|time| YEARS.contains(&time.year()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_times_with_a_year_of_four_digits_since_1970_are_kept() {
        for (text, is_kept) in [
            ("-262143-01-01T00:00:00Z", false),
            ("-9999-01-01T00:00:00Z", false),
            ("1969-12-31T23:59:59.999999999Z", false),
            ("1970-01-01T00:00:00Z", true),
            ("2016-12-31T23:59:60.5Z", true),
            ("9999-12-31T23:59:60.999999999Z", true),
            ("+10000-01-01T00:00:00Z", false),
            ("+262142-12-31T23:59:59Z", false),
        ] {
            let mut time = Some(text.parse().unwrap());
            clean_time(&mut time);
            assert_eq!(time.is_some(), is_kept, "{text}");
        }
    }

    #[test]
    fn clean_cuts_at_a_character_and_drops_nul() {
        let mut text = "a\0b\u{e4}\u{f6}c".to_owned();
        clean(&mut text, 4);
        assert_eq!(text, "ab\u{e4}\u{f6}");
    }
}
