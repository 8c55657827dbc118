//! Getting the agent onto machines: what is downloaded, and what installers say when they fail.

use gururmm_protocol::installer::InstallerName;
use gururmm_testkit::packages::{self, AGENT_AARCH64, MSI, PKG, bytes_of, sha256};
use gururmm_testkit::world::{acme, globex};
use gururmm_testkit::{TestDatabase, TestServer, logs};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

const BINARY: &[u8] = b"\x7fELF not really, but every byte of it counts";

/// A server with an agent to hand out.
async fn with_binary() -> (TestServer, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gururmm-agent");
    std::fs::write(&path, BINARY).unwrap();
    let database = TestDatabase::with_world().await;
    (TestServer::start_with(database, |options| options.agent_binary = Some(path)).await, folder)
}

/// A server with one of every package.
async fn with_packages() -> (TestServer, tempfile::TempDir) {
    with_folder(packages::lay_down()).await
}

async fn with_folder(folder: tempfile::TempDir) -> (TestServer, tempfile::TempDir) {
    let path = folder.path().to_owned();
    let database = TestDatabase::with_world().await;
    (TestServer::start_with(database, |options| options.dist = Some(path)).await, folder)
}

fn installers(site: &gururmm_testkit::world::Site) -> String {
    format!("/api/v1/sites/{}/installers", site.id)
}

/// The file name that an answer is to be saved under; it holds a secret.
fn saved_as(answer: &gururmm_testkit::Answer) -> String {
    let disposition = answer.header("content-disposition").unwrap();
    let name = disposition.strip_prefix("attachment; filename=\"").and_then(|rest| rest.strip_suffix('"'));
    name.unwrap_or_else(|| panic!("{disposition}")).to_owned()
}

#[tokio::test]
async fn the_installer_checks_the_very_binary_that_is_handed_out() {
    let (server, _folder) = with_binary().await;
    let binary = server.anonymous().get("/install/agent/linux-x86_64").await;
    assert_eq!((binary.status.as_u16(), binary.body.as_ref()), (200, BINARY));
    assert_eq!(binary.header("content-length"), Some(BINARY.len().to_string().as_str()));
    assert_eq!(binary.header("content-type"), Some("application/octet-stream"));
    assert_eq!(binary.header("x-content-type-options"), Some("nosniff"));

    let script = server.anonymous().get("/install/linux.sh").await;
    assert_eq!((script.status.as_u16(), script.header("content-type")), (200, Some("text/x-shellscript")));
    assert!(script.text().starts_with("#!/bin/sh"));
    assert!(script.text().contains(&sha256(BINARY)), "{script}");
}

#[tokio::test]
async fn the_command_of_a_new_key_checks_the_very_installer_that_is_handed_out() {
    let (server, _folder) = with_binary().await;
    let script = server.anonymous().get("/install/linux.sh").await.text();
    let admin = server.client_as(&acme::ADMIN).await;
    let path = format!("/api/v1/sites/{}/enrollment-keys", acme::HQ.id);
    let minted = admin.post(&path, json!({ "expires_in_hours": 1 })).await.expect(201);
    let (command, secret) =
        (minted["install"]["linux"].as_str().unwrap(), minted["secret"].as_str().unwrap());
    assert!(minted["install"]["reason"].is_null(), "{minted}");
    assert!(command.contains(&sha256(script.as_bytes())), "{command}");
    assert!(command.contains(&format!("--site {}", acme::HQ.code)), "{command}");
    // By standard input: an argument is in the process list.
    assert!(command.starts_with(&format!("printf '%s\\n' '{secret}' | ")), "{command}");
    assert_eq!(command.matches(secret).count(), 1, "{command}");
    assert_eq!(admin.get("/api/v1/server").await.expect(200)["agent_available"], true);
}

