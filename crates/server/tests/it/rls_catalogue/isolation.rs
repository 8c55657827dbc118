//! What the application's role sees and may write, table by table, whatever the queries say.

use super::{CATALOGUE, Class, Reach, fill, readable_tables};
use gururmm_testkit::TestDatabase;
use gururmm_testkit::world::{acme, globex};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use uuid::Uuid;

const ROW_LEVEL_SECURITY: &str = "42501";
const UNIQUE: &str = "23505";
const FOREIGN_KEY: &str = "23503";

/// What db::begin tells PostgreSQL.
#[derive(Default, Clone)]
struct Context {
    tenant: Option<Uuid>,
    user: Option<Uuid>,
    clients: Vec<Uuid>,
    sites: Vec<Uuid>,
}

#[tokio::test]
async fn without_a_context_every_table_is_empty_and_nothing_can_be_written() {
    let database = filled().await;
    let (mut owner, mut app) = (database.owner().await, database.app().await);
    for (table, _) in readable_tables() {
        begin(&mut app, &Context::default()).await;
        assert_eq!(count(&mut app, table, visible_to_all(table)).await, 0, "{table} shows rows");
        let any_row = row_of(&mut owner, table, "true").await;
        let refused = insert(&mut app, table, &any_row).await;
        assert_eq!(refused.as_deref(), Some(ROW_LEVEL_SECURITY), "{table} takes a row");
        end(&mut app).await;
    }
}

#[tokio::test]
async fn the_platforms_policy_is_the_one_row_everyone_reads() {
    let database = filled().await;
    let mut app = database.app().await;
    begin(&mut app, &Context { tenant: Some(acme::PARTNER.id), ..Context::default() }).await;
    assert_eq!(count(&mut app, "policies", "tenant_id IS NULL").await, 1);
    let changed =
        affected(&mut app, "UPDATE policies SET settings = '{\"x\":1}' WHERE tenant_id IS NULL").await;
    assert_eq!(changed, Ok(0), "a partner changed the platform's policy");
    end(&mut app).await;
}

#[tokio::test]
async fn nobody_is_made_platform_admin_by_inserting_whatever_the_context_permits() {
    let database = filled().await;
    let mut app = database.app().await;
    let context = Context { tenant: Some(acme::PARTNER.id), ..Context::default() };
    for (values, wanted) in [
        ("true, 'invited', NULL", Err(ROW_LEVEL_SECURITY.to_owned())),
        ("false, 'active', NULL", Err(ROW_LEVEL_SECURITY.to_owned())),
        ("false, 'invited', 'a hash'", Err(ROW_LEVEL_SECURITY.to_owned())),
        ("false, 'invited', NULL", Ok(1)),
    ] {
        begin(&mut app, &context).await;
        affected(&mut app, "SELECT set_config('app.platform', 'on', true)").await.unwrap();
        let statement = format!(
            "INSERT INTO users (id, email, name, is_platform_admin, status, password_hash)
             VALUES (gen_random_uuid(), 'eve@example.com', 'Eve', {values})"
        );
        assert_eq!(affected(&mut app, &statement).await, wanted, "{values}");
        end(&mut app).await;
    }
}

#[tokio::test]
async fn tables_of_the_system_are_closed_to_the_application() {
    let database = filled().await;
    let mut app = database.app().await;
    for (table, _) in CATALOGUE.iter().filter(|(_, class)| *class == Class::System) {
        for statement in [format!("SELECT 1 FROM {table}"), format!("DELETE FROM {table}")] {
            begin(&mut app, &Context { tenant: Some(acme::PARTNER.id), ..Context::default() }).await;
            assert_eq!(affected(&mut app, &statement).await, Err(ROW_LEVEL_SECURITY.into()), "{statement}");
            end(&mut app).await;
        }
    }
}

