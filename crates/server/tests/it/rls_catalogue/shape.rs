//! The schema as PostgreSQL has it, held against the catalogue.

use super::{CATALOGUE, Class, DEFINER_FUNCTIONS, GRANTS, HISTORY_GRANTS, INGEST_GRANTS, readable_tables};
use gururmm_testkit::TestDatabase;
use sqlx::{PgConnection, Row as _};
use std::collections::{BTreeMap, BTreeSet};

#[tokio::test]
async fn every_relation_is_classified() {
    let database = TestDatabase::with_world().await;
    let found: BTreeSet<String> = column(
        &mut database.owner().await,
        "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND relkind IN ('r', 'p', 'v', 'm', 'f')",
    )
    .await;
    let classified: BTreeSet<String> = CATALOGUE.iter().map(|(name, _)| (*name).to_owned()).collect();
    // metric_samples_30_20260131 and the like come and go.
    let unclassified: Vec<&String> =
        found.difference(&classified).filter(|name| !is_dated_partition(name)).collect();
    assert!(unclassified.is_empty(), "classify in rls_catalogue.rs: {unclassified:?}");
    let gone: Vec<&String> = classified.difference(&found).collect();
    assert!(gone.is_empty(), "no longer in the schema: {gone:?}");
    assert!(found.iter().any(|name| is_dated_partition(name)), "no dated partition to look at");
}

#[tokio::test]
async fn every_table_is_under_forced_row_level_security() {
    let database = TestDatabase::with_world().await;
    let rows = sqlx::query("SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class")
        .fetch_all(&mut database.owner().await)
        .await
        .unwrap();
    let security: BTreeMap<String, (bool, bool)> =
        rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
    for (name, class) in CATALOGUE {
        let wanted = match class {
            Class::View => continue,
            // sqlx's own list, on which nobody but the owner has rights.
            Class::System if *name == "_sqlx_migrations" => continue,
            Class::PartitionOf(_) => security[*name].0,
            _ => security[*name] == (true, true),
        };
        assert!(wanted, "{name} is not protected");
    }
    for (name, (enabled, _)) in security.iter().filter(|(name, _)| is_dated_partition(name)) {
        assert!(enabled, "{name} is not protected");
    }
}

#[tokio::test]
async fn policies_check_what_is_written_and_none_lets_the_application_see_all() {
    let database = TestDatabase::with_world().await;
    let policies = sqlx::query(
        "SELECT tablename::text, policyname::text, cmd, array_to_string(roles, ',') AS roles, permissive,
           coalesce(qual, ''), coalesce(with_check, '') FROM pg_policies",
    )
    .fetch_all(&mut database.owner().await)
    .await
    .unwrap();
    let mut protected = BTreeSet::new();
    for policy in &policies {
        let (table, name, command, roles): (String, String, String, String) =
            (policy.get(0), policy.get(1), policy.get(2), policy.get(3));
        let (permissive, reads, writes): (String, String, String) =
            (policy.get(4), policy.get(5), policy.get(6));
        let what = format!("policy {name} on {table}");
        // What permits adds up; what only forbids is beside something that permits.
        let forbids = name == "app_invites_only";
        assert_eq!(permissive, if forbids { "RESTRICTIVE" } else { "PERMISSIVE" }, "{what}");
        match roles.as_str() {
            "gururmm_app" => {
                if command != "INSERT" {
                    assert!(!reads.is_empty() && reads != "true", "{what} shows everything");
                }
                if command != "SELECT" && command != "DELETE" {
                    assert!(!writes.is_empty() && writes != "true", "{what} does not check what is written");
                }
                if command == "ALL" {
                    protected.insert(table);
                }
            }
            "gururmm_ingest" => {
                assert!(["metric_samples", "agent_status"].contains(&table.as_str()), "{what}");
            }
            // One partner at a time, like the application itself.
            "gururmm_history" => {
                assert!(HISTORY_GRANTS.iter().any(|(known, _)| *known == table), "{what}");
                let checks = [&reads, &writes].into_iter().filter(|rule| !rule.is_empty());
                assert!(checks.clone().count() > 0, "{what}");
                for rule in checks {
                    assert_eq!(rule, "(tenant_id = ( SELECT app_tenant() AS app_tenant))", "{what}");
                }
            }
            owner => {
                assert_eq!((name.as_str(), owner), ("owner_all", "postgres"), "{what}: who is that for?")
            }
        }
    }
    for (name, _) in readable_tables() {
        assert!(protected.contains(name), "{name} has no policy for the application");
    }
}

