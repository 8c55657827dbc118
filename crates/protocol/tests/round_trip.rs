//! Any message a side can make, the other side reads as it was meant.
#![expect(clippy::unwrap_used, reason = "tests fail by panic")]

use chrono::{DateTime, Utc};
use gururmm_protocol::command::*;
use gururmm_protocol::follow::{FollowMe, FollowReport, FollowState, SignedRecord};
use gururmm_protocol::gap::{Gap, GapReason};
use gururmm_protocol::log::{CrashCause, CrashReport, LogEnd, LogPart, LogRequest};
use gururmm_protocol::metrics::{Disk, Process, Sample};
use gururmm_protocol::network::{Interface, NetworkState};
use gururmm_protocol::policy::AgentConfig;
use gururmm_protocol::sensors::{Sensor, SensorKind, Sensors};
use gururmm_protocol::system::{MachineIdentity, OsType, SystemInfo, UidSource};
use gururmm_protocol::to_agent::{GoodbyeReason, Welcome};
use gururmm_protocol::to_server::Hello;
use gururmm_protocol::tunnel::{
    ChannelKind, Consent, LiveChannel, TunnelClose, TunnelOpen, TunnelReady, TunnelRefused, TunnelRules,
    order::{Refusal, Shell},
};
use gururmm_protocol::uninstall::{UninstallOrder, UninstallReport, UninstallState};
use gururmm_protocol::update::{UpdateAbility, UpdateAction, UpdateOrder, UpdateReport, UpdateState};
use gururmm_protocol::virtualization::{
    Appliance, ApplianceKind, Cloud, Container, HostKind, HostedMachine, Hypervisor, Virtualization, VmHost,
};
use gururmm_protocol::{
    AgentId, AgentMessage, CommandId, CrashId, Decoded, GapId, LogId, ServerMessage, TunnelId, UninstallId,
    UpdateId, Version, decode_agent_message, decode_server_message, encode,
};
use proptest::prelude::*;
use std::net::IpAddr;
use uuid::Uuid;

fn text() -> impl Strategy<Value = String> {
    // Everything a name can hold, markup and control characters included.
    prop_oneof![".{0,24}", Just("<script>alert(1)</script>\u{0}\u{202e}\"'\\".to_owned())]
}

fn optional_text() -> impl Strategy<Value = Option<String>> {
    prop::option::of(text())
}

fn time() -> impl Strategy<Value = DateTime<Utc>> {
    (0i64..4_000_000_000, 0u32..1_000_000_000)
        .prop_map(|(seconds, nanos)| DateTime::from_timestamp(seconds, nanos).unwrap())
}

fn command_id() -> impl Strategy<Value = CommandId> {
    any::<u128>().prop_map(|bits| CommandId(Uuid::from_u128(bits)))
}

fn version() -> impl Strategy<Value = Version> {
    (any::<u16>(), any::<u16>()).prop_map(|(major, minor)| Version { major, minor })
}

/// Eighths: the JSON reader may be off by a last bit of other fractions, which is no matter for measurements.
fn figure() -> impl Strategy<Value = f64> {
    any::<i32>().prop_map(|eighths| f64::from(eighths) / 8.0)
}

fn small_figure() -> impl Strategy<Value = f32> {
    any::<i16>().prop_map(|eighths| f32::from(eighths) / 8.0)
}

fn disk() -> impl Strategy<Value = Disk> {
    (text(), text(), text(), any::<u64>(), any::<u64>()).prop_map(
        |(mount, device, file_system, used_bytes, total_bytes)| Disk {
            mount,
            device,
            file_system,
            used_bytes,
            total_bytes,
        },
    )
}

fn process() -> impl Strategy<Value = Process> {
    (any::<u32>(), text(), text(), small_figure(), any::<u64>(), text()).prop_map(
        |(pid, name, user, cpu_percent, memory_bytes, command_line)| Process {
            pid,
            name,
            user,
            cpu_percent,
            memory_bytes,
            command_line,
        },
    )
}

