//! Every change is one entry of the audit log, in the transaction that makes it: without the entry there is no change.

use super::fixture::Fixture;
use super::routes::Route;
use gururmm_testkit::ApiClient;
use sqlx::Executor as _;

/// What changes nothing that the log speaks of: a ticket for one's own socket, what machines say of themselves, and calls
/// that find everything as it is to be.
const NOT_AUDITED: &[&str] = &[
    "POST /api/v1/live/ticket",
    "POST /api/v1/tunnel/{session_id}/ticket",
    "POST /api/v1/bootstrap/hello",
    "POST /api/install-reports",
    // The fixture's session is open, and is answered.
    "POST /api/v1/tunnel/open",
    // Nobody is sent anywhere.
    "DELETE /api/v1/system/follow-me",
];

/// What does two things, each an entry of its own: a machine's key ends, and a token for it is made.
const TWICE: &[&str] = &["POST /api/v1/agents/{id}/reenroll"];

fn is_audited(route: &Route) -> bool {
    !NOT_AUDITED.contains(&route.to_string().as_str())
}

/// How many entries there are.
pub async fn entries(fixture: &mut Fixture) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM audit_log").fetch_one(&mut fixture.owner).await.unwrap()
}

/// After a call that succeeded.
pub async fn is_one_more(fixture: &mut Fixture, route: &Route, before: i64) {
    let more = entries(fixture).await - before;
    let newest: Vec<String> = sqlx::query_scalar("SELECT action FROM audit_log ORDER BY at DESC LIMIT $1")
        .bind(more)
        .fetch_all(&mut fixture.owner)
        .await
        .unwrap();
    let wanted = i64::from(is_audited(route)) + i64::from(TWICE.contains(&route.to_string().as_str()));
    assert_eq!(more, wanted, "{route}: {newest:?}");
}

/// Makes the right call while no entry can be written: it fails, and everything is as it was.
pub async fn nothing_changes_without_it(fixture: &mut Fixture, route: &Route, right: &ApiClient) {
    if !is_audited(route) || !(200..300).contains(&route.success) {
        return;
    }
    const REFUSE: &str = "
        CREATE FUNCTION refuse_entries() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no entry'; END $$;
        CREATE TRIGGER refuse_entries BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION refuse_entries();";
    const AGAIN: &str = "DROP TRIGGER refuse_entries ON audit_log; DROP FUNCTION refuse_entries()";
    let before = fixture.digest().await;
    fixture.owner.execute(REFUSE).await.unwrap();
    let id = fixture.id(route.object);
    let answer = super::call(fixture, route, right, id).await;
    fixture.owner.execute(AGAIN).await.unwrap();
    assert!(!answer.status.is_success(), "{route} succeeds without an entry: {answer}");
    assert_eq!(fixture.digest().await, before, "{route} changes something without an entry");
}
