//! Whether a page may open a WebSocket here. Browsers send cookies along with an upgrade from any page, and only the
//! `Origin` header tells them apart.

use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};
use url::Url;

use super::Scheme;

/// Whether `origin` is this server's own: that of `public_url`, or that of the address the request itself came to.
///
/// `origin` must be byte for byte what a browser sends for it (lower case, no default port, no path). No header is
/// not allowed either: every browser sends one. Agents are not browsers, and their route does not ask this.
pub fn origin_allowed(origin: Option<&str>, host: &str, scheme: Scheme, public_url: &Url) -> bool {
    let Some(origin) = origin.filter(|origin| is_serialised_origin(origin)) else { return false };
    origin == public_url.origin().ascii_serialization()
        || own_origin(host, scheme).is_some_and(|own| origin == own)
}

/// As [`origin_allowed`], from a request's headers; a header that is there twice or is not text is not allowed.
pub fn upgrade_origin_allowed(headers: &HeaderMap, scheme: Scheme, public_url: &Url) -> bool {
    let single = |name| {
        let mut values = headers.get_all(name).iter();
        let value = values.next().and_then(|value| value.to_str().ok());
        value.filter(|_| values.next().is_none())
    };
    single(HOST).is_some_and(|host| origin_allowed(single(ORIGIN), host, scheme, public_url))
}

fn is_serialised_origin(origin: &str) -> bool {
    Url::parse(origin).is_ok_and(|parsed| {
        matches!(parsed.scheme(), "http" | "https") && parsed.origin().ascii_serialization() == origin
    })
}

fn own_origin(host: &str, scheme: Scheme) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    if host.is_empty() || !host.chars().all(is_plain) {
        return None;
    }
    Some(Url::parse(&format!("{scheme}://{host}")).ok()?.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    const HOST_HEADER: &str = "10.1.2.3:8443";

    fn allowed(origin: Option<&str>) -> bool {
        let public_url = Url::parse("https://rmm.example.com/").unwrap();
        origin_allowed(origin, HOST_HEADER, Scheme::Https, &public_url)
    }

    #[test]
    fn the_servers_own_origins_are_allowed() {
        assert!(allowed(Some("https://rmm.example.com")));
        assert!(allowed(Some("https://10.1.2.3:8443")));
    }

    #[test]
    fn every_other_origin_is_refused() {
        let refused = [
            "",
            "null",
            "https://evil.example.org",
            "http://rmm.example.com",
            "http://10.1.2.3:8443",
            "wss://rmm.example.com",
            "https://rmm.example.com:8443",
            "https://rmm.example.com:443",
            "https://10.1.2.3",
            "https://10.1.2.3:84430",
            "https://rmm.example.com.evil.example.org",
            "https://evil-rmm.example.com",
            "https://evilrmm.example.com",
            "https://sub.rmm.example.com",
            "https://example.com",
            "https://rmm.example.com.",
            "https://rmm.example.com/",
            "https://rmm.example.com/x",
            "https://rmm.example.com?x",
            "https://rmm.example.com#x",
            "https://rmm.example.com@evil.example.org",
            "https://evil.example.org@rmm.example.com",
            "https://@rmm.example.com",
            "HTTPS://rmm.example.com",
            "https://RMM.example.com",
            "https:rmm.example.com",
            "https:/rmm.example.com",
            "https://rmm%2eexample.com",
            "https://rmm。example.com",
            "https://rmm.еxample.com",
            "https://xn--rmm-.example.com",
            "https://rmm.example.com https://evil.example.org",
            "https://rmm.example.com, https://evil.example.org",
            " https://rmm.example.com",
            "https://rmm.example.com\t",
            "https://0x0a.1.2.3:8443",
            "file://",
            "chrome-extension://rmm.example.com",
            "javascript:alert(1)",
            "*",
        ];
        for origin in refused {
            assert!(!allowed(Some(origin)), "{origin:?}");
        }
        assert!(!allowed(None));
    }

    #[test]
    fn an_odd_host_header_opens_nothing() {
        let public_url = Url::parse("https://rmm.example.com").unwrap();
        for (host, origin) in [
            ("x@evil.example.org", "https://evil.example.org"),
            ("evil.example.org/", "https://evil.example.org"),
            ("evil.example.org#", "https://evil.example.org"),
            ("", "https://"),
            ("evil.example.org\\", "https://evil.example.org"),
        ] {
            assert!(!origin_allowed(Some(origin), host, Scheme::Https, &public_url), "{host:?}");
        }
    }

    #[test]
    fn the_transport_counts_on_plain_http_too() {
        let public_url = Url::parse("http://127.0.0.1:3001").unwrap();
        let check = |origin| origin_allowed(Some(origin), "localhost:3001", Scheme::Http, &public_url);
        assert!(check("http://127.0.0.1:3001") && check("http://localhost:3001"));
        assert!(!check("https://localhost:3001") && !check("http://localhost:3002"));
    }

    #[test]
    fn doubled_and_unreadable_headers_are_refused() {
        let public_url = Url::parse("https://rmm.example.com").unwrap();
        let good = HeaderValue::from_static("https://rmm.example.com");
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("rmm.example.com"));
        let check = |headers: &HeaderMap| upgrade_origin_allowed(headers, Scheme::Https, &public_url);
        assert!(!check(&headers));
        headers.insert(ORIGIN, good.clone());
        assert!(check(&headers));
        headers.append(ORIGIN, good);
        assert!(!check(&headers), "twice the right one");
        headers.insert(ORIGIN, HeaderValue::from_bytes(b"https://rmm.example.com\xff").unwrap());
        assert!(!check(&headers));
        headers.insert(ORIGIN, HeaderValue::from_static("https://rmm.example.com"));
        headers.append(HOST, HeaderValue::from_static("evil.example.org"));
        assert!(!check(&headers), "two hosts");
    }
}
