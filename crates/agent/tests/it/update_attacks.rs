//! Whoever holds the server, the line, or old metadata tries to have a program run that is not meant to. Each attack is
//! refused, leaves nothing behind, and the next honest update succeeds.

use crate::harness::*;
use chrono::{TimeDelta, Utc};
use gururmm_agent::clock::ServerClock;
use gururmm_agent::http::Credential;
use gururmm_agent::identity::Secret;
use gururmm_agent::state::StateDir;
use gururmm_agent::transport::Connector;
use gururmm_agent::update::UpdateError;
use gururmm_agent::update::fetch::{Source, check_order, download_verified};
use gururmm_agent::update::ledger::{Build, Ledger};
use gururmm_agent::update::programs::Programs;
use gururmm_protocol::update::{UpdateAction, UpdateOrder};
use gururmm_protocol::{AgentId, UpdateId};
use gururmm_testkit::repository::{Release, Repository};
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use tough::schema::RoleType;

/// An agent that has made one honest update, to 1.0.0.
struct Target {
    dir: TempDir,
    server: TestServer,
    repository: Repository,
    source: Source,
}

fn order(version: &str) -> UpdateOrder {
    UpdateOrder {
        update_id: UpdateId::new(),
        action: UpdateAction::Install,
        version: version.into(),
        channel: "stable".into(),
        valid_until: Utc::now() + TimeDelta::hours(1),
        at_once: false,
    }
}

/// Of the same length whatever the version, so that a changed one is not found by its length.
fn program(version: &str) -> Vec<u8> {
    format!("program {version:>16}").into_bytes()
}

impl Target {
    async fn new() -> Self {
        let (dir, server) = (tempfile::tempdir().unwrap(), TestServer::start().await);
        let mut repository = Repository::create(&dir.path().join("updates"));
        repository.publish(Release::here("1.0.0", program("1.0.0"))).write();
        server.updates.lock().unwrap().folder = dir.path().join("updates");
        let state = StateDir::create(&dir.path().join("state")).unwrap();
        fs::create_dir(dir.path().join("program")).unwrap();
        let clock = Arc::new(ServerClock::default());
        let source = Source {
            connector: Connector::new(server.url.parse().unwrap(), None, Arc::clone(&clock)).unwrap(),
            credential: Credential { agent_id: AgentId::new(), key: Secret::new(KEY.into()) },
            root: Arc::new(repository.root_json()),
            ledger: Ledger::open(&state).unwrap(),
            programs: Programs::open(&dir.path().join("program")).unwrap(),
            clock,
        };
        let target = Self { dir, server, repository, source };
        target.update("1.0.0").await.unwrap();
        target
    }

    async fn update(&self, version: &str) -> Result<Build, UpdateError> {
        let build = download_verified(self.source.clone(), &order(version)).await?;
        let mut bytes = Vec::new();
        self.source.programs.open_verified(&build).unwrap().file.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, program(version));
        Ok(build)
    }

    /// 1.1.0 is published; not written yet, so that it can be bent.
    fn publish(&mut self) -> &mut Repository {
        self.repository.publish(Release::here("1.1.0", program("1.1.0")))
    }

    fn name() -> String {
        Release::here("1.1.0", "").target_name()
    }

    fn instead(&self, name: &str, reply: Reply) {
        self.server.updates.lock().unwrap().instead.insert(name.into(), reply);
    }

    fn versions(&self) -> PathBuf {
        self.dir.path().join("program/versions")
    }

    async fn is_refused(&self, code: &str) {
        let refused = self.update("1.1.0").await.expect_err("the attack is not noticed");
        assert_eq!(refused.code, code, "{refused}");
        let program = self.versions().join("1.1.0/gururmm-agent");
        assert!(!program.exists(), "a refused program stands in its place");
    }

    /// The attack is over: what is published next is taken.
    async fn recovers(mut self) {
        self.server.updates.lock().unwrap().instead.clear();
        let fresh = Utc::now() + TimeDelta::days(90);
        for role in
            [&mut self.repository.targets, &mut self.repository.snapshot, &mut self.repository.timestamp]
        {
            role.expires = fresh;
        }
        self.repository.publish(Release::here("1.2.0", program("1.2.0"))).write();
        self.update("1.2.0").await.expect("the next honest update");
    }

    /// A file of the metadata as it is now.
    fn metadata(&self, role: RoleType) -> (String, Vec<u8>) {
        let path = self.repository.metadata_path(role);
        (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())
    }
}

