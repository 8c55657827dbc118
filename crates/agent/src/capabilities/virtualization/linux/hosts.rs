//! The virtual machines that this machine hosts: by Proxmox VE's or libvirt's files, else by QEMU's processes.

use super::super::verdict::Kernel;
use super::{MAX_ENTRIES, files_with, text, uuid};
use gururmm_protocol::virtualization::{HostKind, HostedMachine, VmHost};
use std::fs;
use std::path::Path;

const PROXMOX: &str = "etc/pve/qemu-server";
const LIBVIRT: &str = "etc/libvirt/qemu";
const LIBVIRT_RUNNING: &str = "run/libvirt/qemu";

/// What is hosted here; nothing where no virtual machine is known of and no hypervisor managed.
pub(super) fn find(root: &Path, kernel: Option<Kernel>, is_hyper_v_root: bool) -> Option<VmHost> {
    if let Some(machines) = proxmox(root) {
        return Some(listed(HostKind::Proxmox, machines));
    }
    match libvirt(root) {
        Ok(machines) if machines.is_empty() => {}
        Ok(machines) => return Some(listed(HostKind::Libvirt, machines)),
        Err(why) => return Some(unlisted(HostKind::Libvirt, why)),
    }
    if kernel == Some(Kernel::XenDomain0) {
        return Some(unlisted(HostKind::Xen, "the agent does not read Xen's store"));
    }
    // Linux itself can manage Hyper-V; what it hosts only that service knows.
    if is_hyper_v_root {
        return Some(unlisted(HostKind::HyperV, "on Linux nothing tells the agent of them"));
    }
    let machines = qemu_processes(root);
    (!machines.is_empty()).then(|| listed(HostKind::Qemu, machines))
}

fn listed(kind: HostKind, mut machines: Vec<HostedMachine>) -> VmHost {
    machines.sort();
    let total = u32::try_from(machines.len()).ok();
    VmHost { kind, machines, total, unlisted: None }
}

fn unlisted(kind: HostKind, why: &str) -> VmHost {
    VmHost { kind, machines: Vec::new(), total: None, unlisted: Some(why.to_owned()) }
}

/// This node's machines: `100.conf` with `name: dc-01` and `smbios1: uuid=…`, before its snapshots' sections.
fn proxmox(root: &Path) -> Option<Vec<HostedMachine>> {
    let files = files_with(&root.join(PROXMOX), "conf")?;
    let machines = files.into_iter().filter_map(|file| {
        let id = file.file_stem()?.to_str()?.to_owned();
        let whole = text(&file).unwrap_or_default();
        let lines = || whole.lines().take_while(|line| !line.starts_with('['));
        let field = |name: &str| lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let smbios = field("smbios1").unwrap_or_default();
        Some(HostedMachine {
            name: field("name").map_or_else(|| format!("VM {id}"), |name| name.trim().to_owned()),
            uuid: smbios.split(',').find_map(|part| uuid(part.strip_prefix("uuid=")?)),
            running: Some(root.join(format!("run/qemu-server/{id}.pid")).exists()),
        })
    });
    Some(machines.collect())
}

/// Machines that are defined, and those that run without a definition.
fn libvirt(root: &Path) -> Result<Vec<HostedMachine>, &'static str> {
    let folder = root.join(LIBVIRT);
    let running = files_with(&root.join(LIBVIRT_RUNNING), "xml").unwrap_or_default();
    let is_running =
        |name: &str| running.iter().any(|file| file.file_stem().is_some_and(|stem| stem == name));
    let Some(defined) = files_with(&folder, "xml") else {
        return if folder.exists() { Err("the agent may not read libvirt's files") } else { Ok(Vec::new()) };
    };
    let mut machines: Vec<_> = defined
        .iter()
        .filter_map(|file| {
            let xml = text(file)?;
            let name = element(&xml, "name")?;
            let running = Some(is_running(&name));
            Some(HostedMachine { uuid: element(&xml, "uuid").as_deref().and_then(uuid), name, running })
        })
        .collect();
    for name in running.iter().filter_map(|file| file.file_stem()?.to_str()) {
        if machines.iter().all(|machine| machine.name != name) {
            machines.push(HostedMachine { name: name.to_owned(), uuid: None, running: Some(true) });
        }
    }
    Ok(machines)
}

/// The text of the first element of that name: libvirt writes those of a machine before all that is within it.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let text =
        text.trim().replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    let text = text.replace("&amp;", "&");
    (!text.is_empty()).then_some(text)
}

fn qemu_processes(root: &Path) -> Vec<HostedMachine> {
    let Ok(entries) = fs::read_dir(root.join("proc")) else { return Vec::new() };
    let is_process = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(is_process))
        .filter_map(|entry| qemu_process(&text(&entry.path().join("cmdline"))?))
        .take(MAX_ENTRIES)
        .collect()
}

