//! Whether the agent runs in a container, and whose.

use super::text;
use gururmm_protocol::virtualization::Container;
use std::path::Path;

/// By what containers are given on purpose, then by the control group their first process stands in.
pub(super) fn find(root: &Path) -> Option<Container> {
    let environment = text(&root.join("proc/1/environ")).unwrap_or_default();
    let variable =
        |name: &str| environment.split('\0').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let is_there = |path: &str| root.join(path).exists();
    if variable("KUBERNETES_SERVICE_HOST").is_some()
        || is_there("var/run/secrets/kubernetes.io/serviceaccount")
    {
        return Some(Container::Kubernetes);
    }
    // systemd hands on what it was told by whoever started it.
    let told = text(&root.join("run/systemd/container"));
    let named = told.as_deref().map(str::trim).or_else(|| variable("container"));
    if let Some(name) = named.filter(|name| !name.is_empty()) {
        return Some(by_name(name));
    }
    if is_there("run/.containerenv") {
        return Some(Container::Podman);
    }
    if is_there(".dockerenv") {
        return Some(Container::Docker);
    }
    // OpenVZ's hosts have the second, too.
    if is_there("proc/vz") && !is_there("proc/bc") {
        return Some(Container::Openvz);
    }
    by_control_group(&text(&root.join("proc/1/cgroup")).unwrap_or_default())
}

fn by_name(name: &str) -> Container {
    match name {
        "docker" => Container::Docker,
        "podman" => Container::Podman,
        "systemd-nspawn" => Container::SystemdNspawn,
        "openvz" => Container::Openvz,
        name if name.starts_with("lxc") => Container::Lxc,
        _ => Container::Other,
    }
}

fn by_control_group(groups: &str) -> Option<Container> {
    let is_in = |part: &str| groups.lines().any(|line| line.contains(part));
    if is_in("/kubepods") {
        Some(Container::Kubernetes)
    } else if is_in("/libpod") {
        Some(Container::Podman)
    } else if is_in("/docker") {
        Some(Container::Docker)
    } else if is_in("/lxc") {
        Some(Container::Lxc)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Root;
    use super::*;

    #[test]
    fn containers_are_known_by_what_they_are_given() {
        for (files, expected) in [
            (&[(".dockerenv", "")][..], Some(Container::Docker)),
            (
                &[("run/.containerenv", "engine=\"podman-4.3\"\n"), (".dockerenv", "")],
                Some(Container::Podman),
            ),
            (&[("proc/1/environ", "PATH=/bin\0container=lxc\0")], Some(Container::Lxc)),
            (&[("proc/1/environ", "container=lxc-libvirt\0")], Some(Container::Lxc)),
            (&[("run/systemd/container", "systemd-nspawn\n")], Some(Container::SystemdNspawn)),
            (&[("run/systemd/container", "something-new\n")], Some(Container::Other)),
            (
                &[(".dockerenv", ""), ("proc/1/environ", "A=1\0KUBERNETES_SERVICE_HOST=192.0.2.1\0")],
                Some(Container::Kubernetes),
            ),
            (&[("var/run/secrets/kubernetes.io/serviceaccount/token", "x")], Some(Container::Kubernetes)),
            (&[("proc/1/cgroup", "12:cpu:/kubepods/burstable/pod1/abc\n")], Some(Container::Kubernetes)),
            (
                &[("proc/1/cgroup", "0::/system.slice/docker.service\n1:name=systemd:/docker/0123\n")],
                Some(Container::Docker),
            ),
            (&[("proc/1/cgroup", "1:name=systemd:/libpod_parent/libpod-0123\n")], Some(Container::Podman)),
            (&[("proc/1/cgroup", "1:name=systemd:/lxc/101\n")], Some(Container::Lxc)),
            (&[("proc/vz/veinfo", "")], Some(Container::Openvz)),
            (&[("proc/vz/veinfo", ""), ("proc/bc/0/resources", "")], None),
        ] {
            assert_eq!(find(Root::new(files).path()), expected, "{files:?}");
        }
    }

    #[test]
    fn an_ordinary_machine_is_no_container_though_it_runs_some() {
        let root = Root::new(&[
            ("proc/1/environ", "PATH=/bin\0TERM=linux\0notcontainer=docker\0"),
            ("proc/1/cgroup", "0::/init.scope\n"),
            ("run/systemd/container", "\n"),
            ("var/lib/docker/x", ""),
        ]);
        assert_eq!(find(root.path()), None);
    }
}