#[tokio::test]
async fn views_run_with_the_readers_rights() {
    let database = TestDatabase::with_world().await;
    let invoker: BTreeSet<String> = column(
        &mut database.owner().await,
        "SELECT relname FROM pg_class WHERE relkind = 'v' AND 'security_invoker=true' = ANY (reloptions)",
    )
    .await;
    for (name, _) in CATALOGUE.iter().filter(|(_, class)| *class == Class::View) {
        assert!(invoker.contains(*name), "{name} would run as its owner");
    }
}

#[tokio::test]
async fn the_applications_roles_own_nothing_and_bypass_nothing() {
    let database = TestDatabase::with_world().await;
    let mut owner = database.owner().await;
    let roles: BTreeSet<String> = column(
        &mut owner,
        "SELECT rolname FROM pg_roles WHERE rolname IN ('gururmm_app', 'gururmm_ingest', 'gururmm_history')
           AND NOT rolsuper AND NOT rolbypassrls AND NOT rolcreatedb AND NOT rolcreaterole AND NOT rolreplication
           AND rolcanlogin = (rolname = 'gururmm_app')",
    )
    .await;
    assert_eq!(roles, set(&["gururmm_app", "gururmm_history", "gururmm_ingest"]));
    let owned: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid
         WHERE d.deptype = 'o' AND r.rolname IN ('gururmm_app', 'gururmm_ingest', 'gururmm_history')",
    )
    .fetch_one(&mut owner)
    .await
    .unwrap();
    assert_eq!(owned, 0, "the application owns something");
    let hats: BTreeSet<String> = column(
        &mut owner,
        "SELECT g.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member JOIN pg_roles g ON g.oid = m.roleid
         WHERE r.rolname IN ('gururmm_app', 'gururmm_ingest', 'gururmm_history')",
    )
    .await;
    assert_eq!(hats, set(&["gururmm_history", "gururmm_ingest"]));
    let creates: bool = sqlx::query_scalar(
        "SELECT has_schema_privilege('gururmm_app', 'public', 'CREATE')
           OR has_database_privilege('gururmm_app', current_database(), 'CREATE')",
    )
    .fetch_one(&mut owner)
    .await
    .unwrap();
    assert!(!creates, "the application can make objects of its own");
}

#[tokio::test]
async fn rights_are_exactly_those_of_the_catalogue() {
    let database = TestDatabase::with_world().await;
    let mut owner = database.owner().await;
    for (role, wanted) in [
        ("gururmm_app", GRANTS),
        ("gururmm_ingest", INGEST_GRANTS),
        ("gururmm_history", HISTORY_GRANTS),
        ("PUBLIC", &[][..]),
    ] {
        let wanted: BTreeMap<String, String> =
            wanted.iter().map(|(table, rights)| ((*table).to_owned(), (*rights).to_owned())).collect();
        assert_eq!(grants_of(&mut owner, role).await, wanted, "rights of {role}");
    }
}

