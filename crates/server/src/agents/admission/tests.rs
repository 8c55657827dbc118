use super::*;
use gururmm_protocol::system::UidSource;
use proptest::prelude::*;

const SITE: Uuid = Uuid::from_u128(1);
const OTHER_SITE: Uuid = Uuid::from_u128(2);
const CLIENT: Uuid = Uuid::from_u128(3);

fn newcomer(board: Option<&str>, disk: Option<&str>) -> Newcomer {
    Newcomer {
        hostname: "ws-01".to_owned(),
        os_type: OsType::Linux,
        os_version: "Debian GNU/Linux 12 (bookworm)".to_owned(),
        arch: "x86_64".to_owned(),
        agent_version: "0.1.0".to_owned(),
        identity: MachineIdentity {
            machine_uid: "0123456789abcdef".to_owned(),
            machine_uid_source: UidSource::SmbiosUuid,
            board_serial: board.map(str::to_owned),
            disk_serial: disk.map(str::to_owned),
        },
        mac_addresses: Vec::new(),
    }
}

fn known(
    id: u128,
    site_id: Uuid,
    is_connected: bool,
    board: Option<&str>,
    disk: Option<&str>,
) -> store::Known {
    store::Known {
        agent_id: Uuid::from_u128(id),
        client_id: CLIENT,
        site_id,
        hostname: "ws-01".to_owned(),
        board_serial: board.map(str::to_owned),
        disk_serial: disk.map(str::to_owned),
        is_connected,
        was_seen: true,
    }
}

fn entrance(approval_required: bool) -> Entrance {
    Entrance { client_id: CLIENT, site_id: SITE, approval_required, enrollment_key_id: Uuid::from_u128(9) }
}

fn past(was_rejected: bool) -> Past {
    Past { was_rejected, retired: None }
}

fn waits_for(verdict: Verdict) -> Option<PendingReason> {
    match verdict {
        Verdict::Wait { reason, .. } => Some(reason),
        _ => None,
    }
}

#[test]
fn a_machine_that_someone_retired_waits_and_whose_history_it_may_be_is_said() {
    let retired = Some(Uuid::from_u128(7));
    let (machine, past) = (newcomer(Some("B1"), None), Past { was_rejected: false, retired });
    let waits = Verdict::Wait { reason: PendingReason::RetiredBefore, collides_with: retired };
    for approval in [false, true] {
        assert_eq!(decide(&[], &machine, &entrance(approval), past), waits);
    }
    // Who is there now counts more than who was.
    let here = known(8, SITE, false, Some("B1"), None);
    assert_eq!(decide(&[here], &machine, &entrance(false), past), Verdict::ComeBack(Uuid::from_u128(8)));
}

#[test]
fn an_unknown_machine_is_let_in_unless_its_site_asks_for_approval_or_it_was_rejected() {
    let machine = newcomer(Some("B1"), None);
    assert_eq!(decide(&[], &machine, &entrance(false), Past::default()), Verdict::Admit);
    let wait = |approval, rejected| waits_for(decide(&[], &machine, &entrance(approval), past(rejected)));
    assert_eq!(wait(true, false), Some(PendingReason::ApprovalRequired));
    assert_eq!(wait(false, true), Some(PendingReason::RejectedBefore));
    assert_eq!(wait(true, true), Some(PendingReason::RejectedBefore));
}

#[test]
fn a_machine_comes_back_only_offline_and_with_its_own_board_or_disk() {
    let decide = |known, newcomer| decide(&[known], &newcomer, &entrance(true), Past::default());
    let back = Verdict::ComeBack(Uuid::from_u128(7));
    let by_board = known(7, SITE, false, Some("B1"), Some("D1"));
    assert_eq!(decide(by_board.clone(), newcomer(Some("B1"), Some("D2"))), back);
    assert_eq!(decide(by_board.clone(), newcomer(Some("B2"), Some("D1"))), back);
    for (board, disk) in [(Some("B2"), Some("D2")), (None, None), (Some("D1"), Some("B1"))] {
        let verdict = decide(by_board.clone(), newcomer(board, disk));
        assert_eq!(waits_for(verdict), Some(PendingReason::HardwareDiffers), "{board:?} {disk:?}");
    }
    let online = known(7, SITE, true, Some("B1"), Some("D1"));
    let verdict = decide(online, newcomer(Some("B1"), Some("D1")));
    assert_eq!(waits_for(verdict), Some(PendingReason::IdentityInUse));
}

