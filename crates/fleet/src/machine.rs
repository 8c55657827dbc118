//! What one invented machine is.

use crate::noise::Noise;
use gururmm_protocol::network::{Interface, NetworkState};
use gururmm_protocol::system::{MachineIdentity, OsType, SystemInfo, UidSource};
use gururmm_protocol::virtualization::{Hypervisor, Virtualization};

/// Who makes virtual machines, as they say.
const VIRTUAL: &str = "QEMU";
const GIB: u64 = 1024 * 1024 * 1024;

/// A machine. How it behaves follows from this and the time.
#[derive(Debug, Clone)]
pub struct Machine {
    pub number: usize,
    /// Its client and site, by their places in the world.
    pub client: usize,
    pub site: usize,
    pub role: Role,
    pub story: Story,
    pub system: SystemInfo,
    pub identity: MachineIdentity,
    pub network: NetworkState,
    pub disks: Vec<DiskPlan>,
    /// Who sits at it; nobody at a server.
    pub user: Option<&'static str>,
    pub noise: Noise,
}

/// What it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Server,
    Workstation,
    Laptop,
}

/// What a look at the fleet is to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Story {
    Uneventful,
    /// A disk that is full in days.
    DiskFills,
    /// Memory that is never given back until the next start.
    MemoryLeaks,
    /// A process that never ends.
    BusyProcessor,
    /// A line that is cut every few minutes.
    FlakyLink,
    /// A clock that is wrong by some minutes.
    WrongClock,
    /// An agent that nobody updated: protocol 1.0.
    OldAgent,
    /// Away for days.
    Travels,
}

/// A disk and how full it is.
#[derive(Debug, Clone)]
pub struct DiskPlan {
    pub mount: &'static str,
    pub device: &'static str,
    pub file_system: &'static str,
    pub total_bytes: u64,
    /// 0 to 1.
    pub used: f64,
}

impl Machine {
    /// Invents the machine with this number.
    pub fn invent(noise: Noise, number: usize, client: usize, site: usize, short: &str) -> Self {
        let role = match noise.part(10).share() {
            share if share < 0.15 => Role::Server,
            share if share < 0.65 => Role::Workstation,
            _ => Role::Laptop,
        };
        let os = os_of(role, noise.part(11));
        let kind = match role {
            Role::Server => "srv",
            Role::Workstation => "ws",
            Role::Laptop => "nb",
        };
        let hostname = format!("{short}-{kind}-{number:04}");
        let (manufacturer, model) = hardware_of(role, os, noise.part(12));
        let hypervisor = (manufacturer == VIRTUAL).then_some(Hypervisor::Kvm);
        let (os_version, kernel) = version_of(role, os, noise.part(13));
        let cores =
            *noise.part(14).pick(if role == Role::Server { &[8, 16, 32] } else { &[4, 8, 12] }).unwrap_or(&4);
        let gib = *noise
            .part(15)
            .pick(if role == Role::Server { &[32, 64, 128] } else { &[8, 16, 32] })
            .unwrap_or(&8);
        let digest = blake3::hash(format!("fleet {noise:?} {number}").as_bytes()).to_hex();
        let uid: String = digest.chars().take(40).collect();
        Self {
            number,
            client,
            site,
            role,
            story: story_of(role, noise.part(16)),
            system: SystemInfo {
                hostname,
                os_type: os,
                os_version: os_version.to_owned(),
                arch: if os == OsType::Macos { "aarch64" } else { "x86_64" }.to_owned(),
                kernel: Some(kernel.to_owned()),
                cpu_model: Some(
                    if os == OsType::Macos { "Apple M2" } else { "Example Core 5 @ 2.90GHz" }.to_owned(),
                ),
                cpu_cores: Some(cores),
                memory_bytes: Some(gib * GIB),
                manufacturer: Some(manufacturer.to_owned()),
                model: Some(model.to_owned()),
                serial: Some(format!("EX{number:08}")),
                boot_time: None,
                virtualization: Some(Box::new(Virtualization { hypervisor, ..Virtualization::default() })),
            },
            identity: MachineIdentity {
                machine_uid: uid,
                machine_uid_source: UidSource::SmbiosUuid,
                board_serial: Some(format!("EXB{number:08}")),
                disk_serial: Some(format!("EXD{number:08}")),
            },
            network: network_of(client, site, number, os),
            disks: disks_of(role, os, noise.part(17)),
            user: (role != Role::Server).then(|| noise.part(18).pick(USERS).copied()).flatten(),
            noise,
        }
    }

    /// Whether it is a virtual machine.
    pub fn is_virtual(&self) -> bool {
        self.system.manufacturer.as_deref() == Some(VIRTUAL)
    }

    /// The agent on it.
    pub fn agent_version(&self) -> &'static str {
        if self.story == Story::OldAgent { "0.0.9" } else { "0.1.0" }
    }
}

const USERS: &[&str] = &[
    "a.berg", "c.duval", "e.fisk", "g.hale", "i.jonas", "k.lind", "m.novak", "o.prior", "r.silva", "t.ueda",
];

