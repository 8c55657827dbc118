//! Lines that were typed, from the keys alone. The screen is not looked at: what a shell makes of completion, history or
//! the cursor's keys is not known here, and a line that had any of them says so.
//!
//! A line counts as shown when the terminal echoed it. Passwords are not echoed, so they stay out of markers and of the
//! index (the recording itself has every key).

use std::collections::VecDeque;

/// Characters of a line that are kept.
const MAX_CHARS: usize = 4_000;
/// Bytes of output in which an echo is looked for.
const ECHO_BYTES: usize = 16 * 1024;
/// How long an echo is waited for once the line is entered, in microseconds.
const ECHO_WITHIN_US: u64 = 1_000_000;
/// Lines that wait for their echo; a paste of more has the oldest decided at once.
const MAX_WAITING: usize = 64;

/// A line that was entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub text: String,
    pub is_exact: bool,
    pub is_shown: bool,
}

/// Follows one terminal.
#[derive(Debug, Default)]
pub struct Lines {
    text: String,
    chars: usize,
    is_inexact: bool,
    keys: Keys,
    partial: Vec<u8>,
    /// What was shown since the line's first character.
    echo: Echo,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    line: Line,
    until_us: u64,
    echo: Echo,
}

/// Where in a key's sequence the last byte stood.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Keys {
    #[default]
    Ground,
    /// A carriage return: a line feed right after it belongs to it.
    Return,
    Escape,
    /// `ESC [`, with the number so far.
    Control(u16),
    /// `ESC O`.
    Single,
    /// `ESC ]`, `ESC P` and the like: what a terminal answers by itself, until its end.
    Answer,
    AnswerEscape,
}

impl Lines {
    /// Bytes that were typed; answers lines whose echo is decided.
    pub fn typed(&mut self, now_us: u64, bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        for &byte in bytes {
            if self.key(byte) {
                self.enter(now_us, &mut lines);
            }
        }
        lines
    }

    /// Bytes that were shown.
    pub fn shown(&mut self, bytes: &[u8]) -> Vec<Line> {
        if !self.text.is_empty() {
            self.echo.take(bytes);
        }
        let mut lines = Vec::new();
        for waiting in &mut self.waiting {
            waiting.echo.take(bytes);
        }
        while let Some(waiting) = self.waiting.front_mut() {
            waiting.line.is_shown |= waiting.echo.has(&waiting.line.text);
            if !waiting.line.is_shown && !waiting.echo.is_full() {
                break;
            }
            lines.extend(self.waiting.pop_front().map(|waiting| waiting.line));
        }
        lines
    }

    /// Time has passed.
    pub fn settle(&mut self, now_us: u64) -> Vec<Line> {
        let mut lines = Vec::new();
        while self.waiting.front().is_some_and(|waiting| waiting.until_us <= now_us) {
            lines.extend(self.waiting.pop_front().map(|waiting| waiting.line));
        }
        lines
    }

    /// Whether the byte enters the line.
    fn key(&mut self, byte: u8) -> bool {
        let before = std::mem::take(&mut self.keys);
        match before {
            Keys::Ground | Keys::Return => return self.plain(byte, before == Keys::Return),
            Keys::Escape => match byte {
                b'[' => self.keys = Keys::Control(0),
                b'O' => self.keys = Keys::Single,
                b']' | b'P' | b'_' | b'^' | b'X' => self.keys = Keys::Answer,
                _ => self.is_inexact = true,
            },
            Keys::Control(number) => match byte {
                b'0'..=b'9' => {
                    let digit = u16::from(byte - b'0');
                    self.keys = Keys::Control(number.saturating_mul(10).saturating_add(digit));
                }
                0x20..=0x3f => self.keys = Keys::Control(number),
                // The bounds of a paste; focus; where the cursor is and what the terminal can, as it answers itself.
                b'~' if number == 200 || number == 201 => {}
                b'I' | b'O' | b'R' | b'c' | b'n' | b'y' | b'u' | b't' => {}
                _ => self.is_inexact = true,
            },
            Keys::Single => self.is_inexact = true,
            Keys::Answer => match byte {
                0x07 => {}
                0x1b => self.keys = Keys::AnswerEscape,
                _ => self.keys = Keys::Answer,
            },
            Keys::AnswerEscape => {}
        }
        false
    }

