//! Which addresses are the dashboard's. They are compared as they came, byte by byte: what would have to be decoded,
//! tidied up or guessed at first is no address of ours.

/// Longest address of a page, in segments.
const MAX_SEGMENTS: usize = 8;

/// First segments of the dashboard's pages; what follows them is the dashboard's business.
const PAGES: &[&str] = &[
    "agents",
    "alerts",
    "approvals",
    "audit",
    "clients",
    "commands",
    "enrollment",
    "fleet",
    "profile",
    "sessions",
    "settings",
    "sites",
    "system",
    "users",
];
/// Pages with nothing below them.
const SINGLE_PAGES: &[&str] = &["sign-in", "invite"];
const SETUP_PAGE: &str = "setup";

/// What kind of page an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// There while setup is open.
    Setup,
    Other,
}

/// The page of an address, if it is one.
pub fn page(path: &str) -> Option<Page> {
    let rest = path.strip_prefix('/')?;
    if rest.is_empty() {
        return Some(Page::Other);
    }
    let segments: Vec<&str> = rest.split('/').take(MAX_SEGMENTS + 1).collect();
    if segments.len() > MAX_SEGMENTS || !segments.iter().all(|segment| is_plain(segment)) {
        return None;
    }
    match segments.as_slice() {
        [only] if *only == SETUP_PAGE => Some(Page::Setup),
        [only] if SINGLE_PAGES.contains(only) => Some(Page::Other),
        [first, ..] if PAGES.contains(first) => Some(Page::Other),
        _ => None,
    }
}

/// The name of the file an address could be. The page itself has no name: it is what pages are made of. Nor have
/// compressed forms: they are sent as what they are forms of.
pub fn file_name(path: &str) -> Option<&str> {
    let name = path.strip_prefix('/')?;
    let is_form = [".br", ".gz"].iter().any(|form| name.ends_with(form));
    let is_file = name.contains('.') && name != super::PAGE && !is_form;
    (is_file && name.split('/').all(is_file_segment)).then_some(name)
}

fn is_plain(segment: &str) -> bool {
    !segment.is_empty()
        && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn is_file_segment(segment: &str) -> bool {
    !segment.starts_with('.') && is_plain(&segment.replace('.', "-")) && !segment.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_known_by_their_first_segment_exactly() {
        for known in ["/", "/sign-in", "/invite", "/agents", "/agents/0190-ab/commands", "/settings/policy"] {
            assert_eq!(page(known), Some(Page::Other), "{known}");
        }
        assert_eq!(page("/setup"), Some(Page::Setup));
        for unknown in [
            "",
            "agents",
            "//",
            "/agents/",
            "//agents",
            "/Agents",
            "/agents.html",
            "/agents/../setup",
            "/agents/%2e%2e",
            "/agents;x",
            "/sign-in/x",
            "/nowhere",
            "/api/v1/nowhere",
            "/agents/a/b/c/d/e/f/g/h",
        ] {
            assert_eq!(page(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn no_spelling_but_one_is_the_setup_page() {
        for alias in [
            "/setup/",
            "/setup.json",
            "/SETUP",
            "//setup",
            "/setup/x",
            "/./setup",
            "/%73etup",
            "/setup%20",
            "/setup;",
        ] {
            assert_eq!(page(alias), None, "{alias}");
        }
    }

    #[test]
    fn files_have_a_dot_and_no_way_up() {
        for name in ["assets/index-1a2b.js", "favicon.svg", "assets/plex.latin-400.woff2"] {
            assert_eq!(file_name(&format!("/{name}")), Some(name));
        }
        for not_one in [
            "/index.html",
            "/index.html.br",
            "/assets/index-1a2b.js.gz",
            "/../x.js",
            "/assets/..",
            "/.env",
            "/assets/.x",
            "/a%2eb",
            "/a//b.js",
            "/x",
            "/a\\b.js",
        ] {
            assert_eq!(file_name(not_one), None, "{not_one}");
        }
    }
}
