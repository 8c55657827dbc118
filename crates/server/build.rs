//! Builds again when a migration comes or goes, or the dashboard's build, which a release carries in its binary.

use std::path::Path;

const DASHBOARD: &str = "../../dashboard/dist";

fn main() -> std::io::Result<()> {
    println!("cargo:rerun-if-changed=migrations");
    // A debug build reads the files when they are asked for, but only from a folder that was there when it was made.
    if !Path::new(DASHBOARD).exists() {
        std::fs::create_dir_all(DASHBOARD)?;
    }
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo:rerun-if-changed={DASHBOARD}");
    }
    Ok(())
}
