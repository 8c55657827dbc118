//! What macOS' registry of devices says, as its own program prints it.

/// Where that program stands, whatever the search path says.
pub const PROGRAM: &str = "/usr/sbin/ioreg";

/// The text of the first property of that name: `"name" = "text"`, or `"name" = <"text">`.
pub fn text(printed: &str, name: &str) -> Option<String> {
    let value = property(printed, name)?;
    let value = value.strip_prefix('<').unwrap_or(value).strip_prefix('"')?;
    let (text, _) = value.split_once('"')?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// The number of the first property of that name: `"name" = 42`.
pub fn number(printed: &str, name: &str) -> Option<u64> {
    let value = property(printed, name)?;
    let end = value.find(|character: char| !character.is_ascii_digit()).unwrap_or(value.len());
    value.get(..end)?.parse().ok()
}

fn property<'a>(printed: &'a str, name: &str) -> Option<&'a str> {
    let start = format!("\"{name}\" = ");
    printed.lines().find_map(|line| line.split_once(&start)).map(|(_, value)| value)
}

/// Asks for the properties of devices of a class; `None` when the program is missing or says nothing.
#[cfg(target_os = "macos")]
pub fn class(class: &str) -> Option<String> {
    let output = std::process::Command::new(PROGRAM).args(["-r", "-d", "1", "-c", class]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "+-o J314sAP  <class IOPlatformExpertDevice, id 0x100000227>\n    {\n      \
        \"manufacturer\" = <\"Apple Inc.\">\n      \"IOPlatformUUID\" = \"4C4C4544-0042-3510-8052-B4C04F313233\"\n      \
        \"HIDIdleTime\" = 1234567890\n      \"empty\" = \"\"\n    }\n";

    #[test]
    fn properties_are_found_whatever_their_kind() {
        assert_eq!(text(PRINTED, "IOPlatformUUID").as_deref(), Some("4C4C4544-0042-3510-8052-B4C04F313233"));
        assert_eq!(text(PRINTED, "manufacturer").as_deref(), Some("Apple Inc."));
        assert_eq!(number(PRINTED, "HIDIdleTime"), Some(1_234_567_890));
        assert_eq!(
            (text(PRINTED, "empty"), text(PRINTED, "absent"), number(PRINTED, "empty")),
            (None, None, None)
        );
    }
}