fn os_of(role: Role, noise: Noise) -> OsType {
    match (role, noise.share()) {
        (Role::Server, share) if share < 0.55 => OsType::Linux,
        (Role::Laptop, share) if share < 0.3 => OsType::Macos,
        (Role::Workstation, share) if share < 0.08 => OsType::Linux,
        _ => OsType::Windows,
    }
}

fn hardware_of(role: Role, os: OsType, noise: Noise) -> (&'static str, &'static str) {
    let all: &[(&str, &str)] = match (role, os) {
        (_, OsType::Macos) => &[("Apple Inc.", "Mac14,2"), ("Apple Inc.", "Mac15,6")],
        (Role::Server, _) => &[(VIRTUAL, "Standard PC (Q35 + ICH9, 2009)"), ("Example Systems", "Rack 2U")],
        (Role::Workstation, _) => &[("Example Systems", "Desk 400"), ("Example Systems", "Desk 600")],
        (Role::Laptop, _) => &[("Example Systems", "Book 13"), ("Example Systems", "Book 15")],
    };
    noise.pick(all).copied().unwrap_or_default()
}

fn version_of(role: Role, os: OsType, noise: Noise) -> (&'static str, &'static str) {
    let all: &[(&str, &str)] = match (os, role) {
        (OsType::Linux, _) => &[
            ("Debian GNU/Linux 12 (bookworm)", "6.1.0-30-amd64"),
            ("Ubuntu 24.04.2 LTS", "6.8.0-60-generic"),
        ],
        (OsType::Macos, _) => &[("macOS 15.6", "24.6.0"), ("macOS 14.7", "23.6.0")],
        (OsType::Windows, Role::Server) => {
            &[("Windows Server 2022 Standard", "10.0.20348"), ("Windows Server 2019 Standard", "10.0.17763")]
        }
        (OsType::Windows, _) => &[("Windows 11 Pro", "10.0.26100"), ("Windows 10 Pro", "10.0.19045")],
    };
    noise.pick(all).copied().unwrap_or_default()
}

fn story_of(role: Role, noise: Noise) -> Story {
    match (noise.share(), role) {
        (share, Role::Server) if share < 0.06 => Story::DiskFills,
        (share, Role::Server) if share < 0.10 => Story::MemoryLeaks,
        (share, Role::Laptop) if share < 0.10 => Story::Travels,
        (share, Role::Laptop) if share < 0.13 => Story::FlakyLink,
        (share, Role::Workstation) if share < 0.02 => Story::BusyProcessor,
        (share, Role::Workstation) if share < 0.03 => Story::WrongClock,
        (share, Role::Workstation) if share < 0.05 => Story::OldAgent,
        _ => Story::Uneventful,
    }
}

fn disks_of(role: Role, os: OsType, noise: Noise) -> Vec<DiskPlan> {
    let gib = *noise
        .pick(if role == Role::Server { &[500, 1_000, 2_000] } else { &[256, 512, 1_000] })
        .unwrap_or(&256);
    let used = 0.2 + 0.55 * noise.part(1).share();
    let disk = |mount, device, file_system, gib: u64, used| DiskPlan {
        mount,
        device,
        file_system,
        total_bytes: gib * GIB,
        used,
    };
    match (os, role) {
        (OsType::Windows, Role::Server) => {
            vec![disk("C:", "C:", "NTFS", 120, 0.55), disk("D:", "D:", "NTFS", gib, used)]
        }
        (OsType::Windows, _) => vec![disk("C:", "C:", "NTFS", gib, used)],
        (OsType::Macos, _) => vec![disk("/", "disk3s1s1", "apfs", gib, used)],
        (OsType::Linux, Role::Server) => {
            vec![disk("/", "/dev/sda1", "ext4", 60, 0.35), disk("/srv", "/dev/sdb1", "xfs", gib, used)]
        }
        (OsType::Linux, _) => vec![disk("/", "/dev/nvme0n1p2", "ext4", gib, used)],
    }
}

fn network_of(client: usize, site: usize, number: usize, os: OsType) -> NetworkState {
    let (third, host) = ((client * 4 + site) % 250 + 1, number % 240 + 10);
    let name = match os {
        OsType::Windows => "Ethernet",
        OsType::Macos => "en0",
        OsType::Linux => "eth0",
    };
    let [high, middle, low] = [number >> 16, number >> 8, number].map(|part| part & 0xff);
    NetworkState {
        interfaces: vec![Interface {
            name: name.to_owned(),
            mac: format!("02:00:5e:{high:02x}:{middle:02x}:{low:02x}"),
            up: true,
            ipv4: vec![format!("10.20.{third}.{host}/24")],
            ipv6: Vec::new(),
            subnets: vec![format!("10.20.{third}.0/24")],
        }],
        gateway: Some(format!("10.20.{third}.1")),
        dns: vec![format!("10.20.{third}.1")],
    }
}
