//! Every operation of the API against everyone who may knock. A route that is not in `routes.rs` fails the build,
//! and so does a row that has no route.

mod audit;
mod credentials;
mod csrf;
mod deputy;
pub mod fixture;
mod live;
mod origins;
mod principals;
pub mod routes;
mod tokens;

use fixture::{Fixture, Object};
use gururmm_server::router;
use gururmm_testkit::{Answer, ApiClient};
use principals::{Principal, Refusal};
use routes::{Needs, Route};
use serde_json::Value;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use uuid::Uuid;

#[test]
fn every_operation_has_a_row_and_every_row_an_operation() {
    let mut documented = BTreeSet::new();
    for (path, item) in serde_json::to_value(router::openapi()).unwrap()["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            documented.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let rows: BTreeSet<String> = routes::all().map(Route::to_string).collect();
    let sockets: BTreeSet<String> = routes::SOCKETS.iter().map(|path| format!("GET {path}")).collect();
    let missing: Vec<_> = documented.difference(&rows).filter(|route| !sockets.contains(*route)).collect();
    let undocumented: Vec<_> = rows.difference(&documented).collect();
    assert!(missing.is_empty(), "add to authz_matrix/routes.rs: {missing:#?}");
    assert!(undocumented.is_empty(), "rows without a route: {undocumented:#?}");
}

#[tokio::test]
async fn public_routes() {
    hold(routes::PUBLIC).await;
}

#[tokio::test]
async fn account_routes() {
    hold(routes::ACCOUNT).await;
}

#[tokio::test]
async fn user_routes() {
    hold(routes::USERS).await;
}

#[tokio::test]
async fn tenancy_routes() {
    hold(routes::TENANCY).await;
}

#[tokio::test]
async fn enrollment_routes() {
    hold(routes::ENROLLMENT).await;
}

#[tokio::test]
async fn agent_routes() {
    hold(routes::AGENTS).await;
}

#[tokio::test]
async fn command_routes() {
    hold(routes::COMMANDS).await;
}

#[tokio::test]
async fn tunnel_routes() {
    hold(routes::TUNNEL).await;
}

#[tokio::test]
async fn agent_log_routes() {
    hold(routes::AGENT_LOGS).await;
}

#[tokio::test]
async fn oversight_routes() {
    hold(routes::OVERSIGHT).await;
}

#[tokio::test]
async fn recording_routes() {
    hold(routes::RECORDINGS).await;
}

/// Holds each route against every principal, then against the right caller: that this one succeeds shows that the
/// refused calls were right in all but the caller.
async fn hold(routes: &[Route]) {
    let mut fixture = Fixture::new().await;
    let mut callers = HashMap::new();
    for (route, principal) in
        routes.iter().flat_map(|route| Principal::ALL.map(|principal| (route, principal)))
    {
        if let Entry::Vacant(caller) = callers.entry((principal, route.needs)) {
            caller.insert(principal.client(&mut fixture, route).await);
        }
    }
    let mut untouched = fixture.digest().await;
    for route in routes.iter().filter(|route| route.needs != Needs::Nothing) {
        for principal in Principal::ALL {
            let client = &callers[&(principal, route.needs)];
            match principal.expected(route) {
                Some(refusal) => {
                    refused(&fixture, route, principal, client, refusal).await;
                    let now = fixture.digest().await;
                    assert_eq!(now, untouched, "{principal:?} changed something by {route}");
                }
                None => {
                    tells_nothing_foreign(&fixture, route, principal, client).await;
                    // An export is audited where it was made.
                    untouched = fixture.digest().await;
                }
            }
        }
    }
    for route in routes {
        // On the same server where nothing changes: there the objects have outlived all attempts.
        let mut fresh = if route.changes() { Some(Fixture::new().await) } else { None };
        let fixture = fresh.as_mut().unwrap_or(&mut fixture);
        let right = match route.needs {
            Needs::Nothing => fixture.server.anonymous(),
            _ => fixture.server.client_as(&route.right_person()).await,
        };
        if route.changes() {
            audit::nothing_changes_without_it(fixture, route, &right).await;
        }
        let before = audit::entries(fixture).await;
        let answer = call(fixture, route, &right, fixture.id(route.object)).await;
        assert_eq!(answer.status.as_u16(), route.success, "the right caller: {answer}");
        if route.changes() && answer.status.is_success() {
            audit::is_one_more(fixture, route, before).await;
        }
    }
}

/// Calls, and expects to be turned away as if there were nothing.
async fn refused(
    fixture: &Fixture,
    route: &Route,
    principal: Principal,
    client: &ApiClient,
    refusal: Refusal,
) {
    let answer = call(fixture, route, client, fixture.id(route.object)).await;
    let (status, codes) = refusal.answer();
    assert_eq!(answer.status.as_u16(), status, "{principal:?}: {answer}");
    let code = answer.code().unwrap_or_default();
    assert!(codes.contains(&code.as_str()), "{principal:?}: {answer}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{principal:?}: {answer}");
    if refusal == Refusal::NotFound {
        let nowhere = call(fixture, route, client, Uuid::now_v7()).await;
        assert_eq!(
            without_request_id(&answer),
            without_request_id(&nowhere),
            "{principal:?} can tell: {answer}"
        );
    }
}

/// A route that is open to the caller as well: what it says must be of the caller's own part only.
async fn tells_nothing_foreign(fixture: &Fixture, route: &Route, principal: Principal, client: &ApiClient) {
    let foreign = match principal {
        Principal::OtherPartner => fixture.ids_of_acme(),
        Principal::OtherSite | Principal::OtherClient => fixture.ids_at_headquarters(),
        _ => return,
    };
    // What changes something is tried with foreign objects in `deputy`.
    if route.changes() || route.object != Object::None {
        return;
    }
    let answer = call(fixture, route, client, Uuid::nil()).await;
    assert!(answer.status.is_success(), "{principal:?}: {answer}");
    for id in foreign {
        assert!(!answer.text().contains(&id.to_string()), "{principal:?} is told {id}: {answer}");
    }
}

/// One call of a route about an object.
pub async fn call(fixture: &Fixture, route: &Route, client: &ApiClient, id: Uuid) -> Answer {
    let call = client.request(route.http_method(), &route.path_for(id));
    match route.body {
        Some(body) => call.json(body(fixture, id)).send().await,
        None => call.send().await,
    }
}

/// What two answers must have in common so that nobody can tell them apart.
fn without_request_id(answer: &Answer) -> (u16, Value) {
    let mut body = answer.json();
    if let Some(body) = body.as_object_mut() {
        body.remove("request_id");
    }
    (answer.status.as_u16(), body)
}
