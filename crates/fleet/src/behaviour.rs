//! What a machine measures at a given time.

use crate::machine::{DiskPlan, Machine, Role, Story};
use crate::noise::Noise;
use chrono::{DateTime, Datelike as _, TimeDelta, Timelike as _, Utc, Weekday};
use gururmm_protocol::metrics::{Disk, Process, Sample};
use gururmm_protocol::sensors::{Sensor, SensorKind, Sensors};
use gururmm_protocol::system::OsType;

const MIB: u64 = 1024 * 1024;
const DAY: i64 = 86_400;
/// A story's disk goes from two thirds to full in these days, then somebody tidies it up.
const DAYS_TO_FULL: i64 = 9;

impl Machine {
    /// What its agent measures at `time`, over the `interval` before it.
    pub fn sample(&self, time: DateTime<Utc>, interval: TimeDelta, with_processes: bool) -> Sample {
        let (office, noise) = (office(time), self.noise);
        let seconds = interval.num_milliseconds().max(1) as f64 / 1_000.0;
        let memory_total = self.system.memory_bytes.unwrap_or(8 * 1024 * MIB);
        let boot = self.boot_time(time);
        let cpu = self.cpu_percent(time, office);
        let memory = self.memory_share(time, office, boot);
        let traffic = |part: u64, most: f64| {
            let rest = 0.04 * noise.part(part).part(1).smooth(time, 240);
            ((0.005 + rest + office * noise.part(part).smooth(time, 600).powi(3)) * most * seconds) as u64
        };
        let processes = if with_processes { self.processes(time, cpu, memory_total) } else { Vec::new() };
        let (mut top_cpu, mut top_memory) = (processes.clone(), processes);
        top_cpu.sort_by(|one, other| other.cpu_percent.total_cmp(&one.cpu_percent));
        top_memory.sort_by_key(|process| std::cmp::Reverse(process.memory_bytes));
        let cores = self.system.cpu_cores.unwrap_or(1);
        let load = cpu / 100.0 * f64::from(cores);
        Sample {
            taken_at: time,
            interval_seconds: seconds,
            cpu_percent: cpu as f32,
            cpu_count: cores,
            memory_used_bytes: (memory_total as f64 * memory) as u64,
            memory_total_bytes: memory_total,
            swap_used_bytes: if memory > 0.9 { 512 * MIB } else { 0 },
            swap_total_bytes: 2_048 * MIB,
            load: (self.system.os_type != OsType::Windows).then_some([load, load * 0.9, load * 0.8]),
            uptime_seconds: (time - boot).num_seconds().unsigned_abs(),
            boot_time: Some(boot),
            rx_bytes: traffic(30, 4e6),
            tx_bytes: traffic(31, 1e6),
            disks: self.disks.iter().enumerate().map(|(at, plan)| self.disk(at, plan, time)).collect(),
            logged_in_user: self.user.filter(|_| office > 0.3).map(str::to_owned),
            user_idle_seconds: self.user.filter(|_| office > 0.3).map(|_| noise.part(32).below(900)),
            public_ip: None,
            process_count: 120 + noise.part(33).below(180) as u32,
            top_cpu,
            top_memory,
            sensors: Some(self.sensors(time, cpu)),
        }
    }

    fn sensors(&self, time: DateTime<Utc>, cpu: f64) -> Sensors {
        if self.is_virtual() {
            return Sensors::default();
        }
        let wobble = self.noise.part(90).at(time, 30);
        let sensor = |device: &str, name: &str, kind, value: f64, high, critical| Sensor {
            device: device.to_owned(),
            name: name.to_owned(),
            kind,
            value: value as f32,
            low: None,
            high,
            critical,
        };
        let warmth = 34.0 + 0.45 * cpu + 2.0 * wobble;
        Sensors {
            readings: vec![
                sensor("coretemp", "Package", SensorKind::Temperature, warmth, Some(85.0), Some(100.0)),
                sensor(
                    "nvme",
                    "Composite",
                    SensorKind::Temperature,
                    31.0 + 4.0 * wobble,
                    Some(80.0),
                    Some(85.0),
                ),
                sensor("board", "Fan 1", SensorKind::Fan, 700.0 + 14.0 * cpu, None, None),
            ],
            ..Sensors::default()
        }
    }