const ONLINE_ROLES: [RoleType; 3] = [RoleType::Targets, RoleType::Snapshot, RoleType::Timestamp];

#[tokio::test]
async fn an_old_timestamp_is_no_news() {
    let mut target = Target::new().await;
    let (name, old) = target.metadata(RoleType::Timestamp);
    target.publish().write();
    target.update("1.1.0").await.unwrap();
    target.repository.publish(Release::here("1.1.1", program("1.1.1"))).write();
    target.instead(&name, Reply::Bytes(old));
    assert_eq!(target.update("1.1.1").await.unwrap_err().code, "METADATA_ROLLED_BACK");
    target.recovers().await;
}

#[tokio::test]
async fn a_new_timestamp_does_not_bring_an_old_snapshot() {
    let mut target = Target::new().await;
    target.publish().write();
    target.update("1.0.0").await.unwrap();
    // Signed by the real keys: whoever has the timestamp's key alone may not go back either.
    target.repository.snapshot.version -= 1;
    target.repository.timestamp.version += 1;
    target.repository.write();
    target.is_refused("METADATA_ROLLED_BACK").await;
    target.repository.snapshot.version += 1;
    target.recovers().await;
}

#[tokio::test]
async fn a_new_snapshot_does_not_bring_old_targets() {
    let mut target = Target::new().await;
    target.publish().write();
    target.update("1.0.0").await.unwrap();
    target.repository.targets.version -= 1;
    target.repository.snapshot.version += 1;
    target.repository.timestamp.version += 1;
    target.repository.write();
    target.is_refused("METADATA_ROLLED_BACK").await;
    target.repository.targets.version += 1;
    target.recovers().await;
}

/// The timestamp's old key was stolen, so a new root took it away. Who hides that root, and signs with the old key, is
/// not believed by an agent that has seen it.
#[tokio::test]
async fn a_root_that_was_followed_is_not_forgotten() {
    let mut target = Target::new().await;
    let (name, old) = target.metadata(RoleType::Timestamp);
    let (old_snapshot_name, old_snapshot) = target.metadata(RoleType::Snapshot);
    target.repository.rotate_timestamp().write();
    target.update("1.0.0").await.unwrap();
    target.publish().write();
    target.instead("2.root.json", Reply::NotFound);
    target.instead(&name, Reply::Bytes(old));
    target.instead(&old_snapshot_name, Reply::Bytes(old_snapshot));
    target.is_refused("METADATA_INVALID").await;
    target.recovers().await;
}

#[tokio::test]
async fn expired_metadata_of_any_role_is_refused() {
    for role in ONLINE_ROLES {
        let mut target = Target::new().await;
        let repository = target.publish();
        let facts = match role {
            RoleType::Targets => &mut repository.targets,
            RoleType::Snapshot => &mut repository.snapshot,
            _ => &mut repository.timestamp,
        };
        facts.expires = Utc::now() - TimeDelta::minutes(1);
        repository.write();
        target.is_refused("METADATA_EXPIRED").await;
        target.recovers().await;
    }
}

#[tokio::test]
async fn an_expired_root_is_refused_until_there_is_a_new_one() {
    let mut target = Target::new().await;
    let repository = target.publish();
    repository.root.expires = Utc::now() - TimeDelta::minutes(1);
    repository.renew_root().write();
    target.is_refused("METADATA_EXPIRED").await;
    target.repository.root.expires = Utc::now() + TimeDelta::days(90);
    target.repository.renew_root();
    target.recovers().await;
}