/// The two statements that name their partner by themselves.
#[tokio::test]
async fn what_an_agent_asks_when_it_comes_back_is_answered_within_its_own_partner_and_leaves_no_context_behind()
 {
    const CONTEXT: &str = "SELECT coalesce(current_setting('app.tenant_id', true), '')";
    let database = filled().await;
    let (mut owner, mut app) = (database.owner().await, database.app().await);
    let agent: Uuid =
        sqlx::query_scalar("UPDATE agents SET state = 'active' WHERE tenant_id = $1 RETURNING id")
            .bind(acme::PARTNER.id)
            .fetch_one(&mut owner)
            .await
            .unwrap();
    for (partner, answers) in [(globex::PARTNER.id, 0), (acme::PARTNER.id, 1)] {
        let begun =
            sqlx::query_scalar::<_, i64>("SELECT epoch FROM begin_agent_session($1, $2, gen_random_uuid())")
                .bind(partner)
                .bind(agent)
                .fetch_all(&mut app)
                .await
                .unwrap();
        assert_eq!(begun.len(), answers, "a session begins");
        let epoch: i64 = sqlx::query_scalar("SELECT session_epoch FROM agents WHERE id = $1")
            .bind(agent)
            .fetch_one(&mut owner)
            .await
            .unwrap();
        let known = sqlx::query(
            "SELECT settings FROM agent_says_hello($1, $2, $3, '', '', '', '', '', NULL, '{}', NULL, '', NULL, NULL, NULL)",
        );
        let known = known.bind(partner).bind(agent).bind(epoch).fetch_all(&mut app).await.unwrap();
        assert_eq!(known.len(), answers, "a hello is answered");
        let context: String = sqlx::query_scalar(CONTEXT).fetch_one(&mut app).await.unwrap();
        assert_eq!(context, "");
    }
}

#[tokio::test]
async fn a_partner_sees_its_own_rows_and_no_other() {
    let database = filled().await;
    let (mut owner, mut app) = (database.owner().await, database.app().await);
    for (table, class) in readable_tables() {
        let (own, foreign) = (belongs_to(table, acme::PARTNER.id), belongs_to(table, globex::PARTNER.id));
        let all_own = count(&mut owner, table, &own).await;
        assert!(
            all_own > 0 && count(&mut owner, table, &foreign).await > 0,
            "{table}: nothing to tell apart"
        );
        begin(&mut app, &Context { tenant: Some(acme::PARTNER.id), ..Context::default() }).await;
        assert_eq!(count(&mut app, table, &own).await, all_own, "{table} hides own rows ({class:?})");
        let others = format!("NOT coalesce({own}, false) AND NOT ({})", visible_to_all_rows(table));
        assert_eq!(count(&mut app, table, &others).await, 0, "{table} shows foreign rows ({class:?})");
        end(&mut app).await;
    }
}

#[tokio::test]
async fn forged_rows_are_refused() {
    let database = filled().await;
    let (mut owner, mut app) = (database.owner().await, database.app().await);
    let context =
        Context { tenant: Some(acme::PARTNER.id), user: Some(acme::OWNER.id), ..Context::default() };
    for (table, class) in readable_tables() {
        let (own, foreign) = (belongs_to(table, acme::PARTNER.id), belongs_to(table, globex::PARTNER.id));
        let own_row = row_of(&mut owner, table, &own).await;
        let foreign_row = row_of(&mut owner, table, &foreign).await;
        // The control: a copy of an own row fails at the key, or does not fail, but is not forbidden.
        begin(&mut app, &context).await;
        let control = insert(&mut app, table, &own_row).await;
        // An account that works is nobody's to insert; what may be inserted, and what not, has a test of its own.
        let may_insert = !matches!(
            table,
            "audit_log"
                | "history_progress"
                | "metric_hours"
                | "metric_rollups"
                | "metric_samples"
                | "process_names"
                | "recording_entries"
                | "users"
        );
        match may_insert {
            true => assert!([None, Some(UNIQUE)].contains(&control.as_deref()), "{table}: {control:?}"),
            false => assert_eq!(
                control.as_deref(),
                Some(ROW_LEVEL_SECURITY),
                "{table} is not the application's to write"
            ),
        }
        end(&mut app).await;

        begin(&mut app, &context).await;
        let forged = insert(&mut app, table, &foreign_row).await;
        assert_eq!(forged.as_deref(), Some(ROW_LEVEL_SECURITY), "{table} took a row of another partner");
        end(&mut app).await;

        for statement in [
            format!("UPDATE {table} SET {} WHERE {foreign}", touch(table)),
            format!("DELETE FROM {table} WHERE {foreign}"),
        ] {
            begin(&mut app, &context).await;
            let result = affected(&mut app, &statement).await;
            assert!([Ok(0), Err(ROW_LEVEL_SECURITY.into())].contains(&result), "{statement}: {result:?}");
            end(&mut app).await;
        }

        if matches!(class, Class::Tenant(_)) && table != "partners" {
            let stolen = format!("UPDATE {table} SET tenant_id = '{}' WHERE {own}", globex::PARTNER.id);
            begin(&mut app, &context).await;
            let result = affected(&mut app, &stolen).await;
            // A person's own session may be pointed at another partner: lookup_session gives it no role there
            // without a membership. All else is refused.
            if table != "sessions" {
                assert_eq!(result, Err(ROW_LEVEL_SECURITY.into()), "{stolen}");
            }
            end(&mut app).await;
        }
    }
}