    /// Whether it is switched on and has a line.
    pub fn is_awake(&self, time: DateTime<Utc>) -> bool {
        if self.story == Story::FlakyLink && self.noise.part(40).at(time, 120) < 0.25 {
            return false;
        }
        match self.role {
            Role::Server => true,
            _ if self.story == Story::Travels => self.noise.part(41).at(time, DAY) < 0.3,
            // Some are left on over night.
            Role::Workstation => office(time) > 0.1 || self.noise.part(42).share() < 0.8,
            Role::Laptop => office(time) > 0.1 || self.noise.part(43).at(time, 3 * 3_600) < 0.45,
        }
    }

    /// When it was last started.
    pub fn boot_time(&self, time: DateTime<Utc>) -> DateTime<Utc> {
        let days = match self.role {
            Role::Server => 20 + self.noise.part(44).below(60),
            Role::Workstation => 2 + self.noise.part(44).below(12),
            Role::Laptop => 1 + self.noise.part(44).below(6),
        };
        let period = days.cast_signed() * DAY;
        let phase = self.noise.part(45).below(period.unsigned_abs()).cast_signed();
        time - TimeDelta::seconds((time.timestamp() + phase).rem_euclid(period))
    }

    fn cpu_percent(&self, time: DateTime<Utc>, office: f64) -> f64 {
        let noise = self.noise.part(50);
        if self.story == Story::BusyProcessor {
            return 93.0 + 7.0 * noise.at(time, 30);
        }
        let (rest, work) = match self.role {
            Role::Server => (9.0, 35.0),
            Role::Workstation => (3.0, 28.0),
            Role::Laptop => (4.0, 32.0),
        };
        let burst = if noise.part(1).at(time, 180) > 0.97 { 45.0 } else { 0.0 };
        let usual = rest + work * office * noise.part(2).smooth(time, 900) + burst;
        (usual * (0.8 + 0.4 * noise.part(3).at(time, 10))).clamp(0.1, 100.0)
    }

    fn memory_share(&self, time: DateTime<Utc>, office: f64, boot: DateTime<Utc>) -> f64 {
        let noise = self.noise.part(51);
        let usual = 0.3 + 0.25 * noise.share() + 0.15 * office * noise.smooth(time, 1_800);
        let leaked = match self.story {
            Story::MemoryLeaks => (time - boot).num_seconds() as f64 / (4.0 * DAY as f64),
            _ => 0.0,
        };
        (usual + leaked).min(0.98)
    }

    fn disk(&self, at: usize, plan: &DiskPlan, time: DateTime<Utc>) -> Disk {
        let wave = 0.01 * self.noise.part(60 + at as u64).smooth(time, DAY);
        let is_last = at + 1 == self.disks.len();
        let used = match self.story {
            Story::DiskFills if is_last => {
                let phase = self.noise.part(52).below((DAYS_TO_FULL * DAY).unsigned_abs()).cast_signed();
                let way = (time.timestamp() + phase).rem_euclid(DAYS_TO_FULL * DAY) as f64;
                0.66 + 0.335 * way / (DAYS_TO_FULL * DAY) as f64
            }
            _ => plan.used + wave,
        };
        Disk {
            mount: plan.mount.to_owned(),
            device: plan.device.to_owned(),
            file_system: plan.file_system.to_owned(),
            used_bytes: (plan.total_bytes as f64 * used) as u64,
            total_bytes: plan.total_bytes,
        }
    }