/// Metadata that stays as it is for ever: it expires, as above. Metadata whose version was driven up by a stolen key
/// cannot be overtaken; a new root with a new key ends that.
#[tokio::test]
async fn versions_driven_up_by_a_stolen_key_are_forgotten_with_the_key() {
    let mut target = Target::new().await;
    target.repository.timestamp.version = u64::from(u32::MAX);
    target.repository.write();
    target.update("1.0.0").await.unwrap();
    target.repository.timestamp.version = 5;
    target.publish().write();
    target.is_refused("METADATA_ROLLED_BACK").await;
    target.repository.rotate_timestamp();
    target.recovers().await;
}

#[tokio::test]
async fn roles_of_different_times_do_not_go_together() {
    for role in [RoleType::Targets, RoleType::Snapshot] {
        let mut target = Target::new().await;
        let (_, old) = target.metadata(role);
        target.publish().write();
        let (name, _) = target.metadata(role);
        target.instead(&name, Reply::Bytes(old));
        target.is_refused("PROGRAM_DIFFERS").await;
        target.recovers().await;
    }
}

#[tokio::test]
async fn data_without_end_ends() {
    let mut target = Target::new().await;
    target.publish().write();
    let names = ONLINE_ROLES.map(|role| target.metadata(role).0);
    let program = target.repository.target_path(&Target::name());
    let program = program.file_name().unwrap().to_str().unwrap().to_owned();
    for name in names.iter().map(String::as_str).chain(["2.root.json", &program]) {
        target.instead(name, Reply::Endless);
        target.is_refused("TOO_LARGE").await;
        target.server.updates.lock().unwrap().instead.clear();
    }
    target.recovers().await;
}

#[tokio::test]
async fn data_that_is_cut_short_is_not_taken() {
    let mut target = Target::new().await;
    target.publish().write();
    let mut names = ONLINE_ROLES.map(|role| target.repository.metadata_path(role)).to_vec();
    names.push(target.repository.target_path(&Target::name()));
    for path in names {
        let bytes = fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        target.instead(name, Reply::CutShort(bytes[..bytes.len() - 1].to_vec()));
        let refused = target.update("1.1.0").await.unwrap_err();
        assert!(["NOT_FETCHED", "METADATA_INVALID"].contains(&refused.code), "{name}: {refused:?}");
        // And one that says that it is shorter.
        target.instead(name, Reply::Bytes(bytes[..bytes.len() - 1].to_vec()));
        let refused = target.update("1.1.0").await.unwrap_err();
        assert!(["PROGRAM_DIFFERS", "METADATA_INVALID"].contains(&refused.code), "{name}: {refused:?}");
        target.server.updates.lock().unwrap().instead.clear();
    }
    target.recovers().await;
}

#[tokio::test]
async fn what_is_missing_is_not_replaced_by_anything() {
    let mut target = Target::new().await;
    target.publish().write();
    let mut names = ONLINE_ROLES.map(|role| target.repository.metadata_path(role)).to_vec();
    names.push(target.repository.target_path(&Target::name()));
    for path in names {
        target.instead(path.file_name().unwrap().to_str().unwrap(), Reply::NotFound);
        target.is_refused("NOT_FETCHED").await;
        target.server.updates.lock().unwrap().instead.clear();
    }
    target.recovers().await;
}

#[tokio::test]
async fn a_program_with_other_bytes_is_refused() {
    let mut target = Target::new().await;
    target.publish();
    target.repository.entry_mut(&Target::name()).bytes = program("6.6.6");
    target.repository.write();
    target.is_refused("PROGRAM_DIFFERS").await;
    target.recovers().await;
}

#[tokio::test]
async fn a_program_that_is_longer_than_signed_is_refused() {
    let mut target = Target::new().await;
    target.publish();
    target.repository.entry_mut(&Target::name()).bytes.push(b'!');
    target.repository.write();
    target.is_refused("TOO_LARGE").await;
    target.recovers().await;
}

#[tokio::test]
async fn a_key_of_nobody_signs_nothing() {
    for role in ONLINE_ROLES {
        let mut target = Target::new().await;
        target.publish().forge(role).write();
        target.is_refused("METADATA_INVALID").await;
        // The forged key is the repository's now: a new root makes it a real one.
        target.repository.renew_root();
        target.recovers().await;
    }
}

