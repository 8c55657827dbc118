//! What a terminal does for a shell that has none but pipes: what is typed is shown, can be taken back up to the end of its
//! line, and is handed on line by line. Where the shell repeats its input, as Windows' own does, it shows twice.

/// Bytes of one line at most, as Windows' own shell takes them.
const MAX_LINE_BYTES: usize = 8_191;

const BACKSPACE: u8 = 0x08;
const DELETE: u8 = 0x7f;
const ESCAPE: u8 = 0x1b;
const INTERRUPT: u8 = 0x03;
const KILL: u8 = 0x15;
const BELL: u8 = 0x07;
/// What takes a character from the screen.
const ERASE: &[u8] = b"\x08 \x08";

/// The line that is typed.
#[derive(Debug, Default)]
pub(super) struct Lines {
    line: Vec<u8>,
    keys: Keys,
}

/// Where in the bytes of a key it is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Keys {
    #[default]
    Plain,
    /// A line has just ended: a line feed belongs to it.
    Ended,
    Escape,
    /// Behind `ESC [`, up to a letter.
    Sequence,
}

/// What comes of keys.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Typed {
    pub to_shell: Vec<u8>,
    pub to_screen: Vec<u8>,
}

impl Lines {
    /// Keys, as a terminal sends them. Arrows and the like do nothing.
    pub(super) fn type_in(&mut self, bytes: &[u8]) -> Typed {
        let mut typed = Typed::default();
        for byte in bytes {
            self.key(*byte, &mut typed);
        }
        typed
    }

    fn key(&mut self, byte: u8, typed: &mut Typed) {
        let before = std::mem::take(&mut self.keys);
        match (before, byte) {
            (Keys::Escape, b'[' | b'O') => self.keys = Keys::Sequence,
            (Keys::Escape, _) | (Keys::Sequence, b'@'..=b'~') | (Keys::Ended, b'\n') => {}
            (Keys::Sequence, _) => self.keys = Keys::Sequence,
            (_, b'\r' | b'\n') => {
                self.keys = if byte == b'\r' { Keys::Ended } else { Keys::Plain };
                typed.to_shell.append(&mut self.line);
                typed.to_shell.extend_from_slice(b"\r\n");
                typed.to_screen.extend_from_slice(b"\r\n");
            }
            (_, ESCAPE) => self.keys = Keys::Escape,
            (_, BACKSPACE | DELETE) => self.erase(typed),
            (_, KILL) => {
                while !self.line.is_empty() {
                    self.erase(typed);
                }
            }
            (_, INTERRUPT) => {
                self.line.clear();
                typed.to_screen.extend_from_slice(b"^C\r\n");
            }
            (_, b'\t' | b' '..) if self.line.len() < MAX_LINE_BYTES => {
                self.line.push(byte);
                typed.to_screen.push(byte);
            }
            (_, b'\t' | b' '..) => typed.to_screen.push(BELL),
            _ => {}
        }
    }

    /// The last character, of however many bytes.
    fn erase(&mut self, typed: &mut Typed) {
        while let Some(byte) = self.line.pop() {
            if byte & 0xc0 != 0x80 {
                typed.to_screen.extend_from_slice(ERASE);
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(pieces: &[&str]) -> (String, String) {
        let (mut lines, mut all) = (Lines::default(), Typed::default());
        for piece in pieces {
            let Typed { to_shell, to_screen } = lines.type_in(piece.as_bytes());
            all.to_shell.extend(to_shell);
            all.to_screen.extend(to_screen);
        }
        (String::from_utf8(all.to_shell).unwrap(), String::from_utf8(all.to_screen).unwrap())
    }

    #[test]
    fn a_line_is_shown_as_it_is_typed_and_handed_on_whole() {
        assert_eq!(typed(&["di", "r"]), (String::new(), "dir".into()));
        assert_eq!(typed(&["dir\r"]), ("dir\r\n".into(), "dir\r\n".into()));
        // A paste has line feeds, or both; and a line's end may come in two parts.
        assert_eq!(typed(&["a\nb\r", "\nc\r\r"]).0, "a\r\nb\r\nc\r\n\r\n");
    }

    #[test]
    fn what_is_taken_back_is_not_handed_on() {
        assert_eq!(typed(&["a\u{fc}\u{7f}\u{8}\u{8}b\r"]).0, "b\r\n");
        assert_eq!(typed(&["\u{fc}\u{7f}"]).1, "\u{fc}\u{8} \u{8}", "one character of two bytes");
        assert_eq!(typed(&["rm -r\u{15}ls\r"]).0, "ls\r\n");
        let (shell, screen) = typed(&["rm -r\u{3}ls\r"]);
        assert_eq!((shell.as_str(), screen.as_str()), ("ls\r\n", "rm -r^C\r\nls\r\n"));
    }

    #[test]
    fn keys_that_are_no_text_do_nothing() {
        assert_eq!(typed(&["a\u{1b}[A\u{1b}OP\u{1b}", "[1;5", "Db\u{1b}xc\u{1}\r"]).0, "abc\r\n");
        // A bracketed paste is what is between the brackets.
        assert_eq!(typed(&["\u{1b}[200~dir\u{1b}[201~\r"]).0, "dir\r\n");
    }

    #[test]
    fn a_line_has_an_end() {
        let (shell, screen) = typed(&[&"x".repeat(10_000), "\r"]);
        assert_eq!((shell.len(), screen.len()), (MAX_LINE_BYTES + 2, 10_002));
        assert!(screen.contains('\u{7}'));
    }
}
