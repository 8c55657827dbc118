//! Storage appliances, by the files their makers put there.

use super::{setting, text};
use gururmm_protocol::virtualization::{Appliance, ApplianceKind};
use std::path::Path;

pub(super) fn find(root: &Path) -> Option<Appliance> {
    let read = |path: &str| text(&root.join(path));
    let appliance =
        |kind, model: Option<String>, version: Option<String>| Some(Appliance { kind, model, version });
    if let Some(info) = read("etc/synoinfo.conf")
        .filter(|info| setting(info, "upnpmodelname").is_some() || info.contains("synology"))
    {
        let version = read("etc.defaults/VERSION").unwrap_or_default();
        let product =
            setting(&version, "productversion").map(|number| match setting(&version, "buildnumber") {
                Some(build) => format!("DSM {number}-{build}"),
                None => format!("DSM {number}"),
            });
        return appliance(ApplianceKind::Synology, setting(&info, "upnpmodelname"), product);
    }
    if let Some(config) = read("etc/config/uLinux.conf") {
        let version = setting(&config, "Version").map(|number| format!("QTS {number}"));
        return appliance(ApplianceKind::Qnap, setting(&config, "Model"), version);
    }
    if let Some(version) = read("etc/unraid-version") {
        return appliance(
            ApplianceKind::Unraid,
            None,
            setting(&version, "version").map(|number| format!("Unraid {number}")),
        );
    }
    let version = read("etc/version").map(|version| version.trim().to_owned()).unwrap_or_default();
    if version.starts_with("TrueNAS") || root.join("data/freenas-v1.db").exists() {
        return appliance(ApplianceKind::Truenas, None, Some(version).filter(|version| !version.is_empty()));
    }
    if root.join("etc/openmediavault/config.xml").exists() {
        return appliance(ApplianceKind::Openmediavault, None, None);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::tests::Root;
    use super::*;

    #[test]
    fn appliances_are_known_by_their_makers_files() {
        for (files, expected) in [
            (
                &[
                    ("etc/synoinfo.conf", "company_title=\"Synology\"\nupnpmodelname=\"DS920+\"\n"),
                    (
                        "etc.defaults/VERSION",
                        "majorversion=\"7\"\nproductversion=\"7.2.1\"\nbuildnumber=\"69057\"\n",
                    ),
                ][..],
                (ApplianceKind::Synology, Some("DS920+"), Some("DSM 7.2.1-69057")),
            ),
            (
                &[("etc/config/uLinux.conf", "[System]\nModel = TS-453D\nVersion = 5.1.0\n")],
                (ApplianceKind::Qnap, Some("TS-453D"), Some("QTS 5.1.0")),
            ),
            (
                &[("etc/unraid-version", "version=\"6.12.4\"\n")],
                (ApplianceKind::Unraid, None, Some("Unraid 6.12.4")),
            ),
            (
                &[("etc/version", "TrueNAS-SCALE-24.10.1\n")],
                (ApplianceKind::Truenas, None, Some("TrueNAS-SCALE-24.10.1")),
            ),
            (
                &[("data/freenas-v1.db", ""), ("etc/version", "24.10.1\n")],
                (ApplianceKind::Truenas, None, Some("24.10.1")),
            ),
            (&[("etc/openmediavault/config.xml", "")], (ApplianceKind::Openmediavault, None, None)),
        ] {
            let found = find(Root::new(files).path()).unwrap();
            assert_eq!((found.kind, found.model.as_deref(), found.version.as_deref()), expected);
        }
        let ordinary = Root::new(&[("etc/version", "12.5\n"), ("etc/synoinfo.conf", "\n")]);
        assert_eq!(find(ordinary.path()), None);
    }
}