#[tokio::test]
async fn a_root_that_the_one_before_did_not_sign_is_not_followed() {
    let mut target = Target::new().await;
    target.publish().usurp_root().write();
    target.is_refused("METADATA_INVALID").await;
    fs::remove_file(target.repository.metadata_path(RoleType::Root)).unwrap();
    let mut honest = Target::new().await;
    honest.publish().rotate_root().write();
    honest.update("1.1.0").await.unwrap();
    honest.recovers().await;
}

#[tokio::test]
async fn one_of_three_keys_is_no_root() {
    let mut target = Target::new().await;
    target.publish();
    target.repository.root_signatures = 1;
    target.repository.renew_root().write();
    target.is_refused("METADATA_INVALID").await;
}

/// The same signature twice is still one.
#[tokio::test]
async fn a_signature_counts_once() {
    let mut target = Target::new().await;
    target.publish();
    target.repository.root_signatures = 1;
    target.repository.renew_root().write();
    let (name, root) = target.metadata(RoleType::Root);
    let mut root: serde_json::Value = serde_json::from_slice(&root).unwrap();
    let signature = root["signatures"][0].clone();
    root["signatures"].as_array_mut().unwrap().push(signature);
    target.instead(&name, Reply::Bytes(serde_json::to_vec(&root).unwrap()));
    target.is_refused("METADATA_INVALID").await;
}

#[tokio::test]
async fn no_version_of_the_root_is_skipped() {
    let mut target = Target::new().await;
    target.publish().renew_root().renew_root().write();
    let (_, third) = target.metadata(RoleType::Root);
    target.instead("2.root.json", Reply::Bytes(third));
    target.is_refused("METADATA_ROLLED_BACK").await;
    target.recovers().await;
}

#[tokio::test]
async fn a_build_of_another_channel_system_or_version_is_not_taken_under_this_name() {
    let bent = [
        Release::here("1.1.0", program("1.1.0")).in_channels(&["beta"]),
        Release::here("1.1.0", program("1.1.0")).for_system("windows", std::env::consts::ARCH),
        Release::here("1.1.0", program("1.1.0")).for_system("linux", "riscv64"),
        Release::here("1.0.1", program("1.1.0")),
    ];
    for release in bent {
        let mut target = Target::new().await;
        target.repository.publish_as(&Target::name(), release).write();
        target.is_refused("NOT_MEANT_FOR_THIS").await;
        target.recovers().await;
    }
    let mut target = Target::new().await;
    target.publish();
    target.repository.entry_mut(&Target::name()).custom["product"] = "something-else".into();
    target.repository.write();
    target.is_refused("NOT_MEANT_FOR_THIS").await;
    target.recovers().await;
}

#[tokio::test]
async fn what_is_not_in_the_metadata_does_not_exist() {
    let target = Target::new().await;
    target.is_refused("NOT_PUBLISHED").await;
    for version in ["../../etc/passwd", "1.1.0/../../x", "", "1.1.0\0"] {
        let refused = download_verified(target.source.clone(), &order(version)).await.unwrap_err();
        assert_eq!(refused.code, "NOT_PUBLISHED", "{version}");
    }
    target.recovers().await;
}

#[test]
fn an_order_to_an_older_version_or_of_another_day_is_not_followed() {
    let own = "1.1.0".parse().unwrap();
    let code = |order: &UpdateOrder| check_order(order, &own, Utc::now()).map_err(|error| error.code);
    assert_eq!(code(&order("1.2.0")), Ok(()));
    assert_eq!(code(&order("1.1.0")), Err("NOT_NEWER"));
    assert_eq!(code(&order("1.0.9")), Err("NOT_NEWER"));
    assert_eq!(code(&order("1.1.0-beta.1")), Err("NOT_NEWER"));
    let late = UpdateOrder { valid_until: Utc::now() - TimeDelta::seconds(1), ..order("1.2.0") };
    assert_eq!(code(&late), Err("ORDER_EXPIRED"));
    assert_eq!(code(&order("../1.2.0")), Err("INVALID_VERSION"));
}

