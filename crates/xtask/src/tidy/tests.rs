//! Every rule, shown to fail. What must not be found is written in pieces where tidy reads this file too.

use super::{Finding, Repository, findings};

fn rules_broken<const N: usize>(files: [(&str, &str); N]) -> Vec<String> {
    findings(&Repository::from(files)).iter().map(Finding::to_string).collect()
}

fn assert_clean<const N: usize>(files: [(&str, &str); N]) {
    assert_eq!(rules_broken(files), Vec::<String>::new());
}

#[track_caller]
fn assert_one<const N: usize>(files: [(&str, &str); N], wanted: &str) {
    let broken = rules_broken(files);
    assert!(broken.len() == 1 && broken[0].starts_with(wanted), "wanted {wanted:?}, got {broken:?}");
}

const SLICE_HTTP: (&str, &str) = ("crates/server/src/alerts/http.rs", "use axum::Router;\n");

#[test]
fn a_slices_rules_name_neither_axum_nor_sqlx() {
    let path = "crates/server/src/alerts/mod.rs";
    assert_one(
        [SLICE_HTTP, (path, "\nuse axum::Json;\n")],
        "crates/server/src/alerts/mod.rs:2: a slice's mod.rs",
    );
    assert_one([SLICE_HTTP, (path, "fn f(e: sqlx::Error) {}\n")], "crates/server/src/alerts/mod.rs:1:");
    assert_clean([SLICE_HTTP, (path, "// axum and sqlx in a comment, and in \nconst A: &str = \"axum\";\n")]);
}

#[test]
fn a_store_knows_no_http_and_a_handler_no_sql() {
    assert_one(
        [("crates/server/src/alerts/store.rs", "use axum::Json;\n")],
        "crates/server/src/alerts/store.rs:1:",
    );
    assert_one(
        [("crates/server/src/alerts/http.rs", "use sqlx::Row;\n")],
        "crates/server/src/alerts/http.rs:1:",
    );
}

#[test]
fn queries_stand_in_stores_only() {
    let query = "fn f() { sqlx::query!(\"SELECT 1\"); }\n";
    assert_one(
        [("crates/server/src/alerts/agent.rs", query)],
        "crates/server/src/alerts/agent.rs:1: SQL stands",
    );
    assert_clean([("crates/server/src/alerts/store.rs", query), ("crates/server/src/db/tx.rs", query)]);
    assert_clean([("crates/server/src/audit.rs", query), ("crates/server/src/alerts/tests.rs", query)]);
}

#[test]
fn the_pool_stays_in_the_database_part() {
    let pool = "use sqlx::PgPool;\n";
    assert_one([("crates/server/src/app.rs", pool)], "crates/server/src/app.rs:1: only db/");
    assert_clean([("crates/server/src/db/pool.rs", pool), ("crates/server/tests/it/main.rs", pool)]);
}

#[test]
fn the_server_starts_no_programs() {
    for source in [
        "use std::process::Command;\n",
        "use tokio::process::{Child, Command};\n",
        "fn f() { std::process::Command::new(\"sh\"); }\n",
        "use std::process::*;\n",
    ] {
        assert_one(
            [("crates/server/src/app.rs", source)],
            "crates/server/src/app.rs:1: the server starts no programs",
        );
        assert_clean([("crates/server/src/db/embedded/postgres.rs", source)]);
    }
    assert_clean([("crates/server/src/app.rs", "fn f() { std::process::exit(1); }\nstruct Command;\n")]);
}

#[test]
fn the_protocol_needs_no_runtime() {
    let path = "crates/protocol/Cargo.toml";
    assert_one(
        [(path, "[dependencies]\ntokio.workspace = true\n")],
        "crates/protocol/Cargo.toml:2: the protocol",
    );
    assert_clean([(path, "[dependencies]\nserde = \"1\"\n[dev-dependencies]\ntokio = \"1\"\n")]);
}

#[test]
fn gateway_and_live_name_no_slice() {
    let path = "crates/server/src/gateway/session.rs";
    assert_one(
        [SLICE_HTTP, (path, "use crate::alerts::raise;\n")],
        "crates/server/src/gateway/session.rs:1: gateway",
    );
    assert_clean([SLICE_HTTP, (path, "use crate::db::Tx;\n")]);
}

#[test]
fn the_transport_library_is_named_in_one_file() {
    let source = "use tokio_tungstenite::connect_async;\n";
    assert_one([("crates/agent/src/session.rs", source)], "crates/agent/src/session.rs:1: only transport.rs");
    assert_clean([("crates/agent/src/transport.rs", source)]);
}

#[test]
fn platforms_differ_in_few_places() {
    for source in [
        "#[cfg(unix)]\nfn f() {}\n",
        "fn f() { if cfg!(not(windows)) {} }\n",
        "#[cfg(target_os = \"linux\")]\nmod a;\n",
    ] {
        let broken = rules_broken([("crates/agent/src/session.rs", source)]);
        assert!(broken.len() == 1 && broken[0].contains("platforms differ"), "{source}: {broken:?}");
        assert_clean([("crates/agent/src/os/mod.rs", source)]);
    }
    assert_clean([("crates/agent/src/session.rs", "#[cfg(test)]\nmod tests;\n")]);
    assert_clean([("crates/agent/src/session.rs", "mod tests {\n #[cfg(unix)]\n fn f() {}\n}\n")]);
}

