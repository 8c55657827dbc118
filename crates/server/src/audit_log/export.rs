//! The log as a file. It holds what machines and strangers call themselves, so no cell may become a formula in
//! whatever opens it.

use super::{AuditEntry, AuditFilter, store};
use crate::app::AppState;
use crate::audit::Entry;
use crate::auth::Scope;
use crate::auth::permission::ReadAudit;
use crate::error::Error;
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

/// Entries read at a time: what one download holds in memory.
const BATCH: i64 = 500;

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// RFC 4180, every cell quoted, with a header line.
    Csv,
    /// One JSON object a line.
    Jsonl,
}

impl Format {
    /// The word for it, which is also the file's extension.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }
}

/// The matching entries, newest first, a piece at a time. That someone took them is an entry of its own.
pub async fn export(
    app: AppState,
    scope: Scope<ReadAudit>,
    filter: AuditFilter,
    format: Format,
) -> Result<impl Stream<Item = Result<Bytes, Error>>, Error> {
    let mut tx = app.db.begin(&scope).await?;
    let tenant = tx.tenant()?;
    tx.audit(Entry::new("audit.export", "partner", tenant).with(json!({ "format": format.as_str() })))
        .await?;
    tx.commit().await?;
    let start = Place { app, scope, filter, format, before: None, is_first: true };
    // What is wrong with the question shows before the answer begins.
    let (first, rest) = start.next().await?.unwrap_or_default();
    // Every piece has a transaction of its own: a slow download holds no connection.
    let rest = stream::try_unfold(rest, |place| async {
        match place {
            Some(place) => place.next().await,
            None => Ok(None),
        }
    });
    Ok(stream::once(async { Ok(first) }).chain(rest))
}

/// How far an export has come.
struct Place {
    app: AppState,
    scope: Scope<ReadAudit>,
    filter: AuditFilter,
    format: Format,
    before: Option<i64>,
    is_first: bool,
}

impl Place {
    async fn next(mut self) -> Result<Option<(Bytes, Option<Self>)>, Error> {
        let mut tx = self.app.db.begin(&self.scope).await?;
        let entries = store::list(&mut tx, &self.filter, self.before, BATCH).await?;
        let mut text = String::new();
        if self.is_first && self.format == Format::Csv {
            text.push_str(&csv_line(COLUMNS.map(str::to_owned)));
        }
        for entry in &entries {
            match self.format {
                Format::Csv => text.push_str(&csv_line(cells(entry))),
                Format::Jsonl => {
                    text.push_str(&serde_json::to_string(entry).map_err(Error::internal)?);
                    text.push('\n');
                }
            }
        }
        let Some(last) = entries.last() else {
            return Ok(self.is_first.then(|| (Bytes::from(text), None)));
        };
        (self.before, self.is_first) = (Some(last.seq), false);
        Ok(Some((Bytes::from(text), Some(self))))
    }
}

const COLUMNS: [&str; 13] = [
    "seq",
    "at",
    "actor_kind",
    "actor_id",
    "actor_name",
    "action",
    "target_kind",
    "target_id",
    "target_name",
    "detail",
    "ip",
    "request_id",
    "id",
];

fn cells(entry: &AuditEntry) -> [String; 13] {
    let id = |id: Option<Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    [
        entry.seq.to_string(),
        entry.at.to_rfc3339(),
        entry.actor_kind.clone(),
        id(entry.actor_id),
        text(&entry.actor_name),
        entry.action.clone(),
        text(&entry.target_kind),
        id(entry.target_id),
        text(&entry.target_name),
        entry.detail.to_string(),
        text(&entry.ip),
        text(&entry.request_id),
        entry.id.to_string(),
    ]
}

fn csv_line(cells: [String; 13]) -> String {
    cells.map(|cell| format!("\"{}\"", neutralised(&cell).replace('"', "\"\""))).join(",") + "\r\n"
}

/// Spreadsheets take a cell for a formula by its first visible character; an apostrophe makes it text.
fn neutralised(cell: &str) -> String {
    let first = cell.chars().find(|character| !character.is_whitespace() && !character.is_control());
    let starts_formula = matches!(
        first,
        Some('=' | '+' | '-' | '@' | '|' | '%' | '\u{ff1d}' | '\u{ff0b}' | '\u{ff0d}' | '\u{ff20}')
    );
    let starts_with_control = cell.starts_with(char::is_control);
    if starts_formula || starts_with_control { format!("'{cell}") } else { cell.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cell_that_would_be_a_formula_becomes_text() {
        for formula in [
            "=1+1",
            "+1",
            "-1",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "\n=1",
            "  =1",
            "=cmd|' /C calc'!A0",
            "|x",
            "%x",
            "\u{ff1d}1",
        ] {
            assert!(neutralised(formula).starts_with('\''), "{formula:?}");
        }
        for harmless in ["", "web-01", "a=b", "{\"name\":1}", "2026-01-01T00:00:00Z"] {
            assert_eq!(neutralised(harmless), harmless);
        }
    }

    proptest! {
        #[test]
        fn a_line_is_thirteen_quoted_cells_whatever_they_hold(cells in proptest::array::uniform13(".*")) {
            let line = csv_line(cells.clone());
            let body = line.strip_suffix("\r\n").and_then(|line| line.strip_prefix('"')).and_then(|line| line.strip_suffix('"'));
            let Some(body) = body else { return Err(TestCaseError::fail("not quoted")) };
            // Taken apart as RFC 4180 says, it gives the cells again.
            let (mut read, mut cell, mut rest) = (Vec::new(), String::new(), body.chars().peekable());
            while let Some(character) = rest.next() {
                if character != '"' {
                    cell.push(character);
                } else if rest.next_if_eq(&'"').is_some() {
                    cell.push('"');
                } else {
                    prop_assert_eq!((rest.next(), rest.next()), (Some(','), Some('"')));
                    read.push(std::mem::take(&mut cell));
                }
            }
            read.push(cell);
            prop_assert_eq!(read, cells.map(|cell| neutralised(&cell)).to_vec());
        }
    }
}