fn sensors() -> impl Strategy<Value = Sensors> {
    let kind = prop::sample::select(vec![
        SensorKind::Temperature,
        SensorKind::Fan,
        SensorKind::Voltage,
        SensorKind::Power,
        SensorKind::Current,
        SensorKind::Other,
    ]);
    let limits = prop::array::uniform3(prop::option::of(small_figure()));
    let sensor = (text(), text(), kind, small_figure(), limits).prop_map(
        |(device, name, kind, value, [low, high, critical])| Sensor {
            device,
            name,
            kind,
            value,
            low,
            high,
            critical,
        },
    );
    (prop::collection::vec(sensor, 0..3), any::<u32>(), optional_text())
        .prop_map(|(readings, omitted, unavailable)| Sensors { readings, omitted, unavailable })
}

fn sample() -> impl Strategy<Value = Sample> {
    let numbers = (prop::array::uniform8(any::<u64>()), figure(), small_figure(), any::<u32>(), any::<u32>());
    let lists = (
        prop::collection::vec(disk(), 0..3),
        prop::collection::vec(process(), 0..3),
        prop::collection::vec(process(), 0..3),
        prop::option::of(sensors()),
    );
    let absent = (
        prop::option::of(prop::array::uniform3(figure())),
        prop::option::of(time()),
        optional_text(),
        prop::option::of(any::<u64>()),
        optional_text(),
    );
    (time(), numbers, lists, absent).prop_map(
        |(
            taken_at,
            (big, interval_seconds, cpu_percent, cpu_count, process_count),
            (disks, top_cpu, top_memory, sensors),
            (load, boot_time, logged_in_user, user_idle_seconds, public_ip),
        )| Sample {
            taken_at,
            interval_seconds,
            cpu_percent,
            cpu_count,
            memory_used_bytes: big[0],
            memory_total_bytes: big[1],
            swap_used_bytes: big[2],
            swap_total_bytes: big[3],
            load,
            uptime_seconds: big[4],
            boot_time,
            rx_bytes: big[5],
            tx_bytes: big[6],
            disks,
            logged_in_user,
            user_idle_seconds,
            public_ip,
            process_count,
            top_cpu,
            top_memory,
            sensors,
        },
    )
}

fn network_state() -> impl Strategy<Value = NetworkState> {
    let texts = || prop::collection::vec(text(), 0..3);
    let interface = (text(), text(), any::<bool>(), texts(), texts(), texts())
        .prop_map(|(name, mac, up, ipv4, ipv6, subnets)| Interface { name, mac, up, ipv4, ipv6, subnets });
    (prop::collection::vec(interface, 0..3), optional_text(), texts())
        .prop_map(|(interfaces, gateway, dns)| NetworkState { interfaces, gateway, dns })
}