/// Links are planted wherever a path is touched: a file outside stays as it is, and none is run.
#[tokio::test]
async fn planted_links_lead_nowhere() {
    use std::os::unix::fs::symlink;
    let mut target = Target::new().await;
    target.publish().write();
    let outside = target.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("gururmm-agent"), "somebody's own").unwrap();
    let versions = target.versions();
    let plants: [fn(&std::path::Path, &std::path::Path); 3] = [
        |versions, outside| symlink(outside, versions.join(".incoming")).unwrap(),
        |versions, outside| symlink(outside, versions.join("1.1.0")).unwrap(),
        |versions, outside| {
            fs::create_dir(versions.join("1.1.0")).unwrap();
            symlink(outside.join("gururmm-agent"), versions.join("1.1.0/gururmm-agent")).unwrap();
        },
    ];
    for plant in plants {
        plant(&versions, &outside);
        let build = target.update("1.1.0").await.unwrap();
        assert_eq!(fs::read_to_string(outside.join("gururmm-agent")).unwrap(), "somebody's own");
        assert!(!fs::symlink_metadata(versions.join("1.1.0")).unwrap().is_symlink());
        target.source.programs.open_verified(&build).unwrap();
        fs::remove_dir_all(versions.join("1.1.0")).unwrap();
    }
    // A link in place of the folder of all versions is not even looked into.
    fs::rename(&versions, target.dir.path().join("program/before")).unwrap();
    symlink(&outside, &versions).unwrap();
    let refused = target.update("1.1.0").await.unwrap_err();
    assert_eq!(refused.code, "DISK", "{refused}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

/// Between check and use the file is replaced, again and again: what is started is what was checked.
#[tokio::test]
async fn a_program_that_is_replaced_after_the_check_is_not_what_runs() {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicBool, Ordering};
    let mut target = Target::new().await;
    let honest = fs::read("/bin/true").unwrap();
    target.repository.publish(Release::here("1.1.0", honest)).write();
    let build = download_verified(target.source.clone(), &order("1.1.0")).await.unwrap();
    let path = target.source.programs.path("1.1.0");
    let (evil, kept, beside) =
        (path.with_file_name("evil"), path.with_file_name("kept"), path.with_file_name("beside"));
    let mark = target.dir.path().join("evil-ran");
    // Of the same length: only its bytes tell.
    let mut script = format!("#!/bin/sh\ntouch {}\nexit\n", mark.display()).into_bytes();
    script.resize(fs::metadata(&path).unwrap().len() as usize, b'#');
    fs::write(&evil, script).unwrap();
    fs::set_permissions(&evil, fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(&path, &kept).unwrap();

    struct AtEnd<'a>(&'a AtomicBool);
    impl Drop for AtEnd<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let over = AtomicBool::new(false);
    let (ran, refused) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for source in [&evil, &kept] {
                    fs::hard_link(source, &beside).unwrap();
                    fs::rename(&beside, &path).unwrap();
                    // A link to the very same file is left by a rename.
                    let _ = fs::remove_file(&beside);
                }
            }
        });
        let _over = AtEnd(&over);
        let (mut ran, mut refused) = (0, 0);
        for _ in 0..400 {
            match target.source.programs.open_verified(&build) {
                Ok(opened) => {
                    let program = gururmm_agent::os::executable(&opened.file, &opened.path).unwrap();
                    assert!(std::process::Command::new(program).status().unwrap().success());
                    ran += 1;
                }
                Err(error) => {
                    assert!(["PROGRAM_DIFFERS", "PROGRAM_UNREADABLE"].contains(&error.code), "{error}");
                    refused += 1;
                }
            }
        }
        (ran, refused)
    });
    assert!(ran > 0 && refused > 0, "the race was none: {ran} ran, {refused} refused");
    assert!(!mark.exists(), "a program that was not checked has run");
}
