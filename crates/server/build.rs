//! Builds again when a migration or the dashboard's build comes or goes: both are put into the binary.

fn main() {
    // A path that is not there would mean to build again every time.
    for path in ["migrations", "../../dashboard/dist"] {
        if std::path::Path::new(path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
}