    fn plain(&mut self, byte: u8, after_return: bool) -> bool {
        match byte {
            b'\r' => {
                self.keys = Keys::Return;
                return true;
            }
            b'\n' => return !after_return,
            0x1b => self.keys = Keys::Escape,
            0x7f | 0x08 => {
                self.partial.clear();
                if self.text.pop().is_some() {
                    self.chars -= 1;
                }
            }
            // Ctrl-C, Ctrl-U, Ctrl-W: the whole line, the whole line, the last word.
            0x03 | 0x15 => self.forget(),
            0x17 => {
                let kept = self.text.trim_end().rfind(' ').map_or(0, |space| space + 1);
                self.text.truncate(kept);
                self.chars = self.text.chars().count();
            }
            0x00..=0x1f => self.is_inexact = true,
            _ => self.character(byte),
        }
        false
    }

    fn character(&mut self, byte: u8) {
        self.partial.push(byte);
        match std::str::from_utf8(&self.partial) {
            Ok(text) => {
                if self.chars < MAX_CHARS {
                    self.text.push_str(text);
                    self.chars += 1;
                } else {
                    self.is_inexact = true;
                }
                self.partial.clear();
            }
            Err(error) if error.error_len().is_some() => {
                self.partial.clear();
                self.is_inexact = true;
            }
            Err(_) => {}
        }
    }

    fn forget(&mut self) {
        self.text.clear();
        self.chars = 0;
        self.is_inexact = false;
        self.partial.clear();
        self.echo = Echo::default();
    }

    fn enter(&mut self, now_us: u64, lines: &mut Vec<Line>) {
        let text = self.text.trim().to_owned();
        let (is_exact, echo) = (!self.is_inexact, std::mem::take(&mut self.echo));
        self.forget();
        let is_shown = echo.follows(&text);
        let line = Line { text, is_exact, is_shown };
        if line.text.is_empty() {
            // What the shell's history or completion put there is not known; that something was run is.
            if !is_exact {
                lines.push(line);
            }
        } else if is_shown && self.waiting.is_empty() {
            lines.push(line);
        } else {
            let until_us = if is_shown { now_us } else { now_us.saturating_add(ECHO_WITHIN_US) };
            self.waiting.push_back(Waiting { line, until_us, echo: Echo::default() });
            if self.waiting.len() > MAX_WAITING {
                lines.extend(self.waiting.pop_front().map(|waiting| waiting.line));
            }
        }
    }
}

/// What was shown, without what only moves or colours it.
#[derive(Debug, Default)]
struct Echo {
    text: Vec<u8>,
    seen: usize,
    keys: Keys,
}

impl Echo {
    fn take(&mut self, bytes: &[u8]) {
        for &byte in bytes.iter().take(ECHO_BYTES - self.seen) {
            self.seen += 1;
            self.keys = match (self.keys, byte) {
                (Keys::Escape, b'[') => Keys::Control(0),
                (Keys::Escape, b']' | b'P' | b'_' | b'^' | b'X') => Keys::Answer,
                (Keys::Escape, _) => Keys::Ground,
                (Keys::Control(_), 0x40..=0x7e) => Keys::Ground,
                (Keys::Control(number), _) => Keys::Control(number),
                (Keys::Answer, 0x07) => Keys::Ground,
                (Keys::Answer, 0x1b) => Keys::AnswerEscape,
                (Keys::Answer, _) => Keys::Answer,
                (Keys::AnswerEscape, _) => Keys::Ground,
                (_, 0x1b) => Keys::Escape,
                (_, byte) => {
                    if byte > b' ' && byte != 0x7f {
                        self.text.push(byte);
                    }
                    Keys::Ground
                }
            };
        }
    }

    fn is_full(&self) -> bool {
        self.seen >= ECHO_BYTES
    }

    /// The line as a whole, as a terminal echoes what comes all at once.
    fn has(&self, line: &str) -> bool {
        let wanted = dense(line);
        !wanted.is_empty() && self.text.windows(wanted.len()).any(|window| window == wanted)
    }

    /// The line's characters in their order, as editors of lines echo them key by key and paint them again.
    fn follows(&self, line: &str) -> bool {
        let wanted = dense(line);
        let mut shown = self.text.iter();
        !wanted.is_empty() && wanted.iter().all(|byte| shown.any(|seen| seen == byte))
    }
}

