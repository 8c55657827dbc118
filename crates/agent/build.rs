//! Puts the roots of the update metadata into the program, where `GURURMM_UPDATE_ROOT` names their file.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(gururmm_update_root)");
    println!("cargo::rerun-if-env-changed=GURURMM_UPDATE_ROOT");
    if let Some(path) = std::env::var_os("GURURMM_UPDATE_ROOT") {
        println!("cargo::rerun-if-changed={}", path.display());
        println!("cargo::rustc-cfg=gururmm_update_root");
    }
}
