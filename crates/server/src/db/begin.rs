//! How a transaction begins on a connection of a pool.
//!
//! Not by `Pool::begin`: from version 0.8.4 to 0.9.0 sqlx counts a transaction as begun only when the answer to `BEGIN` is there. Who
//! stops waiting before (a browser that goes on to the next page is enough) gives a connection back to the pool that is inside
//! a transaction nobody knows of: the next one's statement is then not committed, and may be undone. sqlx's issues 4385 and
//! 4393; the linter refuses those functions. It is mended there since (4394): with the version after 0.9.0, `Pool::begin_with` will do.

use futures_util::future::BoxFuture;
use sqlx::postgres::PgPool;
use sqlx::{Postgres, SqlSafeStr, Transaction};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

type Begun = Result<Transaction<'static, Postgres>, sqlx::Error>;

/// Begins with `statement`, whose last word must be `BEGIN`: what stands before it belongs to the transaction too, and when it
/// fails none is left open, as none was.
pub(super) async fn begin(pool: &PgPool, statement: impl SqlSafeStr) -> Begun {
    let connection = pool.acquire().await?;
    ToItsEnd(Some(Transaction::begin(connection, Some(statement.into_sql_str())))).await
}

/// Runs to its end even when nobody waits for it any more: the transaction is then rolled back like any other.
struct ToItsEnd(Option<BoxFuture<'static, Begun>>);

impl Future for ToItsEnd {
    type Output = Begun;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Begun> {
        let Some(beginning) = &mut self.0 else { return Poll::Pending };
        let begun = ready!(beginning.as_mut().poll(context));
        self.0 = None;
        Poll::Ready(begun)
    }
}

impl Drop for ToItsEnd {
    fn drop(&mut self) {
        // Without a runtime the process ends, and its connections with it.
        if let Some(beginning) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(beginning);
        }
    }
}