#[test]
fn a_word_the_maker_left_is_not_a_serial() {
    for word in ["None", "To Be Filled By O.E.M.", "Default string", "00000000", " ", ""] {
        let verdict = decide(
            &[known(7, SITE, false, Some(word), None)],
            &newcomer(Some(word), None),
            &entrance(false),
            Past::default(),
        );
        assert_eq!(waits_for(verdict), Some(PendingReason::HardwareDiffers), "{word}");
    }
}

#[test]
fn a_machine_of_another_site_is_a_conflict() {
    let machines = [known(7, OTHER_SITE, false, Some("B1"), None)];
    let verdict = decide(&machines, &newcomer(Some("B1"), None), &entrance(false), Past::default());
    assert_eq!(verdict, Verdict::SiteConflict(Uuid::from_u128(7)));
}

#[test]
fn a_mere_name_at_another_site_keeps_no_machine_out() {
    let name = store::Known { was_seen: false, ..known(7, OTHER_SITE, false, Some("B1"), None) };
    let verdict =
        decide(std::slice::from_ref(&name), &newcomer(Some("B1"), None), &entrance(false), Past::default());
    assert_eq!(waits_for(verdict), Some(PendingReason::EnrolledElsewhere));
    let seen = known(8, OTHER_SITE, false, Some("B2"), None);
    let verdict = decide(&[name, seen], &newcomer(Some("B1"), None), &entrance(false), Past::default());
    assert_eq!(verdict, Verdict::SiteConflict(Uuid::from_u128(8)));
}

#[test]
fn twins_with_the_same_hardware_are_never_told_apart_by_guessing() {
    let twins = [known(7, SITE, true, Some("B1"), None), known(8, SITE, false, Some("B1"), None)];
    let verdict = decide(&twins, &newcomer(Some("B1"), None), &entrance(false), Past::default());
    assert_eq!(waits_for(verdict), Some(PendingReason::IdentityShared));
    let told_apart = [known(7, SITE, true, Some("B1"), None), known(8, SITE, false, Some("B2"), None)];
    let verdict = decide(&told_apart, &newcomer(Some("B2"), None), &entrance(false), Past::default());
    assert_eq!(verdict, Verdict::ComeBack(Uuid::from_u128(8)));
}

#[test]
fn what_a_machine_says_is_bounded_and_its_uid_is_plain() {
    let mut machine = newcomer(Some("B1"), None);
    machine.hostname = format!("a\0{}", "b".repeat(1_000));
    let checked = machine.checked().unwrap();
    assert_eq!(checked.hostname.chars().count(), MAX_NAME_CHARS);
    assert!(!checked.hostname.contains('\0'));
    for uid in ["", "short", "has space in it", "0123456789abcdef#1", "'; DROP TABLE agents"] {
        let mut machine = newcomer(None, None);
        machine.identity.machine_uid = uid.to_owned();
        assert_eq!(machine.checked().unwrap_err().code(), Code::ValidationFailed, "{uid}");
    }
}

fn any_known() -> impl Strategy<Value = store::Known> {
    let serial = || prop_oneof![Just(None), Just(Some("S1")), Just(Some("S2")), Just(Some("none"))];
    (1..5_u128, any::<bool>(), any::<bool>(), serial(), serial()).prop_map(
        |(id, here, online, board, disk)| {
            known(id, if here { SITE } else { OTHER_SITE }, online, board, disk)
        },
    )
}

proptest! {
    /// The heart of decision 25: history goes to nobody on the uid alone.
    #[test]
    fn whoever_comes_back_is_offline_here_and_has_the_same_hardware(
        machines in proptest::collection::vec(any_known(), 0..5),
        board in proptest::option::of("S[12]"),
        disk in proptest::option::of("S[12]"),
        approval in any::<bool>(),
        rejected in any::<bool>(),
    ) {
        let machine = newcomer(board.as_deref(), disk.as_deref());
        match decide(&machines, &machine, &entrance(approval), past(rejected)) {
            Verdict::Admit => prop_assert!(machines.is_empty() && !approval && !rejected),
            Verdict::ComeBack(id) => {
                let same = |a: &Option<String>, b: &Option<String>| a.is_some() && a == b;
                let is_it = machines.iter().any(|known| {
                    let same_hardware = same(&known.board_serial, &board) || same(&known.disk_serial, &disk);
                    known.agent_id == id && known.site_id == SITE && !known.is_connected && same_hardware
                });
                prop_assert!(is_it);
            }
            Verdict::SiteConflict(_) => prop_assert!(machines.iter().all(|known| known.site_id != SITE)),
            Verdict::Wait { .. } => {}
        }
    }
}