#[tokio::test]
async fn without_an_agent_to_hand_out_there_is_a_reason_and_no_command() {
    let server = TestServer::start().await;
    for path in ["/install/linux.sh", "/install/agent/linux-x86_64"] {
        let problem = server.anonymous().get(path).await.expect_problem(404, "NOT_FOUND");
        assert!(problem["detail"].as_str().unwrap().contains("--agent-binary"), "{problem}");
    }
    let admin = server.client_as(&acme::ADMIN).await;
    let path = format!("/api/v1/sites/{}/enrollment-keys", acme::HQ.id);
    let minted = admin.post(&path, json!({ "expires_in_hours": 1 })).await.expect(201);
    assert!(minted["install"]["linux"].is_null(), "{minted}");
    assert!(minted["install"]["reason"].as_str().unwrap().contains("--agent-binary"), "{minted}");
    assert_eq!(admin.get("/api/v1/server").await.expect(200)["agent_available"], false);
}

#[tokio::test]
async fn a_package_is_handed_out_as_it_lies_there_and_nothing_else_is() {
    let (server, folder) = with_packages().await;
    let anyone = server.anonymous();
    let msi = anyone.get(&format!("/install/packages/{MSI}")).await;
    assert_eq!(msi.status, 200, "{msi}");
    assert!(msi.body.as_ref() == bytes_of(MSI));
    assert_eq!(msi.header("content-length"), Some(bytes_of(MSI).len().to_string().as_str()));
    assert_eq!(msi.header("content-type"), Some("application/x-msi"));
    assert_eq!(saved_as(&msi), MSI);
    std::fs::write(folder.path().join("secret.txt"), "not in the manifest").unwrap();
    for other in
        ["secret.txt", "manifest.json", "gururmm-server", "nothing.msi", "..%2fsecret.txt", "%2e%2e", "%00"]
    {
        let path = format!("/install/packages/{other}");
        anyone.get(&path).await.expect_problem(404, "NOT_FOUND");
    }
    // As long as before, and another file.
    let mut forged = bytes_of(MSI);
    forged[100_000] ^= 1;
    std::fs::write(folder.path().join(MSI), forged).unwrap();
    let path = format!("/install/packages/{MSI}");
    let problem = anyone.get(&path).await.expect_problem(404, "INSTALLER_MISSING");
    assert!(problem["detail"].as_str().unwrap().contains("./dev dist"), "{problem}");
}

#[tokio::test]
async fn every_download_of_an_installer_mints_a_token_of_its_own_and_leaves_the_bytes_alone() {
    let (server, _folder) = with_packages().await;
    let admin = server.client_as(&acme::ADMIN).await;
    let limits = json!({ "file": MSI, "expires_in_hours": 24, "max_uses": 3 });
    let mut keys = Vec::new();
    for file in [MSI, PKG] {
        let mut limits = limits.clone();
        limits["file"] = json!(file);
        let answer = admin.post(&installers(&acme::HQ), limits).await;
        assert_eq!(answer.status, 201, "{:?}", answer.headers);
        assert!(answer.body.as_ref() == bytes_of(file), "the bytes are everyone's");
        let saved = saved_as(&answer);
        let name = InstallerName::of_file_name(&saved).unwrap();
        logs::keep_secret(&name.site_key.enrollment_key);
        assert_eq!(name.server, server.app().config.public_url.origin().ascii_serialization());
        assert_eq!(name.site_key.site_code, acme::HQ.code);
        assert!(saved.ends_with(file.split_once('.').unwrap().1), "the extension stays");
        let id = answer.header("x-enrollment-key-id").unwrap().to_owned();
        keys.push((id, name.site_key.enrollment_key, file));
    }
    assert_ne!(keys[0].1, keys[1].1);
    let path = format!("/api/v1/sites/{}/enrollment-keys", acme::HQ.id);
    let listed = admin.get(&path).await.expect(200);
    for (id, secret, file) in &keys {
        let key = listed["items"].as_array().unwrap().iter().find(|key| key["id"] == json!(id)).unwrap();
        assert_eq!(
            (&key["max_uses"], &key["use_count"], &key["note"], &key["kind"], &key["last_used_at"]),
            (&json!(3), &json!(0), &json!(file), &json!("deployment"), &Value::Null)
        );
        assert!(key["expires_at"].is_string());
        let machine = crate::enroll::machine(
            &format!("of-{file}"),
            &format!("uid-of-{}", file.replace('.', "-")),
            "disk-1",
        );
        crate::enroll::enroll(&server, &acme::HQ, secret, &machine).await;
    }
    let listed = admin.get(&path).await.expect(200);
    assert!(
        listed["items"].as_array().unwrap().iter().all(|key| key["last_used_at"].is_string()),
        "{listed}"
    );
}