    /// Ten processes of its system; the first of them is the one that a story is about.
    fn processes(&self, time: DateTime<Utc>, cpu: f64, memory_total: u64) -> Vec<Process> {
        let names = match (self.system.os_type, self.role) {
            (OsType::Windows, Role::Server) => WINDOWS_SERVER,
            (OsType::Windows, _) => WINDOWS,
            (OsType::Macos, _) => MACOS,
            (OsType::Linux, _) => LINUX,
        };
        let busy = cpu * f64::from(self.system.cpu_cores.unwrap_or(1));
        let mut rest = busy;
        let process = |(at, (name, line)): (usize, &(&str, &str))| {
            let noise = self.noise.part(70 + at as u64);
            let share = rest * (0.35 + 0.3 * noise.at(time, 60));
            rest -= share;
            Process {
                pid: 400 + noise.below(30_000) as u32,
                name: (*name).to_owned(),
                user: process_user(self.user, self.system.os_type, at),
                cpu_percent: share as f32,
                memory_bytes: (memory_total as f64 * (0.002 + 0.05 * noise.part(1).share())) as u64,
                command_line: (*line).to_owned(),
            }
        };
        // Which of them works most changes with the hours.
        let first = Noise::at(self.noise.part(53), time, 3_600);
        let skip = (first * names.len() as f64) as usize;
        names.iter().cycle().skip(skip).take(names.len()).enumerate().map(process).collect()
    }
}

fn process_user(user: Option<&str>, os: OsType, at: usize) -> String {
    match (user, os) {
        (Some(user), _) if at.is_multiple_of(2) => user.to_owned(),
        (_, OsType::Windows) => "SYSTEM".to_owned(),
        _ => "root".to_owned(),
    }
}

/// How much of a working day goes on: 0 at night and at week-ends, up to 1 in the middle of the morning and afternoon.
fn office(time: DateTime<Utc>) -> f64 {
    let hour = f64::from(time.hour()) + f64::from(time.minute()) / 60.0;
    let day = match time.weekday() {
        Weekday::Sat | Weekday::Sun => 0.08,
        _ => 1.0,
    };
    let hump = |middle: f64, width: f64| (1.0 - ((hour - middle) / width).powi(2)).max(0.0);
    day * hump(10.5, 4.0).max(hump(15.0, 4.0))
}

