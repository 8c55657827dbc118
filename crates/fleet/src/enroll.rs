//! Enrollment as the real agent does it, over HTTP with a site's key.

use crate::machine::Machine;
use crate::wire::{Place, source};
use anyhow::{Context as _, bail};
use gururmm_protocol::bootstrap::{EnrollRequest, EnrollResponse};
use http::StatusCode;
use std::time::Duration;
use tokio::time::sleep;

/// How often a server that is busy is asked again.
const ATTEMPTS: u32 = 60;

/// Enrolls one machine; waits while the server limits enrollments.
///
/// # Errors
/// When the server refuses it, or does not answer.
pub async fn enroll(
    place: &Place,
    machine: &Machine,
    site_code: &str,
    enrollment_key: &str,
) -> anyhow::Result<EnrollResponse> {
    let asked = EnrollRequest {
        site_code: site_code.to_owned(),
        enrollment_key: enrollment_key.to_owned(),
        hostname: machine.system.hostname.clone(),
        os_type: machine.system.os_type,
        os_version: machine.system.os_version.clone(),
        arch: machine.system.arch.clone(),
        agent_version: machine.agent_version().to_owned(),
        identity: machine.identity.clone(),
        mac_addresses: machine.network.interfaces.iter().map(|interface| interface.mac.clone()).collect(),
    };
    for _ in 0..ATTEMPTS {
        let (status, body) = place.post(source(machine.number), "/api/enroll", None, &asked).await?;
        match status {
            StatusCode::CREATED => {
                return serde_json::from_slice(&body).context("not an enrollment's answer");
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                sleep(Duration::from_secs(1)).await;
            }
            _ => {
                let hostname = &machine.system.hostname;
                bail!("{hostname} is refused with {status}: {}", String::from_utf8_lossy(&body))
            }
        }
    }
    bail!("the server lets nobody enroll for {ATTEMPTS} s")
}