#[test]
fn a_file_ends_at_eight_hundred_lines_and_few_pass_five_hundred() {
    let short: Vec<String> = (0..20).map(|number| format!("crates/a/src/f{number}.rs")).collect();
    let long = "\n".repeat(801);
    let mut files: Vec<(&str, &str)> = short.iter().map(|path| (path.as_str(), "\n")).collect();
    files[0].1 = &long;
    let files: [(&str, &str); 20] = files.try_into().expect("twenty files");
    assert_one(files, "crates/a/src/f0.rs: 801 lines");
    let lengthy = "\n".repeat(501);
    assert_one([("a.rs", lengthy.as_str())], "a.rs: more than one file of ten");
    assert_clean([("dashboard/src/api/schema.d.ts", long.as_str()), ("docs/long.md", long.as_str())]);
}

#[test]
fn nothing_is_left_for_later() {
    let mark = concat!("TO", "DO");
    assert_one([("a.ts", &*format!("\n// {mark}: later\n"))], "a.ts:2: finish it");
    assert_clean([("a.ts", &*format!("const {mark}S = 1;\n"))]);
}

#[test]
fn words_need_no_emoji() {
    assert_one([("README.md", "Done \u{2705}\n")], "README.md:1: no emoji (U+2705)");
    assert_clean([("README.md", "Arrows → and × and … are letters' friends\n")]);
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    assert_one([("a.md", concat!("in /ro", "ot/.cargo\n"))], "a.md:1: /");
    assert_one([("a.npmrc", concat!("registry.npmjs", ".org\n"))], "a.npmrc:1: registry");
    assert_clean([("a.md", "the root/ folder, /root/site.key\n")]);
}

#[test]
fn mail_addresses_are_nobodys() {
    assert_one([("a.rs", concat!("// ann@gm", "ail.com\n"))], "a.rs:1: gm");
    assert_clean([(
        "a.rs",
        "// ann@example.com, bob@acme.test, cargo-nextest@0.9.1, @types/node, user@host\n",
    )]);
}

#[test]
fn migrations_have_no_gaps_and_unix_lines() {
    let first = ("crates/server/migrations/0001_first.sql", "SELECT 1;\n");
    assert_clean([first, ("crates/server/migrations/0002_second.sql", "SELECT 2;\n")]);
    assert_one(
        [first, ("crates/server/migrations/0003_third.sql", "SELECT 3;\n")],
        "crates/server/migrations/0003_third.sql: the next",
    );
    assert_one(
        [first, ("crates/server/migrations/0001_twice.sql", "SELECT 3;\n")],
        "crates/server/migrations/0001_twice.sql: the next",
    );
    assert_one(
        [("crates/server/migrations/0001_first.sql", "SELECT 1;\r\n")],
        "crates/server/migrations/0001_first.sql: a migration's lines",
    );
}

#[test]
fn a_released_protocol_version_stays_as_it_is() {
    let path = |name: &str| format!("crates/protocol/tests/golden/{name}");
    let (sums, hello, young) =
        (path("v1.0/SHA256SUMS"), path("v1.0/to_agent/hello.json"), path("v1.1/new.json"));
    let released = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03  to_agent/hello.json\n";
    let sums = (sums.as_str(), released);
    assert_clean([sums, (&hello, "hello\n"), (&young, "anything")]);
    assert_one(
        [sums, (&hello, "hallo\n")],
        &format!("{hello}: this protocol version is released: the file stays"),
    );
    assert_one([sums], &format!("{hello}: this protocol version is released: the file stays"));
    let late = path("v1.0/to_agent/late.json");
    assert_one(
        [sums, (&hello, "hello\n"), (&late, "{}")],
        &format!("{late}: this protocol version is released: the file belongs"),
    );
}

#[test]
fn the_capability_table_is_complete() {
    let list = ("docs/capability-ids.txt", "ENR-1\nENR-2\n");
    assert_clean([list, ("README.md", "| id | state |\n|---|---|\n| ENR-1 | yes |\n| ENR-2 | no |\n")]);
    assert_one([list, ("README.md", "| ENR-1 | yes |\n")], "README.md: the capability table lacks ENR-2");
    assert_one(
        [list, ("README.md", "| ENR-1 |\n| ENR-2 |\n| ENR-2 |\n")],
        "README.md: the capability table names ENR-2",
    );
}

#[test]
fn error_codes_and_their_page_agree() {
    let code = (
        "crates/server/src/error.rs",
        "const A: &str = \"NOT_FOUND\"; // \"OTHER_CODE\"\nfn f() -> &'static str { \"FIELD_CODE\" }\n",
    );
    assert_clean([code, ("docs/errors.md", "| `NOT_FOUND` | 404 |\n")]);
    assert_one([code, ("docs/errors.md", "")], "docs/errors.md: NOT_FOUND is not documented");
    assert_one(
        [code, ("docs/errors.md", "| `NOT_FOUND` |\n| `GONE_AWAY` |\n")],
        "docs/errors.md: GONE_AWAY is documented but",
    );
}