const WINDOWS: &[(&str, &str)] = &[
    ("chrome.exe", r#""C:\Program Files\Google\Chrome\Application\chrome.exe""#),
    ("OUTLOOK.EXE", r#""C:\Program Files\Microsoft Office\root\Office16\OUTLOOK.EXE""#),
    ("MsMpEng.exe", r#""C:\ProgramData\Microsoft\Windows Defender\Platform\MsMpEng.exe""#),
    ("explorer.exe", r"C:\Windows\Explorer.EXE"),
    ("Teams.exe", r#""C:\Program Files\WindowsApps\MSTeams\ms-teams.exe""#),
    ("svchost.exe", r"C:\Windows\System32\svchost.exe -k netsvcs -p"),
    ("EXCEL.EXE", r#""C:\Program Files\Microsoft Office\root\Office16\EXCEL.EXE""#),
    ("dwm.exe", "dwm.exe"),
    ("SearchIndexer.exe", r"C:\Windows\system32\SearchIndexer.exe /Embedding"),
    ("gururmm-agent.exe", r#""C:\Program Files\GuruRMM\gururmm-agent.exe" run"#),
];
const WINDOWS_SERVER: &[(&str, &str)] = &[
    ("sqlservr.exe", r#""C:\Program Files\Microsoft SQL Server\MSSQL16\MSSQL\Binn\sqlservr.exe" -s"#),
    ("w3wp.exe", r"c:\windows\system32\inetsrv\w3wp.exe -ap DefaultAppPool"),
    ("lsass.exe", r"C:\Windows\system32\lsass.exe"),
    ("MsMpEng.exe", r#""C:\ProgramData\Microsoft\Windows Defender\Platform\MsMpEng.exe""#),
    ("dns.exe", r"C:\Windows\system32\dns.exe"),
    ("svchost.exe", r"C:\Windows\System32\svchost.exe -k NetworkService -p"),
    ("spoolsv.exe", r"C:\Windows\System32\spoolsv.exe"),
    ("vmms.exe", r"C:\Windows\system32\vmms.exe"),
    ("taskhostw.exe", "taskhostw.exe"),
    ("gururmm-agent.exe", r#""C:\Program Files\GuruRMM\gururmm-agent.exe" run"#),
];
const LINUX: &[(&str, &str)] = &[
    ("postgres", "postgres: 15/main: checkpointer"),
    ("nginx", "nginx: worker process"),
    ("php-fpm8.2", "php-fpm: pool www"),
    ("java", "/usr/bin/java -Xmx4g -jar /opt/app/app.jar"),
    ("dockerd", "/usr/bin/dockerd -H fd://"),
    ("systemd-journal", "/lib/systemd/systemd-journald"),
    ("node", "node /srv/app/server.js"),
    ("redis-server", "/usr/bin/redis-server 127.0.0.1:6379"),
    ("rsyslogd", "/usr/sbin/rsyslogd -n -iNONE"),
    ("gururmm-agent", "/usr/local/lib/gururmm/gururmm-agent run"),
];
const MACOS: &[(&str, &str)] = &[
    ("WindowServer", "/System/Library/PrivateFrameworks/SkyLight.framework/Resources/WindowServer -daemon"),
    ("Safari", "/Applications/Safari.app/Contents/MacOS/Safari"),
    ("mds_stores", "/System/Library/Frameworks/CoreServices.framework/mds_stores"),
    ("kernel_task", ""),
    ("Mail", "/System/Applications/Mail.app/Contents/MacOS/Mail"),
    ("photoanalysisd", "/System/Library/PrivateFrameworks/PhotoAnalysis.framework/photoanalysisd"),
    ("Slack", "/Applications/Slack.app/Contents/MacOS/Slack"),
    ("coreaudiod", "/usr/sbin/coreaudiod"),
    ("launchd", "/sbin/launchd"),
    ("gururmm-agent", "/Library/Application Support/GuruRMM/bin/gururmm-agent run"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap_or_default()
    }

    #[test]
    fn what_is_measured_is_what_a_server_takes_as_it_is() {
        let minute = TimeDelta::seconds(60);
        for machine in World::new(1, 500).machines {
            for hour in 0..48 {
                let sample =
                    machine.sample(at("2026-11-02T00:00:00Z") + TimeDelta::hours(hour), minute, true);
                let mut cleaned = sample.clone();
                cleaned.clean();
                assert_eq!(cleaned, sample);
                assert!(sample.disks.iter().all(|disk| disk.used_bytes < disk.total_bytes));
                assert_eq!((sample.top_cpu.len(), sample.top_memory.len()), (10, 10));
                assert!(sample.boot_time.is_some_and(|boot| boot <= sample.taken_at));
            }
        }
    }

    #[test]
    fn days_are_busier_than_nights_and_week_ends() {
        let machines = World::new(1, 300).machines;
        let mean = |time: &str| {
            let cpu = |machine: &Machine| machine.cpu_percent(at(time), office(at(time)));
            machines.iter().map(cpu).sum::<f64>() / machines.len() as f64
        };
        let awake = |time: &str| machines.iter().filter(|machine| machine.is_awake(at(time))).count();
        let (monday, night, sunday) =
            ("2026-11-02T10:30:00Z", "2026-11-02T02:00:00Z", "2026-11-01T10:30:00Z");
        assert!(mean(monday) > 1.5 * mean(night) && mean(monday) > 1.5 * mean(sunday));
        assert!(awake(monday) > awake(night) && awake(night) > 100, "{} {}", awake(monday), awake(night));
    }

    #[test]
    fn stories_can_be_seen() {
        let machines = World::new(1, 2_000).machines;
        let (start, minute) = (at("2026-11-02T10:30:00Z"), TimeDelta::seconds(60));
        let of = |story| machines.iter().find(move |machine| machine.story == story);
        let most = |story, figure: fn(&Sample) -> Option<f32>| {
            let machine = of(story)?;
            let samples =
                (0..60 * 24).map(|hour| machine.sample(start + TimeDelta::hours(hour), minute, false));
            samples.filter_map(|sample| figure(&sample)).reduce(f32::max)
        };
        assert!(most(Story::DiskFills, Sample::disk_percent).is_some_and(|most| most > 98.0));
        assert!(most(Story::MemoryLeaks, Sample::memory_percent).is_some_and(|most| most > 90.0));
        assert!(
            most(Story::BusyProcessor, |sample| Some(sample.cpu_percent)).is_some_and(|most| most > 95.0)
        );
        for story in [Story::FlakyLink, Story::WrongClock, Story::OldAgent, Story::Travels] {
            assert!(of(story).is_some(), "{story:?}");
        }
    }
}