fn virtualization() -> impl Strategy<Value = Virtualization> {
    let hypervisor = prop::sample::select(vec![
        Hypervisor::Kvm,
        Hypervisor::Qemu,
        Hypervisor::Vmware,
        Hypervisor::HyperV,
        Hypervisor::Xen,
        Hypervisor::Virtualbox,
        Hypervisor::Parallels,
        Hypervisor::Bhyve,
        Hypervisor::Apple,
        Hypervisor::Other,
    ]);
    let cloud = prop::sample::select(vec![
        Cloud::Aws,
        Cloud::Azure,
        Cloud::GoogleCloud,
        Cloud::DigitalOcean,
        Cloud::Hetzner,
        Cloud::OracleCloud,
        Cloud::AlibabaCloud,
        Cloud::Other,
    ]);
    let container = prop::sample::select(vec![
        Container::Docker,
        Container::Podman,
        Container::Kubernetes,
        Container::Lxc,
        Container::SystemdNspawn,
        Container::Openvz,
        Container::Windows,
        Container::Other,
    ]);
    let host = prop::sample::select(vec![
        HostKind::Libvirt,
        HostKind::Proxmox,
        HostKind::HyperV,
        HostKind::Xen,
        HostKind::Qemu,
        HostKind::Other,
    ]);
    let appliance = prop::sample::select(vec![
        ApplianceKind::Synology,
        ApplianceKind::Qnap,
        ApplianceKind::Truenas,
        ApplianceKind::Unraid,
        ApplianceKind::Openmediavault,
        ApplianceKind::Other,
    ]);
    let machine = (text(), optional_text(), prop::option::of(any::<bool>()))
        .prop_map(|(name, uuid, running)| HostedMachine { name, uuid, running });
    let machines = prop::collection::vec(machine, 0..3);
    let host = (host, machines, prop::option::of(any::<u32>()), optional_text())
        .prop_map(|(kind, machines, total, unlisted)| VmHost { kind, machines, total, unlisted });
    let appliance = (appliance, optional_text(), optional_text())
        .prop_map(|(kind, model, version)| Appliance { kind, model, version });
    let absent = (prop::option::of(hypervisor), prop::option::of(cloud), optional_text());
    (absent, prop::option::of(container), prop::option::of(host), prop::option::of(appliance)).prop_map(
        |((hypervisor, cloud, vm_uuid), container, host, appliance)| Virtualization {
            hypervisor,
            cloud,
            vm_uuid,
            container,
            host,
            appliance,
        },
    )
}

fn hello() -> impl Strategy<Value = Hello> {
    let os_type = prop::sample::select(vec![OsType::Linux, OsType::Windows, OsType::Macos]);
    let source = vec![UidSource::SmbiosUuid, UidSource::BoardAndDisk, UidSource::OsId];
    let system = (
        (text(), os_type, text(), text()),
        prop::array::uniform6(optional_text()),
        (prop::option::of(any::<u32>()), prop::option::of(any::<u64>()), prop::option::of(time())),
        prop::option::of(virtualization()),
    )
        .prop_map(
            |(
                (hostname, os_type, os_version, arch),
                texts,
                (cpu_cores, memory_bytes, boot_time),
                virtualization,
            )| {
                let [kernel, cpu_model, manufacturer, model, serial, _] = texts;
                SystemInfo {
                    hostname,
                    os_type,
                    os_version,
                    arch,
                    kernel,
                    cpu_model,
                    cpu_cores,
                    memory_bytes,
                    manufacturer,
                    model,
                    serial,
                    boot_time,
                    virtualization: virtualization.map(Box::new),
                }
            },
        );
    let identity = (text(), prop::sample::select(source), optional_text(), optional_text()).prop_map(
        |(machine_uid, machine_uid_source, board_serial, disk_serial)| MachineIdentity {
            machine_uid,
            machine_uid_source,
            board_serial,
            disk_serial,
        },
    );
    let resumed =
        (command_id(), any::<bool>()).prop_map(|(command_id, ended)| ResumedCommand { command_id, ended });
    let commands = prop::collection::vec(resumed, 0..3);
    let update = prop::option::of(update_ability());
    let tunnels = prop::collection::vec(tunnel_id(), 0..3);
    (prop::collection::vec(version(), 0..3), text(), system, identity, commands, update, tunnels).prop_map(
        |(protocols, agent_version, system, identity, commands, update, tunnels)| Hello {
            protocols,
            agent_version,
            system,
            identity,
            commands,
            update,
            tunnels,
        },
    )
}

