//! The compressed forms that the dashboard's build leaves beside its files, and which of them a client takes.

use axum::http::{HeaderMap, header};

/// A compressed form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Brotli,
    Gzip,
}

/// Smallest first.
const ALL: [Encoding; 2] = [Encoding::Brotli, Encoding::Gzip];

impl Encoding {
    /// Its name in HTTP.
    pub fn token(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// What the build calls this form of a file.
    pub fn name_of(self, name: &str) -> String {
        let extension = match self {
            Self::Brotli => "br",
            Self::Gzip => "gz",
        };
        format!("{name}.{extension}")
    }
}

/// The forms a client takes, best first (RFC 9110, 12.5.3). One that is not named is not taken: a client that sends
/// only `*` gets the file as it is.
pub fn accepted(headers: &HeaderMap) -> impl Iterator<Item = Encoding> {
    let is_accepted = |encoding: &Encoding| {
        let values = headers.get_all(header::ACCEPT_ENCODING).iter();
        let mut codings = values.filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(','));
        codings.any(|coding| {
            let (token, parameters) = coding.split_once(';').unwrap_or((coding, ""));
            token.trim().eq_ignore_ascii_case(encoding.token()) && !is_refused(parameters)
        })
    };
    ALL.into_iter().filter(is_accepted)
}

/// `q=0`, in any of its spellings.
fn is_refused(parameters: &str) -> bool {
    let weight = parameters.trim().strip_prefix("q=").or_else(|| parameters.trim().strip_prefix("Q="));
    weight.is_some_and(|weight| weight.trim().parse::<f32>().is_ok_and(|weight| weight <= 0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn of(value: &'static str) -> Vec<Encoding> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
        accepted(&headers).collect()
    }

    #[test]
    fn what_a_client_names_and_does_not_refuse_is_taken() {
        assert_eq!(of("gzip, deflate, br, zstd"), [Encoding::Brotli, Encoding::Gzip]);
        assert_eq!(of("GZIP;q=0.5"), [Encoding::Gzip]);
        assert_eq!(of("br;q=0, gzip; q=0.000"), []);
        assert_eq!(of("*"), []);
        assert_eq!(of("identity"), []);
        assert_eq!(of("brotli, xgzip"), []);
        assert_eq!(accepted(&HeaderMap::new()).count(), 0);
    }
}
