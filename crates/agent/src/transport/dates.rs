//! At which time a certificate is judged, on machines whose clocks cannot be relied on.
//!
//! - Never at a time earlier than a server already proved to this agent: what is expired by the server's time that is
//!   known here stays expired, wherever somebody sets the machine's clock.
//! - A clock that runs ahead makes good certificates "expired". Then the server's time decides, as it was last known.
//! - A clock that is behind makes good certificates "not yet valid". An authority does not sign for the future, so
//!   its certificate proves that it is later than the machine thinks; it is judged at its own beginning.
//!
//! Everything else (name, chain, signatures, the pinned CA) is verified as ever, every time.

use crate::clock::ServerClock;
use chrono::{DateTime, Utc};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Certificates of a chain that may each begin later than the one before.
const BEGINNINGS: usize = 4;
/// Later than any certificate ends, and what X.509 can still say: the year 9999.
const END_OF_DAYS: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(253_402_300_799));

/// Verifies as `inner` does, at a time that is plausible.
#[derive(Debug)]
pub(super) struct PlausibleTime {
    pub inner: Arc<dyn ServerCertVerifier>,
    pub clock: Arc<ServerClock>,
}

impl ServerCertVerifier for PlausibleTime {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        system: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let check = |at: UnixTime| {
            self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, at)
        };
        let now = Instant::now();
        let earliest = unix(self.clock.earliest(now));
        let verified = judge(system, earliest, self.clock.known(now).map(unix), check)?;
        if let Some((not_before, not_after)) = validity(check) {
            self.clock.vouched(not_before, not_after);
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Checks at the machine's time, or where that cannot be right at the time this module's rules give.
fn judge<T>(
    system: UnixTime,
    earliest: UnixTime,
    known: Option<UnixTime>,
    check: impl Fn(UnixTime) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut result = check(system.max(earliest));
    for _ in 0..BEGINNINGS {
        result = match (result, known) {
            (Err(Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })), _) => {
                check(not_before)
            }
            (Err(error), Some(known)) if is_over(&error) && system > known => {
                // The refusal at the machine's time is the one to be told.
                return check(known).map_err(|_| error);
            }
            (result, _) => return result,
        };
    }
    result
}

/// Whether a certificate was refused for its dates.
pub(super) fn are_the_reason(error: &Error) -> bool {
    is_over(error) || matches!(error, Error::InvalidCertificate(CertificateError::NotValidYetContext { .. }))
}

fn is_over(error: &Error) -> bool {
    matches!(error, Error::InvalidCertificate(CertificateError::ExpiredContext { .. }))
}

/// From when to when the certificate is valid, by what is said of it at both ends of time.
fn validity<T>(check: impl Fn(UnixTime) -> Result<T, Error>) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    let of = |at| match check(at) {
        Err(Error::InvalidCertificate(
            CertificateError::NotValidYetContext { not_before: end, .. }
            | CertificateError::ExpiredContext { not_after: end, .. },
        )) => DateTime::from_timestamp(i64::try_from(end.as_secs()).ok()?, 0),
        _ => None,
    };
    Some((of(UnixTime::since_unix_epoch(Duration::ZERO))?, of(END_OF_DAYS)?))
}

fn unix(time: DateTime<Utc>) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    /// What webpki says of a certificate that is valid from and to these times.
    fn certificate(not_before: u64, not_after: u64) -> impl Fn(UnixTime) -> Result<UnixTime, Error> {
        move |time| {
            if time < at(not_before) {
                let not_before = at(not_before);
                Err(CertificateError::NotValidYetContext { time, not_before }.into())
            } else if time > at(not_after) {
                Err(CertificateError::ExpiredContext { time, not_after: at(not_after) }.into())
            } else {
                Ok(time)
            }
        }
    }

    fn judged(
        system: u64,
        known: Option<u64>,
        certificate: impl Fn(UnixTime) -> Result<UnixTime, Error>,
    ) -> bool {
        judge(at(system), at(known.unwrap_or_default()), known.map(at), certificate).is_ok()
    }

    #[test]
    fn a_clock_that_is_behind_or_ahead_keeps_no_good_certificate_out() {
        // It is 1000; the server was last heard at 990.
        for system in [0, 500, 1_000, 1_500, 1_000_000] {
            assert!(judged(system, Some(990), certificate(950, 1_100)), "{system}");
        }
        // Long away: the certificate is newer than what is known.
        for system in [0, 500, 1_000] {
            assert!(judged(system, Some(100), certificate(950, 1_100)), "{system}");
            assert!(judged(system, None, certificate(950, 1_100)), "{system}");
        }
    }

    #[test]
    fn a_chain_whose_parts_begin_one_after_the_other_is_judged_at_the_last_beginning() {
        let chain = |time| certificate(950, 1_100)(time).and_then(certificate(960, 9_000));
        assert!(judged(0, None, chain));
    }

    #[test]
    fn an_expired_certificate_stays_expired_wherever_the_clock_is_set() {
        for system in [0, 900, 1_000, 1_101, 1_000_000] {
            assert!(!judged(system, Some(1_101), certificate(950, 1_100)), "{system}");
        }
        // Whoever never heard a server has the machine's clock and no more.
        assert!(!judged(1_101, None, certificate(950, 1_100)));
        // Newer than what is known, and over by the machine's clock: nothing speaks for it.
        assert!(!judged(1_101, Some(100), certificate(950, 1_100)));
    }

    #[test]
    fn what_is_wrong_for_another_reason_is_refused_at_once() {
        let refused = judge(at(5), at(0), Some(at(3)), |_| -> Result<(), Error> {
            Err(CertificateError::UnknownIssuer.into())
        });
        assert_eq!(refused, Err(CertificateError::UnknownIssuer.into()));
    }

    #[test]
    fn the_validity_is_read_off_the_two_refusals() {
        let (from, to) = validity(certificate(950, 1_100)).unwrap();
        assert_eq!((from.timestamp(), to.timestamp()), (950, 1_100));
    }

    proptest! {
        #[test]
        fn nothing_is_accepted_at_a_time_the_server_is_known_to_be_past(
            system in 0_u64..5_000, known in 0_u64..5_000, from in 0_u64..5_000, length in 0_u64..2_000,
        ) {
            if let Ok(time) = judge(at(system), at(known), Some(at(known)), certificate(from, from + length)) {
                prop_assert!(time >= at(known));
            }
        }

        #[test]
        fn a_right_clock_is_as_strict_as_ever_but_for_what_ended_since_the_server_was_heard(
            now in 0_u64..5_000, away in 0_u64..5_000, from in 0_u64..5_000, length in 0_u64..2_000,
        ) {
            let known = now.saturating_sub(away);
            let is_valid = (from..=from + length).contains(&now);
            let ended_since = (from..=from + length).contains(&known);
            let begins_later = from > now;
            let accepted = judged(now, Some(known), certificate(from, from + length));
            prop_assert_eq!(accepted, is_valid || ended_since || begins_later);
        }
    }
}