fn command_end() -> impl Strategy<Value = CommandEnd> {
    let outcome = prop::sample::select(vec![
        Outcome::Completed,
        Outcome::Failed,
        Outcome::Timeout,
        Outcome::Cancelled,
        Outcome::Interrupted,
    ]);
    let what = (command_id(), outcome, prop::option::of(any::<i32>()), optional_text(), optional_text());
    let counts = (any::<u64>(), any::<u64>(), any::<bool>(), any::<u32>());
    (what, counts, prop::option::of(time()), time()).prop_map(
        |(
            (command_id, outcome, exit_code, error, error_code),
            (stdout_bytes, stderr_bytes, truncated, last_seq),
            started_at,
            ended_at,
        )| CommandEnd {
            command_id,
            outcome,
            exit_code,
            error,
            error_code,
            stdout_bytes,
            stderr_bytes,
            truncated,
            last_seq,
            started_at,
            ended_at,
        },
    )
}

fn output() -> impl Strategy<Value = OutputChunk> {
    let stream = prop::sample::select(vec![Stream::Stdout, Stream::Stderr]);
    (command_id(), any::<u32>(), stream, bytes()).prop_map(|(command_id, seq, stream, data)| OutputChunk {
        command_id,
        seq,
        stream,
        data,
    })
}

fn log_id() -> impl Strategy<Value = LogId> {
    any::<u128>().prop_map(|bits| LogId(Uuid::from_u128(bits)))
}

fn crash_id() -> impl Strategy<Value = CrashId> {
    any::<u128>().prop_map(|bits| CrashId(Uuid::from_u128(bits)))
}

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..64).prop_map(Bytes)
}

fn log_part() -> impl Strategy<Value = LogPart> {
    (log_id(), any::<u32>(), bytes()).prop_map(|(log_id, seq, data)| LogPart { log_id, seq, data })
}

fn log_end() -> impl Strategy<Value = LogEnd> {
    (log_id(), any::<u32>(), any::<u64>(), any::<u64>(), optional_text()).prop_map(
        |(log_id, last_seq, total_bytes, lost_lines, error)| LogEnd {
            log_id,
            last_seq,
            total_bytes,
            lost_lines,
            error,
        },
    )
}

fn crash_report() -> impl Strategy<Value = CrashReport> {
    let cause = prop::sample::select(vec![CrashCause::Panic, CrashCause::Killed, CrashCause::Other]);
    (crash_id(), cause, time(), text(), optional_text(), bytes()).prop_map(
        |(crash_id, cause, crashed_at, agent_version, message, log)| CrashReport {
            crash_id,
            cause,
            crashed_at,
            agent_version,
            message,
            log,
        },
    )
}

fn command_start() -> impl Strategy<Value = CommandStart> {
    let kind = prop::sample::select(vec![
        CommandKind::Shell,
        CommandKind::Powershell,
        CommandKind::Python,
        CommandKind::Script,
    ]);
    let context = prop::sample::select(vec![RunContext::System, RunContext::UserSession]);
    let what = (command_id(), kind, text(), optional_text());
    let how = (context, any::<bool>(), any::<u32>());
    let environment = prop::collection::btree_map(text(), text(), 0..3);
    (what, how, optional_text(), environment, optional_text()).prop_map(
        |(
            (command_id, kind, command, interpreter),
            (context, elevated, timeout_seconds),
            working_directory,
            environment,
            stdin,
        )| CommandStart {
            command_id,
            kind,
            command,
            interpreter,
            context,
            elevated,
            timeout_seconds,
            working_directory,
            environment,
            stdin,
        },
    )
}

fn config() -> impl Strategy<Value = AgentConfig> {
    (any::<u32>(), prop::array::uniform4(any::<bool>()), any::<u64>()).prop_map(
        |(
            metrics_interval_seconds,
            [process_list, public_ip, network_state, user_activity],
            output_limit_bytes,
        )| {
            AgentConfig {
                metrics_interval_seconds,
                process_list,
                public_ip,
                network_state,
                user_activity,
                output_limit_bytes,
            }
        },
    )
}

