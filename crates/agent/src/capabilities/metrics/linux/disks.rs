//! Mounted file systems with their space: real ones, each once.

use gururmm_protocol::limits::MAX_LIST_ITEMS;
use gururmm_protocol::metrics::Disk;
use std::collections::HashSet;

/// File systems on local disks. Network file systems are left out: asking a dead server for its space blocks for
/// minutes. So are read-only images (snaps), which are always full.
const ON_DISK: &[&str] = &[
    "apfs", "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fuseblk", "hfsplus", "jfs",
    "msdos", "ntfs", "ntfs3", "reiserfs", "ufs", "vfat", "xfs", "zfs",
];

/// From the text of `/proc/self/mountinfo`.
pub(super) fn measure(mountinfo: &str) -> Vec<Disk> {
    mounts(mountinfo)
        .into_iter()
        .filter_map(|mount| {
            let space = rustix::fs::statvfs(&mount.point).ok()?;
            let bytes = |blocks: u64| blocks.saturating_mul(space.f_frsize);
            let (used_bytes, total_bytes) =
                used_of_usable(bytes(space.f_blocks), bytes(space.f_bfree), bytes(space.f_bavail));
            (total_bytes > 0).then_some(Disk {
                mount: mount.point,
                device: mount.device,
                file_system: mount.file_system,
                used_bytes,
                total_bytes,
            })
        })
        .collect()
}

/// As `df` counts: what is reserved for root is neither used nor free. A disk is full when programs find it full.
fn used_of_usable(blocks: u64, free: u64, available: u64) -> (u64, u64) {
    let used = blocks.saturating_sub(free);
    (used, used.saturating_add(available))
}

#[derive(Debug, PartialEq)]
struct Mount {
    point: String,
    device: String,
    file_system: String,
    /// Whether the file system's own root is mounted, and not a folder of it.
    is_whole: bool,
}

/// `proc_pid_mountinfo(5)`: `id parent major:minor root point options [tags] - type source options`.
fn mounts(mountinfo: &str) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = mountinfo.lines().filter_map(parse).collect();
    // Of several mounts of one device the whole one counts, then the one nearest to the root.
    mounts.sort_by_key(|mount| (!mount.is_whole, mount.point.len()));
    let mut seen = HashSet::new();
    mounts.retain(|mount| seen.insert(mount.device.clone()));
    mounts.sort_by(|a, b| a.point.cmp(&b.point));
    mounts.truncate(MAX_LIST_ITEMS);
    mounts
}

fn parse(line: &str) -> Option<Mount> {
    let (mount, source) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (root, point) = (fields.next()?, unescape(fields.next()?));
    let mut fields = source.split(' ');
    let (file_system, device) = (fields.next()?, unescape(fields.next()?));
    // A container's root is an overlay; nothing else says how much room it has.
    let is_real = ON_DISK.contains(&file_system) || (file_system == "overlay" && point == "/");
    is_real.then(|| Mount { is_whole: root == "/", point, device, file_system: file_system.to_owned() })
}

/// Space, tab, line feed and backslash stand as octal escapes.
fn unescape(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_whose_rest_is_reserved_is_full() {
        assert_eq!(used_of_usable(100, 5, 0), (95, 95));
        assert_eq!(used_of_usable(100, 60, 55), (40, 95));
        assert_eq!(used_of_usable(100, 60, 60), (40, 100));
    }

    #[test]
    fn bind_mounts_and_pseudo_file_systems_are_left_out() {
        let text = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /proc rw - proc proc rw
24 22 8:1 /srv/data /mnt/bind rw - ext4 /dev/sda1 rw
25 22 8:2 / /mnt/my\\040disk rw - xfs /dev/sda2 rw
26 22 0:44 / /net rw - nfs4 filer:/x rw
27 22 7:1 / /snap/core ro - squashfs /dev/loop1 ro
28 22 0:45 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw
garbage";
        let points: Vec<_> = mounts(text).into_iter().map(|mount| mount.point).collect();
        assert_eq!(points, ["/", "/mnt/my disk"]);
    }

    #[test]
    fn the_whole_file_system_wins_over_a_folder_of_it_mounted_elsewhere() {
        let text = "1 0 8:1 /sub /a rw - ext4 /dev/sda1 rw\n2 0 8:1 / /longer/path rw - ext4 /dev/sda1 rw\n";
        assert_eq!(mounts(text)[0].point, "/longer/path");
    }
}