/// A command line, its words ended by NULs: `qemu-system-x86_64 -name guest=dc-01,debug-threads=on -uuid …`.
fn qemu_process(line: &str) -> Option<HostedMachine> {
    let mut words = line.split('\0');
    let program = words.next()?.rsplit('/').next()?;
    let is_qemu = program.starts_with("qemu-system-") || matches!(program, "qemu-kvm" | "kvm");
    let words: Vec<_> = words.filter(|_| is_qemu).collect();
    let option = |name: &str| words.windows(2).find(|pair| pair[0] == name).map(|pair| pair[1]);
    let name = option("-name").and_then(|name| {
        let first = name.split(',').find(|part| part.starts_with("guest=") || !part.contains('='))?;
        Some(first.strip_prefix("guest=").unwrap_or(first).to_owned())
    });
    is_qemu.then(|| HostedMachine {
        name: name.unwrap_or_else(|| "unnamed".to_owned()),
        uuid: option("-uuid").and_then(uuid),
        running: Some(true),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::Root;
    use super::*;

    const UUID: &str = "0e8ede6a-db2f-4bc4-8a5b-7a3f0d3a9a11";

    fn found(files: &[(&str, &str)]) -> Option<VmHost> {
        find(Root::new(files).path(), None, false)
    }

    fn machine(name: &str, uuid: Option<&str>, running: bool) -> HostedMachine {
        HostedMachine { name: name.to_owned(), uuid: uuid.map(str::to_owned), running: Some(running) }
    }

    #[test]
    fn proxmox_machines_are_named_without_their_snapshots() {
        let host = found(&[
            (
                "etc/pve/qemu-server/100.conf",
                &format!(
                    "boot: order=scsi0\nname: dc-01\nsmbios1: uuid={UUID},family=x\n\n[before]\nname: old-01\n"
                ),
            ),
            ("etc/pve/qemu-server/101.conf", "memory: 2048\n\n[before]\nname: old-01\n"),
            ("etc/pve/qemu-server/notes.txt", "name: none\n"),
            ("run/qemu-server/100.pid", "4242\n"),
            ("proc/4242/cmdline", "/usr/bin/kvm\0-id\x00100\0-name\0dc-01,debug-threads=on\0"),
        ]);
        let machines = vec![machine("VM 101", None, false), machine("dc-01", Some(UUID), true)];
        assert_eq!(host, Some(listed(HostKind::Proxmox, machines)));
        let empty = found(&[("etc/pve/qemu-server/.x", "")]);
        assert_eq!(empty.map(|host| host.total), Some(Some(0)), "a host without a machine is a host");
    }

    #[test]
    fn libvirts_machines_are_those_defined_and_those_that_run() {
        let host = found(&[
            (
                "etc/libvirt/qemu/dc-01.xml",
                &format!(
                    "<!--\nWARNING\n-->\n<domain type='kvm'>\n  <name>dc&amp;01</name>\n  <uuid>{UUID}</uuid>\n <devices><disk><name>x</name></disk></devices></domain>"
                ),
            ),
            ("etc/libvirt/qemu/off.xml", "<domain><name>off</name><uuid>none</uuid></domain>"),
            ("etc/libvirt/qemu/broken.xml", "<domain><name>"),
            ("etc/libvirt/qemu/networks/default.xml", "<network><name>default</name></network>"),
            ("run/libvirt/qemu/dc&01.xml", "<domstatus/>"),
            ("run/libvirt/qemu/transient.xml", "<domstatus/>"),
        ]);
        let machines = vec![
            machine("dc&01", Some(UUID), true),
            machine("off", None, false),
            machine("transient", None, true),
        ];
        assert_eq!(host, Some(listed(HostKind::Libvirt, machines)));
        assert_eq!(
            found(&[("etc/libvirt/qemu/networks/default.xml", "<network/>")]),
            None,
            "libvirt without machines"
        );
    }

    #[test]
    fn processes_of_qemu_are_machines_where_nothing_else_knows() {
        let host = found(&[
            (
                "proc/10/cmdline",
                &format!(
                    "/usr/bin/qemu-system-x86_64\0-name\0guest=web-01,debug-threads=on\0-uuid\0{UUID}\0"
                ),
            ),
            ("proc/11/cmdline", "qemu-system-aarch64\0-M\0virt\0"),
            ("proc/12/cmdline", "kvm\0-name\0plain\0"),
            ("proc/13/cmdline", "vim\0qemu-system-x86_64\0-name\0no\0"),
            ("proc/14/cmdline", ""),
            ("proc/self/cmdline", "kvm\0-name\0no\0"),
        ]);
        let machines = vec![
            machine("plain", None, true),
            machine("unnamed", None, true),
            machine("web-01", Some(UUID), true),
        ];
        assert_eq!(host, Some(listed(HostKind::Qemu, machines)));
        assert_eq!(found(&[("proc/13/cmdline", "bash\0")]), None);
    }

    #[test]
    fn who_manages_a_hypervisor_that_does_not_tell_says_so() {
        let root = Root::new(&[]);
        let xen = find(root.path(), Some(Kernel::XenDomain0), false).unwrap();
        let hyper_v = find(root.path(), None, true).unwrap();
        assert_eq!((xen.kind, hyper_v.kind), (HostKind::Xen, HostKind::HyperV));
        assert!(xen.unlisted.is_some() && hyper_v.unlisted.is_some() && xen.total.is_none());
    }
}