fn welcome() -> impl Strategy<Value = Welcome> {
    let observed_ip = prop::option::of(any::<IpAddr>());
    (any::<u128>(), version(), text(), time(), any::<u32>(), config(), observed_ip).prop_map(
        |(id, protocol, server_version, server_time, heartbeat_seconds, config, observed_ip)| Welcome {
            agent_id: AgentId(Uuid::from_u128(id)),
            protocol,
            server_version,
            server_time,
            heartbeat_seconds,
            config,
            observed_ip,
        },
    )
}

fn update_id() -> impl Strategy<Value = UpdateId> {
    any::<u128>().prop_map(|id| UpdateId(Uuid::from_u128(id)))
}

fn update_state() -> impl Strategy<Value = UpdateState> {
    prop::sample::select(vec![
        UpdateState::Downloading,
        UpdateState::Ready,
        UpdateState::Trying,
        UpdateState::Confirmed,
        UpdateState::RolledBack,
        UpdateState::Failed,
        UpdateState::Other,
    ])
}

fn update_order() -> impl Strategy<Value = UpdateOrder> {
    let action =
        prop::sample::select(vec![UpdateAction::Install, UpdateAction::RollBack, UpdateAction::Other]);
    (update_id(), action, text(), text(), time(), any::<bool>()).prop_map(
        |(update_id, action, version, channel, valid_until, at_once)| UpdateOrder {
            update_id,
            action,
            version,
            channel,
            valid_until,
            at_once,
        },
    )
}

fn update_report() -> impl Strategy<Value = UpdateReport> {
    (update_id(), update_state(), text(), optional_text(), optional_text(), time()).prop_map(
        |(update_id, state, version, error_code, error, at)| UpdateReport {
            update_id,
            state,
            version,
            error_code,
            error,
            at,
        },
    )
}

fn update_ability() -> impl Strategy<Value = UpdateAbility> {
    (any::<bool>(), optional_text(), optional_text()).prop_map(|(supported, reason, previous_version)| {
        UpdateAbility { supported, reason, previous_version }
    })
}

fn uninstall_id() -> impl Strategy<Value = UninstallId> {
    any::<u128>().prop_map(|id| UninstallId(Uuid::from_u128(id)))
}

fn uninstall_state() -> impl Strategy<Value = UninstallState> {
    prop::sample::select(vec![
        UninstallState::Uninstalling,
        UninstallState::Uninstalled,
        UninstallState::Failed,
        UninstallState::Other,
    ])
}

fn uninstall_report() -> impl Strategy<Value = UninstallReport> {
    (uninstall_id(), uninstall_state(), optional_text(), optional_text(), time()).prop_map(
        |(uninstall_id, state, error_code, error, at)| UninstallReport {
            uninstall_id,
            state,
            error_code,
            error,
            at,
        },
    )
}

fn follow_state() -> impl Strategy<Value = FollowState> {
    prop::sample::select(vec![
        FollowState::Confirmed,
        FollowState::Reverted,
        FollowState::Refused,
        FollowState::Other,
    ])
}

fn follow_me() -> impl Strategy<Value = FollowMe> {
    let record = (text(), bytes()).prop_map(|(record, signature)| SignedRecord { record, signature });
    (bytes(), prop::option::of(record)).prop_map(|(key, record)| FollowMe { key, record })
}

fn tunnel_id() -> impl Strategy<Value = TunnelId> {
    any::<u128>().prop_map(|bits| TunnelId(Uuid::from_u128(bits)))
}

fn channel_kinds() -> impl Strategy<Value = Vec<ChannelKind>> {
    prop::collection::vec(prop::sample::select(ChannelKind::ALL), 0..4)
}

fn tunnel_open() -> impl Strategy<Value = TunnelOpen> {
    let paths = prop::option::of(prop::collection::vec(text(), 0..3));
    let rules = (channel_kinds(), paths, prop::collection::vec(text(), 0..3))
        .prop_map(|(channels, paths, forwards)| TunnelRules { channels, paths, forwards });
    let consent = prop::sample::select(vec![Consent::Never, Consent::WhenSignedIn, Consent::Always]);
    (tunnel_id(), text(), rules, consent).prop_map(|(tunnel_id, tech, rules, consent)| TunnelOpen {
        tunnel_id,
        tech,
        rules,
        consent,
    })
}