#[tokio::test]
async fn references_into_another_partner_are_refused_even_for_the_owner() {
    let database = filled().await;
    let mut owner = database.owner().await;
    let (site, client) = (acme::HQ.id, globex::ALPHA.id);
    let foreign_agent: Uuid = sqlx::query_scalar("SELECT id FROM agents WHERE tenant_id = $1 LIMIT 1")
        .bind(globex::PARTNER.id)
        .fetch_one(&mut owner)
        .await
        .unwrap();
    let tenant = acme::PARTNER.id;
    for statement in [
        format!("UPDATE sites SET name = 'Forged', client_id = '{client}' WHERE id = '{site}'"),
        format!("UPDATE agents SET client_id = '{client}', site_id = '{}' WHERE site_id = '{site}'", globex::HQ.id),
        format!("UPDATE enrollment_keys SET version = 99, site_id = '{}' WHERE site_id = '{site}'", globex::HQ.id),
        format!("UPDATE install_reports SET site_id = '{}' WHERE site_id = '{site}'", globex::HQ.id),
        format!("UPDATE commands SET agent_id = '{foreign_agent}' WHERE tenant_id = '{tenant}'"),
        format!("UPDATE alerts SET agent_id = '{foreign_agent}' WHERE tenant_id = '{tenant}'"),
        format!("UPDATE tunnel_sessions SET status = 'closed', closed_at = now(), agent_id = '{foreign_agent}'
                 WHERE tenant_id = '{tenant}'"),
        format!("UPDATE policies SET client_id = '{client}' WHERE tenant_id = '{tenant}' AND scope = 'client'
                 AND client_id = '{}'", acme::ALPHA.id),
        format!("UPDATE command_output SET seq = 99, command_id = (SELECT id FROM commands WHERE agent_id = '{foreign_agent}')
                 WHERE tenant_id = '{tenant}' AND command_id = (SELECT id FROM commands WHERE tenant_id = '{tenant}' LIMIT 1)"),
        format!("UPDATE agent_logs SET status = 'failed', ended_at = now(), agent_id = '{foreign_agent}'
                 WHERE tenant_id = '{tenant}'"),
        format!("UPDATE agent_crashes SET agent_id = '{foreign_agent}' WHERE tenant_id = '{tenant}'"),
        format!("UPDATE metric_gaps SET agent_id = '{foreign_agent}' WHERE tenant_id = '{tenant}'"),
        format!("UPDATE agent_status SET agent_id = '{}' WHERE agent_id = (SELECT id FROM agents WHERE site_id = '{site}')",
            Uuid::nil()),
    ] {
        assert_eq!(affected(&mut owner, &statement).await, Err(FOREIGN_KEY.into()), "{statement}");
    }
}

#[tokio::test]
async fn a_confined_member_sees_her_part_of_every_table() {
    let database = filled().await;
    let (mut owner, mut app) = (database.owner().await, database.app().await);
    let tenant = Some(acme::PARTNER.id);
    let to_client = Context { tenant, clients: vec![acme::ALPHA.id], ..Context::default() };
    let to_site = Context { tenant, sites: vec![acme::LAB.id], ..Context::default() };
    for (table, class) in readable_tables() {
        let Some(reach) = class.reach() else { continue };
        let all = count(&mut owner, table, &belongs_to(table, acme::PARTNER.id)).await;
        for (context, sites) in [(&to_client, vec![acme::HQ, acme::LAB]), (&to_site, vec![acme::LAB])] {
            let part: String = sites.iter().map(|site| format!("'{}',", site.id)).collect();
            let wanted = match reach {
                Reach::Confined if table == "clients" => i64::from(!context.clients.is_empty()),
                Reach::Confined => {
                    count(&mut owner, table, &stands_in(table, part.trim_end_matches(','))).await
                }
                // One's own sessions only, and this context has no person.
                Reach::WholePartner if table == "sessions" => 0,
                Reach::WholePartner => all,
            };
            begin(&mut app, context).await;
            assert_eq!(
                count(&mut app, table, visible_to_all(table)).await,
                wanted,
                "{table} to {}",
                sites[0].name
            );
            end(&mut app).await;
        }
    }
}

#[tokio::test]
async fn nobody_becomes_platform_admin_through_the_application() {
    let database = filled().await;
    let mut app = database.app().await;
    let context =
        Context { tenant: Some(acme::PARTNER.id), user: Some(acme::OWNER.id), ..Context::default() };
    let new_user = |columns: &str, values: &str| {
        format!(
            "INSERT INTO users (id, email, name, status{columns}) VALUES ('{}', 'new@example.com', 'New'{values})",
            Uuid::now_v7()
        )
    };
    for (statement, wanted) in [
        (new_user("", ", 'invited'"), Ok(1)),
        (new_user(", is_platform_admin", ", 'invited', true"), Err(ROW_LEVEL_SECURITY.to_owned())),
        (new_user(", password_hash", ", 'invited', 'x'"), Err(ROW_LEVEL_SECURITY.to_owned())),
        (new_user("", ", 'active'"), Err(ROW_LEVEL_SECURITY.to_owned())),
        (
            format!("UPDATE users SET is_platform_admin = true WHERE id = '{}'", acme::OWNER.id),
            Err(ROW_LEVEL_SECURITY.to_owned()),
        ),
        (
            format!("UPDATE users SET email = 'x@example.com' WHERE id = '{}'", acme::OWNER.id),
            Err(ROW_LEVEL_SECURITY.to_owned()),
        ),
        (format!("UPDATE users SET name = 'New' WHERE id = '{}'", acme::OWNER.id), Ok(1)),
    ] {
        begin(&mut app, &context).await;
        assert_eq!(affected(&mut app, &statement).await, wanted, "{statement}");
        end(&mut app).await;
    }
}

async fn filled() -> TestDatabase {
    let database = TestDatabase::with_world().await;
    fill::everything(&mut database.owner().await).await;
    database
}

/// Which rows are a partner's.
fn belongs_to(table: &str, partner: Uuid) -> String {
    match table {
        "partners" => format!("id = '{partner}'"),
        "users" => format!("id IN (SELECT user_id FROM memberships WHERE tenant_id = '{partner}')"),
        _ => format!("tenant_id = '{partner}'"),
    }
}

/// Which rows stand at some sites.
fn stands_in(table: &str, sites: &str) -> String {
    match table {
        "sites" => format!("id IN ({sites})"),
        "agent_aliases"
        | "agent_connections"
        | "agent_crashes"
        | "agent_follows"
        | "agent_logs"
        | "agent_status"
        | "agent_uninstalls"
        | "agent_update_abilities"
        | "agent_updates"
        | "metric_gaps"
        | "update_rollout_members" => {
            format!("agent_id IN (SELECT id FROM agents WHERE site_id IN ({sites}))")
        }
        "metric_hours" | "metric_rollups" | "metric_samples" => {
            format!("agent_num IN (SELECT num FROM agents WHERE site_id IN ({sites}))")
        }
        "agent_log_parts" => format!(
            "log_id IN (SELECT l.id FROM agent_logs l JOIN agents a ON a.id = l.agent_id WHERE a.site_id IN ({sites}))"
        ),
        "command_output" => format!("command_id IN (SELECT id FROM commands WHERE site_id IN ({sites}))"),
        _ => format!("site_id IN ({sites})"),
    }
}

/// Leaves the platform's policy out of a count: everyone reads that.
fn visible_to_all(table: &str) -> &'static str {
    if table == "policies" { "tenant_id IS NOT NULL" } else { "true" }
}

fn visible_to_all_rows(table: &str) -> &'static str {
    if table == "policies" { "tenant_id IS NULL" } else { "false" }
}

/// A harmless change the application has the right to make.
fn touch(table: &str) -> &'static str {
    match table {
        "users" => "name = name",
        "sessions" => "last_used_at = last_used_at",
        "partners" => "name = name",
        _ => "tenant_id = tenant_id",
    }
}

async fn begin(app: &mut PgConnection, context: &Context) {
    let list = |ids: &[Uuid]| ids.iter().map(Uuid::to_string).collect::<Vec<_>>().join(",");
    let confined = !context.clients.is_empty() || !context.sites.is_empty();
    sqlx::query("BEGIN").execute(&mut *app).await.unwrap();
    sqlx::query(
        "SELECT set_config('app.tenant_id', $1, true), set_config('app.user_id', $2, true),
                set_config('app.platform', 'off', true), set_config('app.confined', $3, true),
                set_config('app.client_ids', $4, true), set_config('app.site_ids', $5, true)",
    )
    .bind(context.tenant.map(|id| id.to_string()).unwrap_or_default())
    .bind(context.user.map(|id| id.to_string()).unwrap_or_default())
    .bind(if confined { "on" } else { "off" })
    .bind(list(&context.clients))
    .bind(list(&context.sites))
    .execute(app)
    .await
    .unwrap();
}

async fn end(app: &mut PgConnection) {
    sqlx::query("ROLLBACK").execute(app).await.unwrap();
}

async fn count(connection: &mut PgConnection, table: &str, filter: &str) -> i64 {
    let query = format!("SELECT count(*) FROM {table} WHERE {filter}");
    sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(connection).await.unwrap()
}

async fn row_of(owner: &mut PgConnection, table: &str, filter: &str) -> Value {
    let query = format!("SELECT to_jsonb(t) FROM {table} t WHERE {filter} LIMIT 1");
    sqlx::query(AssertSqlSafe(query)).fetch_one(owner).await.unwrap().get(0)
}

/// Inserts a row as it was read; answers PostgreSQL's code when that is refused.
async fn insert(app: &mut PgConnection, table: &str, row: &Value) -> Option<String> {
    // Identity and generated columns are PostgreSQL's own.
    let identity = [("agents", "num"), ("agents", "hostname_key"), ("events", "id"), ("process_names", "id")];
    let row = row.as_object().unwrap();
    let columns: Vec<&str> =
        row.keys().map(String::as_str).filter(|column| !identity.contains(&(table, *column))).collect();
    let columns = columns.join(", ");
    let statement = format!(
        "INSERT INTO {table} ({columns}) SELECT {columns} FROM jsonb_populate_record(NULL::{table}, $1)"
    );
    let result = sqlx::query(AssertSqlSafe(statement)).bind(Value::Object(row.clone())).execute(app).await;
    result.err().map(|error| code_of(&error))
}

async fn affected(connection: &mut PgConnection, statement: &str) -> Result<u64, String> {
    let result = sqlx::query(AssertSqlSafe(statement.to_owned())).execute(connection).await;
    result.map(|done| done.rows_affected()).map_err(|error| code_of(&error))
}

fn code_of(error: &sqlx::Error) -> String {
    error.as_database_error().and_then(|error| error.code()).unwrap_or_else(|| panic!("{error}")).into_owned()
}