#[tokio::test]
async fn an_installer_that_cannot_be_had_mints_no_token_and_says_why() {
    let (server, folder) = with_packages().await;
    let admin = server.client_as(&acme::ADMIN).await;
    let ask =
        async |file: &str| admin.post(&installers(&acme::HQ), json!({ "file": file, "max_uses": 1 })).await;
    ask("nothing.msi").await.expect_problem(404, "NOT_FOUND");
    // It does not read its name: the token would be in it for nothing.
    ask(AGENT_AARCH64).await.expect_problem(422, "VALIDATION_FAILED");
    let limits = json!({ "file": MSI, "max_uses": 0 });
    admin.post(&installers(&acme::HQ), limits).await.expect_problem(422, "VALIDATION_FAILED");
    std::fs::remove_file(folder.path().join(MSI)).unwrap();
    ask(MSI).await.expect_problem(404, "INSTALLER_MISSING");
    let path = format!("/api/v1/sites/{}/enrollment-keys", acme::HQ.id);
    assert_eq!(admin.get(&path).await.expect(200)["total"], 0);
}

#[tokio::test]
async fn the_server_says_which_packages_it_has_and_why_it_lacks_the_others() {
    let (server, _folder) = with_folder(packages::lay_down_only(&[PKG, AGENT_AARCH64])).await;
    let info = server.client_as(&acme::READER).await.get("/api/v1/server").await.expect(200);
    let files: Vec<_> = info["packages"].as_array().unwrap().iter().map(|package| &package["file"]).collect();
    assert_eq!(files, [PKG, AGENT_AARCH64]);
    assert_eq!(info["packages"][0]["sha256"], json!(sha256(&bytes_of(PKG))));
    let missing = info["missing_packages"].as_array().unwrap();
    let kinds: Vec<_> = missing.iter().map(|missing| &missing["kind"]).collect();
    assert_eq!(kinds, ["msi", "deb", "rpm"]);
    assert!(missing[0]["reason"].as_str().unwrap().contains("no Windows installer"), "{info}");
}

#[tokio::test]
async fn the_one_line_command_fetches_the_agent_of_the_machines_processor() {
    let folder = packages::lay_down();
    let dist = folder.path().to_owned();
    let binary = folder.path().join("gururmm-agent");
    std::fs::write(&binary, BINARY).unwrap();
    let server = TestServer::start_with(TestDatabase::with_world().await, |options| {
        (options.dist, options.agent_binary) = (Some(dist), Some(binary));
    })
    .await;
    let script = server.anonymous().get("/install/linux.sh").await.text();
    assert!(script.contains(&format!("AGENT_SHA256_X86_64={}\n", sha256(BINARY))), "{script}");
    let aarch64 = bytes_of(AGENT_AARCH64);
    assert!(script.contains(&format!("AGENT_SHA256_AARCH64={}\n", sha256(&aarch64))), "{script}");
    let program = server.anonymous().get("/install/agent/linux-aarch64").await;
    assert!(program.status == 200 && program.body.as_ref() == aarch64);
    let server = with_folder(packages::lay_down_only(&[MSI])).await.0;
    for path in ["/install/linux.sh", "/install/agent/linux-aarch64"] {
        server.anonymous().get(path).await.expect_problem(404, "NOT_FOUND");
    }
}