fn tunnel_ready() -> impl Strategy<Value = TunnelReady> {
    let kind = prop::sample::select(ChannelKind::ALL);
    let channel =
        (any::<u32>(), kind, text()).prop_map(|(channel, kind, label)| LiveChannel { channel, kind, label });
    let shell = (text(), text()).prop_map(|(name, program)| Shell { name, program });
    let (channels, shells) = (prop::collection::vec(channel, 0..3), prop::collection::vec(shell, 0..3));
    (tunnel_id(), channels, shells, channel_kinds())
        .prop_map(|(tunnel_id, channels, shells, kinds)| TunnelReady { tunnel_id, channels, shells, kinds })
}

fn tunnel_refused() -> impl Strategy<Value = TunnelRefused> {
    let reason = prop::sample::select(vec![
        Refusal::ConsentUnavailable,
        Refusal::ConsentDenied,
        Refusal::TooManySessions,
        Refusal::Unsupported,
        Refusal::Other,
    ]);
    (tunnel_id(), reason, text()).prop_map(|(tunnel_id, reason, detail)| TunnelRefused {
        tunnel_id,
        reason,
        detail,
    })
}

fn gap_id() -> impl Strategy<Value = GapId> {
    any::<u128>().prop_map(|bits| GapId(Uuid::from_u128(bits)))
}

fn gap() -> impl Strategy<Value = Gap> {
    let reason = prop_oneof![
        Just(GapReason::OutboxFull),
        Just(GapReason::DiskFull),
        Just(GapReason::StoreFailed),
        Just(GapReason::StoreUnreadable),
        Just(GapReason::Other),
    ];
    (gap_id(), time(), time(), prop::option::of(any::<u64>()), reason, optional_text())
        .prop_map(|(gap_id, from, to, count, reason, error)| Gap { gap_id, from, to, count, reason, error })
}

fn follow_report() -> impl Strategy<Value = FollowReport> {
    (any::<u64>(), follow_state(), optional_text(), optional_text(), time()).prop_map(
        |(serial, state, error_code, error, at)| FollowReport { serial, state, error_code, error, at },
    )
}

fn agent_message() -> impl Strategy<Value = AgentMessage> {
    prop_oneof![
        hello().prop_map(AgentMessage::Hello),
        prop::option::of(time()).prop_map(|clock| AgentMessage::Heartbeat { clock }),
        (any::<u64>(), sample()).prop_map(|(seq, sample)| AgentMessage::Metrics { seq, sample }),
        (any::<u64>(), network_state()).prop_map(|(seq, state)| AgentMessage::NetworkState { seq, state }),
        (command_id(), time())
            .prop_map(|(command_id, started_at)| AgentMessage::CommandStarted { command_id, started_at }),
        output().prop_map(AgentMessage::CommandOutput),
        command_end().prop_map(AgentMessage::CommandEnded),
        log_part().prop_map(AgentMessage::LogPart),
        log_end().prop_map(AgentMessage::LogEnd),
        crash_report().prop_map(AgentMessage::CrashReport),
        update_report().prop_map(AgentMessage::UpdateReport),
        uninstall_report().prop_map(AgentMessage::UninstallReport),
        follow_report().prop_map(AgentMessage::FollowReport),
        gap().prop_map(AgentMessage::Gap),
        tunnel_ready().prop_map(AgentMessage::TunnelReady),
        tunnel_refused().prop_map(AgentMessage::TunnelRefused),
        Just(AgentMessage::Goodbye {}),
    ]
}

