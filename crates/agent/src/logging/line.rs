//! One event, one line: without secrets, without what could forge another line, and of bounded length.

use std::borrow::Cow;

/// Longest line, with its end.
pub(super) const MAX_LINE_BYTES: usize = 4 * 1024;
/// Stands where a longer line was cut.
const CUT: &str = " [cut]";
const REDACTED: &str = "[redacted]";

/// What secrets begin with, and what they are made of beside letters and digits: keys of agents and of enrollments in
/// URL-safe base64, and what may follow `Bearer` (RFC 6750).
const SECRETS: [(&str, &str); 3] = [("cak_", "-_"), ("gek_", "-_"), ("bearer ", "-._~+/=")];

/// An event as its line in the file.
pub(super) fn of(event: &str) -> String {
    let mut line = one_line(event.strip_suffix('\n').unwrap_or(event));
    line.push('\n');
    line
}

/// `text` as part of one line. Never panics: the panic hook needs it.
pub fn one_line(text: &str) -> String {
    let room = MAX_LINE_BYTES - CUT.len() - 1;
    let mut line = String::with_capacity(text.len().min(room));
    for character in redact(text).chars() {
        let before = line.len();
        if may_forge(character) {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
        if line.len() > room {
            line.truncate(before);
            line.push_str(CUT);
            break;
        }
    }
    line
}

/// Ends a line, moves the cursor, or turns the direction of writing.
fn may_forge(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Nothing of the agent's logs a secret; should a line do it one day, the log that leaves the machine does not.
fn redact(text: &str) -> Cow<'_, str> {
    let mut redacted = String::new();
    // Up to where `text` is taken over, and from where the next secret is looked for.
    let (mut taken, mut at) = (0, 0);
    while at < text.len() {
        match secret_at(text.as_bytes(), at) {
            Some((from, to)) => {
                redacted.push_str(text.get(taken..from).unwrap_or_default());
                redacted.push_str(REDACTED);
                (taken, at) = (to, to);
            }
            None => at += 1,
        }
    }
    if taken == 0 {
        return Cow::Borrowed(text);
    }
    redacted.push_str(text.get(taken..).unwrap_or_default());
    Cow::Owned(redacted)
}

/// Where the secret is whose prefix begins at `at`; its bytes are ASCII.
fn secret_at(text: &[u8], at: usize) -> Option<(usize, usize)> {
    if !matches!(text.get(at)?, b'c' | b'C' | b'g' | b'G' | b'b' | b'B') {
        return None;
    }
    let (prefix, others) = SECRETS.iter().find(|(prefix, _)| {
        text.get(at..at + prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    })?;
    let run = |from: usize, is_part: &dyn Fn(u8) -> bool| {
        from + text.iter().skip(from).take_while(|byte| is_part(**byte)).count()
    };
    let from = run(at + prefix.len(), &|byte| byte == b' ');
    // Only `Bearer` may stand apart from what belongs to it.
    if from > at + prefix.len() && !prefix.ends_with(' ') {
        return None;
    }
    let to = run(from, &|byte| byte.is_ascii_alphanumeric() || others.as_bytes().contains(&byte));
    (to > from).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn secrets_do_not_reach_the_file() {
        for (line, expected) in [
            ("key=cak_AbC-_9 next", "key=cak_[redacted] next"),
            ("\"cak_a\",\"gek_3_b-c_d\"", "\"cak_[redacted]\",\"gek_[redacted]\""),
            ("authorization: Bearer abc.def~+/==", "authorization: Bearer [redacted]"),
            ("AUTHORIZATION: BEARER  abc)", "AUTHORIZATION: BEARER  [redacted])"),
            ("Bearer cak_abc", "Bearer [redacted]"),
            ("cacak_a", "cacak_[redacted]"),
            ("\u{e4}cak_\u{e4}", "\u{e4}cak_\u{e4}"),
            ("a cak_ and a gek_, a bearer", "a cak_ and a gek_, a bearer"),
            ("cak_", "cak_"),
        ] {
            assert_eq!(one_line(line), expected);
        }
    }

    #[test]
    fn an_event_cannot_forge_a_line() {
        let forged = "reason=x\n2031-01-01T00:00:00Z ERROR forged\r\x1b[2K\0\u{85}\u{2028}\u{202e}\tend\n";
        assert_eq!(
            of(forged),
            "reason=x\\n2031-01-01T00:00:00Z ERROR forged\\r\\u{1b}[2K\\u{0}\\u{85}\\u{2028}\\u{202e}\\tend\n"
        );
    }

    #[test]
    fn a_long_line_is_cut_at_a_character() {
        let line = of(&"\u{e4}".repeat(MAX_LINE_BYTES));
        assert!(line.len() <= MAX_LINE_BYTES && line.len() > MAX_LINE_BYTES - 10, "{}", line.len());
        assert!(line.ends_with("\u{e4} [cut]\n"));
        // A secret at the cut is no exception.
        let line = of(&format!("{}cak_{}", "x".repeat(MAX_LINE_BYTES - 20), "s".repeat(100)));
        assert!(!line.contains('s'), "{line}");
    }

    proptest! {
        #[test]
        fn any_event_becomes_one_bounded_line_without_keys(
            before in any::<String>(), key in "(cak|gek_[1-9])_[A-Za-z0-9_-]{8,50}", after in any::<String>()
        ) {
            let line = of(&format!("{before}{key}{after}\n"));
            prop_assert!(line.len() <= MAX_LINE_BYTES && line.ends_with('\n'));
            prop_assert_eq!(line.chars().filter(|c| c.is_control()).count(), 1);
            prop_assert!(!line.contains(&key));
        }
    }
}