fn dense(text: &str) -> Vec<u8> {
    text.bytes().filter(|byte| *byte > b' ' && *byte != 0x7f).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Types key by key, each echoed.
    fn echoed(keys: &str) -> Vec<Line> {
        let mut lines = Lines::default();
        let mut entered = Vec::new();
        for key in keys.chars() {
            let bytes = key.to_string();
            entered.extend(lines.typed(0, bytes.as_bytes()));
            entered.extend(lines.shown(bytes.as_bytes()));
        }
        entered.extend(lines.settle(u64::MAX));
        entered
    }

    fn line(text: &str, is_exact: bool, is_shown: bool) -> Line {
        Line { text: text.to_owned(), is_exact, is_shown }
    }

    #[test]
    fn a_line_is_what_was_typed_and_corrected() {
        for (keys, expected) in [
            ("ls -l\r", "ls -l"),
            ("lss\x7f -l\r\n", "ls -l"),
            ("rm -rf /\x15ls\r", "ls"),
            ("rm -rf /\x03ls\r", "ls"),
            ("systemctl restart nginx\x17\x17stop nginx\r", "systemctl stop nginx"),
            ("echo grüße\r", "echo grüße"),
            ("\x1b[200~uptime\x1b[201~\r", "uptime"),
            ("up\x1b[I\x1b[12;40Rtime\x1b]11;rgb:00/00/00\x1b\\\r", "uptime"),
        ] {
            assert_eq!(echoed(keys), [line(expected, true, true)], "{keys:?}");
        }
        assert_eq!(echoed("\r\r\n\n  \r"), []);
        assert_eq!(echoed("a\rb\n").len(), 2);
    }

    #[test]
    fn a_line_that_the_shell_helped_with_says_so() {
        for (keys, expected) in
            [("\x1b[A\r", ""), ("ls /et\t\r", "ls /et"), ("a\x1bOD\x1bb\r", "a"), ("\x12ls\r", "ls")]
        {
            let lines = echoed(keys);
            assert_eq!(
                (lines.len(), lines[0].text.as_str(), lines[0].is_exact),
                (1, expected, false),
                "{keys:?}"
            );
        }
    }

    #[test]
    fn what_is_not_echoed_counts_as_not_shown() {
        let mut lines = Lines::default();
        // As a password is typed: key by key, with nothing shown before Enter, and then anything but it.
        for key in "correct horse".bytes() {
            assert_eq!(lines.typed(0, &[key]), []);
        }
        assert_eq!(lines.typed(5, b"\r"), []);
        assert_eq!(lines.shown(b"\r\nWelcome\r\n$ "), []);
        assert_eq!(lines.settle(5), []);
        assert_eq!(lines.settle(ECHO_WITHIN_US + 5), [line("correct horse", true, false)]);
        // With stars in its place.
        for key in "battery".bytes() {
            lines.typed(0, &[key]);
            lines.shown(b"*");
        }
        lines.typed(0, b"\r");
        assert_eq!(lines.settle(u64::MAX), [line("battery", true, false)]);
    }

    #[test]
    fn what_comes_all_at_once_is_shown_when_its_echo_follows() {
        let mut lines = Lines::default();
        assert_eq!(lines.typed(0, b"echo one\recho two\r"), []);
        assert_eq!(lines.shown(b"\x1b[1mecho"), []);
        assert_eq!(lines.shown(b"\x1b[0m one\r\none\r\n$ ech"), [line("echo one", true, true)]);
        assert_eq!(lines.shown(b"o two\r\n"), [line("echo two", true, true)]);
        assert_eq!(lines.settle(u64::MAX), []);
    }

    #[test]
    fn it_holds_no_more_than_it_may() {
        let mut lines = Lines::default();
        lines.typed(0, &[b'x'; 3 * MAX_CHARS]);
        lines.shown(&[b'x'; 3 * ECHO_BYTES]);
        assert_eq!((lines.text.len(), lines.echo.text.len()), (MAX_CHARS, ECHO_BYTES));
        assert!(!lines.typed(0, b"\r")[0].is_exact);
        let all = lines.typed(0, &b"y\r".repeat(3 * MAX_WAITING));
        assert_eq!((all.len(), lines.waiting.len()), (2 * MAX_WAITING, MAX_WAITING));
    }

    proptest! {
        #[test]
        fn no_keys_make_it_fail(pieces in proptest::collection::vec(
            (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..40,
        )) {
            let mut lines = Lines::default();
            for (typed, bytes) in pieces {
                let entered = if typed { lines.typed(0, &bytes) } else { lines.shown(&bytes) };
                prop_assert!(entered.iter().all(|line| line.text.chars().count() <= MAX_CHARS));
            }
        }
    }
}