/// Runs the installer for Linux as a machine would that has this processor: what it fetches comes from a folder, named
/// as the server's addresses end, and the agent is a program that notes how it was called.
async fn run_script(script: &str, processor: &str, served: &Path) -> (bool, String) {
    let machine = tempfile::tempdir().unwrap();
    let place = |name: &str| machine.path().join(name);
    std::fs::create_dir(place("bin")).unwrap();
    let quoted = |path: &Path| path.to_str().unwrap().to_owned();
    let state = quoted(&place("install"));
    let stand_ins = [
        ("uname", format!("case $1 in -s) echo Linux ;; -m) echo {processor} ;; *) echo pc-7 ;; esac")),
        ("id", "echo 0".to_owned()),
        ("mktemp", format!("mkdir {state} && echo {state}")),
        // The last argument is the address; `-o` names the file.
        (
            "curl",
            format!(
                "out=; while [ $# -gt 1 ]; do [ \"$1\" = -o ] && out=$2; shift; done
                 case $1 in */install-reports) cat >>{} ;; *) cp {}/\"${{1##*/}}\" \"$out\" ;; esac",
                quoted(&place("reports")),
                quoted(served)
            ),
        ),
    ];
    for (name, body) in stand_ins {
        let program = place("bin").join(name);
        std::fs::write(&program, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::fs::write(place("script"), script).unwrap();
    std::fs::write(place("key"), "gek_1_of-the-site\n").unwrap();
    let output = tokio::process::Command::new("sh")
        .arg(place("script"))
        .args(["--server", "https://rmm.example.com", "--site", "K7Q2M9XD"])
        .env("PATH", format!("{}:{}", quoted(&place("bin")), std::env::var("PATH").unwrap()))
        .env("CALLED", place("called"))
        .stdin(std::fs::File::open(place("key")).unwrap())
        .output()
        .await
        .unwrap();
    assert!(!place("install").exists(), "it leaves its folder behind");
    let read = |name: &str| std::fs::read_to_string(place(name)).unwrap_or_default();
    (output.status.success(), format!("{}{}", read("called"), read("reports")))
}

#[tokio::test]
async fn the_linux_installer_runs_the_agent_of_its_processor_and_reports_what_is_in_the_way() {
    let served = tempfile::tempdir().unwrap();
    for arch in ["x86_64", "aarch64"] {
        let agent = format!("#!/bin/sh\necho \"{arch}: $*\" >\"$CALLED\"\n");
        std::fs::write(served.path().join(format!("linux-{arch}")), agent).unwrap();
    }
    let checksum = |arch: &str| sha256(&std::fs::read(served.path().join(format!("linux-{arch}"))).unwrap());
    // As the server writes it, which `the_one_line_command_…` sees.
    let template = include_str!("../../src/install/linux.sh");
    let script = template
        .replace("@AGENT_SHA256_X86_64@", &checksum("x86_64"))
        .replace("@AGENT_SHA256_AARCH64@", &checksum("aarch64"));
    for (processor, arch) in [("x86_64", "x86_64"), ("aarch64", "aarch64"), ("arm64", "aarch64")] {
        let (done, told) = run_script(&script, processor, served.path()).await;
        assert!(done, "{processor}: {told}");
        let expected =
            format!("{arch}: install --server https://rmm.example.com --site K7Q2M9XD --key-file ");
        assert!(told.starts_with(&expected), "{processor}: {told}");
    }
    let (done, told) = run_script(&script, "riscv64", served.path()).await;
    assert!(!done && told.contains("there is no agent for riscv64"), "{told}");
    assert!(told.contains(r#""site_code":"K7Q2M9XD","stage":"requirements""#), "{told}");
    let without =
        template.replace("@AGENT_SHA256_X86_64@", &checksum("x86_64")).replace("@AGENT_SHA256_AARCH64@", "");
    let (done, told) = run_script(&without, "aarch64", served.path()).await;
    assert!(!done && told.contains("this server has no agent for aarch64"), "{told}");
    // Another program than the one that was promised is not run.
    std::fs::write(served.path().join("linux-x86_64"), "#!/bin/sh\necho forged >\"$CALLED\"\n").unwrap();
    let (done, told) = run_script(&script, "x86_64", served.path()).await;
    assert!(!done && told.contains(r#""stage":"verify""#) && !told.contains("forged"), "{told}");
}

#[tokio::test]
async fn packages_in_the_data_folder_are_handed_out_without_being_named() {
    let server = TestServer::start().await;
    let anyone = server.anonymous();
    let path = format!("/install/packages/{MSI}");
    anyone.get(&path).await.expect_problem(404, "NOT_FOUND");
    let laid = packages::lay_down();
    let dist = server.app().config.data_dir.join("dist");
    std::fs::create_dir(&dist).unwrap();
    for entry in std::fs::read_dir(laid.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), dist.join(entry.file_name())).unwrap();
    }
    // It came while the server runs: nobody has to start it anew.
    let msi = anyone.get(&path).await;
    assert!(msi.status == 200 && msi.body.as_ref() == bytes_of(MSI), "{}", msi.status);
}

#[tokio::test]
async fn a_sites_reports_are_listed_to_the_last_one_and_an_address_is_limited_apart() {
    let server = TestServer::start().await;
    for number in 0..25 {
        let report =
            json!({ "site_code": acme::HQ.code, "stage": "install", "error": format!("number {number}") });
        server.anonymous().post("/api/install-reports", report).await.expect(202);
    }
    let reader = server.client_as(&acme::READER).await;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/sites/{}/install-reports?limit=10{cursor}", acme::HQ.id);
        let page = reader.get(&path).await.expect(200);
        assert_eq!(page["total"], 25);
        seen.extend(page["items"].as_array().unwrap().iter().map(|report| report["error"].to_string()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let expected: Vec<String> = (0..25).rev().map(|number| format!("\"number {number}\"")).collect();
    assert_eq!(seen, expected);
    // Who is beyond the limit keeps nobody else from reporting.
    let report = json!({ "site_code": acme::LAB.code, "stage": "install", "error": "again" });
    let loud = server.anonymous();
    let mut last = loud.post("/api/install-reports", report.clone()).await;
    for _ in 0..30 {
        last = loud.post("/api/install-reports", report.clone()).await;
    }
    last.expect_problem(429, "RATE_LIMITED");
    assert!(last.header("retry-after").is_some());
    server.anonymous().post("/api/install-reports", report).await.expect(202);
}

#[tokio::test]
async fn an_installers_report_stands_beside_its_site() {
    let server = TestServer::start().await;
    let report = |site_code: &str, stage: &str| {
        json!({ "site_code": site_code, "stage": stage, "error": "no space left\u{0}on device", "hostname": "pc-7",
                "os_type": "linux" })
    };
    let machine = server.anonymous();
    for stage in ["download", "install"] {
        machine.post("/api/install-reports", report(acme::HQ.code, stage)).await.expect(202);
    }
    // Nobody learns which sites there are.
    for unknown in ["NOSUCHST", "", "'; DROP TABLE sites; --"] {
        machine.post("/api/install-reports", report(unknown, "install")).await.expect(202);
    }
    machine
        .post("/api/install-reports", report(acme::HQ.code, " "))
        .await
        .expect_problem(422, "VALIDATION_FAILED");

    let path = format!("/api/v1/sites/{}/install-reports", acme::HQ.id);
    let reports = server.client_as(&acme::READER).await.get(&path).await.expect(200);
    let stages: Vec<_> = reports["items"].as_array().unwrap().iter().map(|report| &report["stage"]).collect();
    assert_eq!(stages, ["install", "download"], "newest first, and none of the unknown sites'");
    let newest = &reports["items"][0];
    assert_eq!((&newest["error"], &newest["hostname"]), (&json!("no space lefton device"), &json!("pc-7")));
    assert!(newest["ip"].as_str().unwrap().starts_with("127."), "{newest}");
    server.client_as(&globex::OWNER).await.get(&path).await.expect_problem(404, "NOT_FOUND");
    server.client_as(&acme::BETA_TECH).await.get(&path).await.expect_problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn reports_are_limited_by_address_and_by_site() {
    let server = TestServer::start().await;
    let body = json!({ "site_code": acme::HQ.code, "stage": "install", "error": "again" });
    let one = server.anonymous();
    let mut refused = 0;
    for _ in 0..200 {
        let answer = one.post("/api/install-reports", body.clone()).await;
        match answer.status.as_u16() {
            202 => {}
            429 => refused += 1,
            _ => panic!("{answer}"),
        }
    }
    assert!(refused > 0, "one address is never refused");
    for _ in 0..200 {
        server.anonymous().post("/api/install-reports", body.clone()).await.expect(202);
    }
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM install_reports")
        .fetch_one(&mut server.owner().await)
        .await
        .unwrap();
    assert!(kept < 200, "{kept} of 400 were kept");
}
