//! E-mail addresses as names of accounts.

use crate::error::Error;

/// An address as it is kept: trimmed, 3 to 254 characters, something on both sides of one `@`, nothing invisible.
/// Whether it exists only a letter could tell.
///
/// # Errors
/// A field error for `field`.
pub fn checked_email<'e>(field: &'static str, email: &'e str) -> Result<&'e str, Error> {
    let email = email.trim();
    let is_long = email.chars().count() > 254;
    let has_shape = email
        .split_once('@')
        .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'));
    let has_odd_characters = email.chars().any(|c| c.is_whitespace() || c.is_control());
    match has_shape && !has_odd_characters && !is_long {
        true => Ok(email),
        false => Err(Error::field(field, "INVALID", "must be an e-mail address of at most 254 characters")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_two_sides_and_nothing_invisible() {
        for taken in ["ada@example.com", " ada@example.com ", "a+b@x", "\u{f6}@example.com"] {
            assert!(checked_email("email", taken).is_ok(), "{taken}");
        }
        let too_long = format!("{}@example.com", "a".repeat(250));
        for refused in
            ["", "ada", "@example.com", "ada@", "a@b@c", "a b@example.com", "a\u{0}@example.com", &too_long]
        {
            assert!(checked_email("email", refused).is_err(), "{refused}");
        }
    }
}