#[tokio::test]
async fn functions_that_run_as_the_owner_are_the_listed_ones_and_cannot_be_fooled() {
    let database = TestDatabase::with_world().await;
    let mut owner = database.owner().await;
    let functions = sqlx::query(
        "SELECT p.proname::text, coalesce(array_to_string(p.proconfig, ';'), '')
         FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'public' AND p.prosecdef",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap();
    let names: BTreeSet<String> = functions.iter().map(|function| function.get(0)).collect();
    assert_eq!(names, set(DEFINER_FUNCTIONS));
    assert_eq!(functions.len(), names.len(), "two definer functions share a name");
    for function in &functions {
        let (name, settings): (String, String) = (function.get(0), function.get(1));
        assert!(settings.contains("search_path=public, pg_temp"), "{name}: {settings}");
    }
    let open: BTreeSet<String> = column(
        &mut owner,
        "SELECT p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace,
           aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
         WHERE n.nspname = 'public' AND a.grantee = 0",
    )
    .await;
    assert!(open.is_empty(), "anyone may call {open:?}");
}

#[tokio::test]
async fn references_between_tenant_tables_carry_the_tenant() {
    let database = TestDatabase::with_world().await;
    let bare: BTreeSet<String> = column(
        &mut database.owner().await,
        "SELECT format('%s.%s -> %s', k.conrelid::regclass, k.conname, k.confrelid::regclass) FROM pg_constraint k
         WHERE k.contype = 'f' AND k.conparentid = 0
           AND EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = k.conrelid AND a.attname = 'tenant_id')
           AND EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = k.confrelid AND a.attname = 'tenant_id')
           AND NOT EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = k.conrelid AND a.attname = 'tenant_id'
                           AND a.attnum = ANY (k.conkey))",
    )
    .await;
    assert!(bare.is_empty(), "a row could point into another partner's data: {bare:?}");
}

/// What a distributed PostgreSQL asks for: rows are placed by their partner, so each key has to name it.
#[tokio::test]
async fn keys_of_history_name_the_partner() {
    let database = TestDatabase::with_world().await;
    let keys: BTreeSet<String> = column(
        &mut database.owner().await,
        "SELECT format('%s.%s', i.indrelid::regclass, i.indexrelid::regclass) FROM pg_index i WHERE i.indisunique
           AND i.indrelid::regclass::text IN ('history_progress', 'metric_hours', 'metric_rollups', 'metric_samples',
             'process_names')
           AND (SELECT attname FROM pg_attribute WHERE attrelid = i.indrelid AND attnum = i.indkey[0]) <> 'tenant_id'",
    )
    .await;
    assert!(keys.is_empty(), "these keys do not begin with the partner: {keys:?}");
}

fn is_dated_partition(name: &str) -> bool {
    let parents = ["metric_samples_", "metric_hours_", "metric_rollups_"];
    let Some(rest) = parents.iter().find_map(|parent| name.strip_prefix(parent)) else { return false };
    matches!(rest.split_once('_'), Some((class, day))
        if ["30", "90", "365", "1095"].contains(&class) && day.len() == 8 && day.bytes().all(|b| b.is_ascii_digit()))
}

/// Table -> its rights in words, those on columns in brackets.
async fn grants_of(owner: &mut PgConnection, role: &str) -> BTreeMap<String, String> {
    let rows = sqlx::query(
        "WITH rights AS (
           SELECT c.relname, a.privilege_type, NULL::name AS attname, a.grantee
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) a
           WHERE n.nspname = 'public'
           UNION ALL
           SELECT c.relname, a.privilege_type, t.attname, a.grantee
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a
           WHERE n.nspname = 'public'),
         words AS (
           SELECT relname, privilege_type || coalesce('(' || string_agg(attname::text, ' ' ORDER BY attname) || ')', '') AS word
           FROM rights WHERE CASE WHEN $1 = 'PUBLIC' THEN grantee = 0 ELSE grantee = to_regrole($1) END
           GROUP BY relname, privilege_type)
         SELECT relname::text, string_agg(word, ' ' ORDER BY word) FROM words GROUP BY relname",
    )
    .bind(role)
    .fetch_all(owner)
    .await
    .unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

async fn column(connection: &mut PgConnection, query: &'static str) -> BTreeSet<String> {
    let rows = sqlx::query(query).fetch_all(connection).await.unwrap();
    rows.iter().map(|row| row.try_get(0).unwrap_or_else(|_| row.get_unchecked::<String, _>(0))).collect()
}
