//! Cursor paging of the dashboard's lists.

use crate::error::{Code, Error};
use base64::Engine as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Largest page.
pub const MAX_LIMIT: u32 = 200;
const DEFAULT_LIMIT: u32 = 50;

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// To be sent as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
    /// How many match in all.
    pub total: i64,
}

/// `cursor` and `limit` of a list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// `next_cursor` of the page before.
    #[param(max_length = 1000)]
    pub cursor: Option<String>,
    /// Items per page, 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<u32>,
}

impl PageQuery {
    /// Items wanted, checked.
    pub fn limit(&self) -> Result<i64, Error> {
        match self.limit.unwrap_or(DEFAULT_LIMIT) {
            limit @ 1..=MAX_LIMIT => Ok(i64::from(limit)),
            _ => Err(Error::with_detail(Code::InvalidQuery, "limit must be 1 to 200")),
        }
    }

    /// Where to go on, if not at the start.
    pub fn after<K: DeserializeOwned>(&self) -> Result<Option<K>, Error> {
        self.cursor.as_deref().filter(|text| !text.is_empty()).map(Cursor::decode).transpose()
    }
}

/// Opaque place in a list: the sort key of the last item, as base64 of JSON.
pub struct Cursor;

impl Cursor {
    /// The text of a sort key.
    pub fn encode<K: Serialize>(key: &K) -> Result<String, Error> {
        let json = serde_json::to_vec(key).map_err(Error::internal)?;
        Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json))
    }

    fn decode<K: DeserializeOwned>(text: &str) -> Result<K, Error> {
        let invalid = || Error::with_detail(Code::InvalidQuery, "cursor is not one this server gave");
        let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid())?;
        serde_json::from_slice(&json).map_err(|_| invalid())
    }
}

impl<T> Page<T> {
    /// Makes a page of `limit + 1` fetched rows: the extra one only tells that there are more.
    pub fn of<K: Serialize>(
        mut items: Vec<T>,
        limit: i64,
        total: i64,
        key: impl Fn(&T) -> K,
    ) -> Result<Self, Error> {
        let limit = usize::try_from(limit).map_err(Error::internal)?;
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = match items.last() {
            Some(last) if more => Some(Cursor::encode(&key(last))?),
            _ => None,
        };
        Ok(Self { items, next_cursor, total })
    }
}

/// Imported wherever an operation answers a [`Page`]: the API's macros call `name().as_ref()` on the page's items, which
/// is open between `str` and the path types of a library below `tough` unless a method by value comes before them.
pub trait SchemaName {
    /// The name itself.
    #[expect(clippy::wrong_self_convention, reason = "by value, so that it is found first")]
    fn as_ref(self) -> String;
}

impl SchemaName for std::borrow::Cow<'static, str> {
    fn as_ref(self) -> String {
        self.into_owned()
    }
}