fn server_message() -> impl Strategy<Value = ServerMessage> {
    let reason = prop::sample::select(vec![
        GoodbyeReason::ServerStopping,
        GoodbyeReason::Replaced,
        GoodbyeReason::Revoked,
        GoodbyeReason::ProtocolError,
        GoodbyeReason::NoCommonVersion,
        GoodbyeReason::TooSlow,
    ]);
    prop_oneof![
        welcome().prop_map(ServerMessage::Welcome),
        (time(), prop::option::of(any::<u32>())).prop_map(|(server_time, reconnect_within_seconds)| {
            ServerMessage::HeartbeatAck { server_time, reconnect_within_seconds }
        }),
        any::<u64>().prop_map(|seq| ServerMessage::MetricsAck { seq }),
        any::<u64>().prop_map(|seq| ServerMessage::NetworkStateAck { seq }),
        command_start().prop_map(ServerMessage::CommandStart),
        command_id().prop_map(|command_id| ServerMessage::CommandCancel { command_id }),
        (command_id(), any::<u32>())
            .prop_map(|(command_id, seq)| ServerMessage::CommandOutputAck { command_id, seq }),
        command_id().prop_map(|command_id| ServerMessage::CommandEndAck { command_id }),
        config().prop_map(|config| ServerMessage::ConfigUpdate { config }),
        prop::option::of(any::<u32>()).prop_map(|interval_ms| ServerMessage::LiveMetrics { interval_ms }),
        (log_id(), any::<u64>())
            .prop_map(|(log_id, max_bytes)| ServerMessage::LogRequest(LogRequest { log_id, max_bytes })),
        crash_id().prop_map(|crash_id| ServerMessage::CrashReportAck { crash_id }),
        update_order().prop_map(ServerMessage::UpdateOrder),
        (update_id(), update_state())
            .prop_map(|(update_id, state)| ServerMessage::UpdateReportAck { update_id, state }),
        (uninstall_id(), time()).prop_map(|(uninstall_id, valid_until)| {
            ServerMessage::UninstallOrder(UninstallOrder { uninstall_id, valid_until })
        }),
        uninstall_id().prop_map(|uninstall_id| ServerMessage::UninstallCancel { uninstall_id }),
        follow_me().prop_map(ServerMessage::FollowMe),
        (any::<u64>(), follow_state())
            .prop_map(|(serial, state)| ServerMessage::FollowReportAck { serial, state }),
        gap_id().prop_map(|gap_id| ServerMessage::GapAck { gap_id }),
        tunnel_open().prop_map(ServerMessage::TunnelOpen),
        tunnel_id().prop_map(|tunnel_id| ServerMessage::TunnelClose(TunnelClose { tunnel_id })),
        (uninstall_id(), uninstall_state())
            .prop_map(|(uninstall_id, state)| { ServerMessage::UninstallReportAck { uninstall_id, state } }),
        (reason, any::<u32>()).prop_map(|(reason, reconnect_within_seconds)| ServerMessage::Goodbye {
            reason,
            reconnect_within_seconds
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agents_messages_survive_the_wire(message in agent_message()) {
        let text = encode(&message).unwrap();
        prop_assert_eq!(decode_agent_message(&text).unwrap(), Decoded::Known(message));
    }

    #[test]
    fn servers_messages_survive_the_wire(message in server_message()) {
        let text = encode(&message).unwrap();
        prop_assert_eq!(decode_server_message(&text).unwrap(), Decoded::Known(message));
    }

    #[test]
    fn cleaning_brings_any_sample_within_limits_and_changes_nothing_more(sample in sample()) {
        let mut once = sample;
        once.clean();
        prop_assert!((0.0..=100.0).contains(&once.cpu_percent));
        prop_assert!(once.disk_percent().is_none_or(|percent| (0.0..=100.0).contains(&percent)));
        prop_assert!(once.rx_bytes <= i64::MAX as u64);
        let texts = once.top_cpu.iter().map(|process| &process.name);
        prop_assert!(texts.clone().all(|text| !text.contains('\0')));
        let mut twice = once.clone();
        twice.clean();
        prop_assert_eq!(once, twice);
    }
}
