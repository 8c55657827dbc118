//! The agent against a server of the test's own, over real sockets, with real processes.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panic")]

mod binary;
mod clock;
mod commands;
mod crashes;
mod desk;
mod faults;
mod follow;
mod harness;
mod helpers;
mod hostile;
mod installed;
mod lifecycle;
mod long;
mod outbox;
mod outbox_faults;
mod own_log;
mod removal;
mod rights;
mod served;
mod tls;
mod tunnel;
mod update_attacks;
mod update_cycles;
mod updates;
mod user_session;
mod watchdog;
