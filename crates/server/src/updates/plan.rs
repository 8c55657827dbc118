//! Which version an agent is to become.

use super::Channel;
use super::releases::Release;
use crate::policies::UpdatePolicy;
use chrono::{DateTime, TimeDelta, Utc};
use semver::Version;

/// What an agent is.
#[derive(Debug, Clone)]
pub struct Build {
    pub version: Version,
    pub os: String,
    pub arch: String,
}

/// The newest version for an agent that it does not run yet, and the channel to name in the order: the most careful one
/// it is published in. `is_refused` says which versions it is spared.
pub fn newest<'a>(
    releases: &'a [Release],
    build: &Build,
    channel: Channel,
    is_refused: impl Fn(&Release) -> bool,
) -> Option<(&'a Release, Channel)> {
    let published = releases.iter().filter(|release| {
        release.os == build.os && release.arch == build.arch && release.version > build.version
    });
    published
        .filter_map(|release| {
            let published = release.channels.iter().copied().find(|published| channel.takes(*published))?;
            Some((release, published))
        })
        .filter(|(release, _)| !is_refused(release))
        .max_by(|(a, _), (b, _)| a.version.cmp(&b.version))
}

/// Until when an order that policy gives now is valid; `None` when policy gives none now.
pub fn ordered_until(policy: &UpdatePolicy, release: &Release, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let deferred_until = release.released_at + TimeDelta::hours(i64::from(policy.defer_hours));
    if !policy.is_enabled || deferred_until > now {
        return None;
    }
    let day = now + super::ORDER_VALID;
    match &policy.window {
        Some(window) => window.open_until(now).map(|closes| closes.min(day)),
        None => Some(day),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn release(version: &str, channels: &[Channel]) -> Release {
        Release {
            version: version.parse().unwrap(),
            os: "linux".into(),
            arch: "x86_64".into(),
            channels: channels.to_vec(),
            released_at: DateTime::UNIX_EPOCH,
            size: 1,
            sha256: String::new(),
        }
    }

    fn build(version: &str) -> Build {
        Build { version: version.parse().unwrap(), os: "linux".into(), arch: "x86_64".into() }
    }

    fn pick(releases: &[Release], at: &str, channel: Channel) -> Option<(String, Channel)> {
        newest(releases, &build(at), channel, |_| false)
            .map(|(release, channel)| (release.version.to_string(), channel))
    }

    #[test]
    fn a_channel_takes_what_more_careful_ones_take() {
        use Channel::{Beta, Current, Stable};
        let releases = [release("1.2.0", &[Stable]), release("1.3.0", &[Current]), release("1.4.0", &[Beta])];
        let of = |version: &str, channel| Some((version.to_owned(), channel));
        assert_eq!(pick(&releases, "1.0.0", Stable), of("1.2.0", Stable));
        assert_eq!(pick(&releases, "1.0.0", Current), of("1.3.0", Current));
        assert_eq!(pick(&releases, "1.0.0", Beta), of("1.4.0", Beta));
        assert_eq!(pick(&releases[..1], "1.0.0", Beta), of("1.2.0", Stable));
        assert_eq!(pick(&releases, "1.3.0", Stable), None);
    }

    #[test]
    fn another_system_and_a_refused_version_are_passed_over() {
        let releases = [
            release("1.2.0", &[Channel::Stable]),
            Release { os: "windows".into(), ..release("2.0.0", &[Channel::Stable]) },
            Release { arch: "aarch64".into(), ..release("2.0.0", &[Channel::Stable]) },
        ];
        assert_eq!(pick(&releases, "1.0.0", Channel::Stable).unwrap().0, "1.2.0");
        assert!(newest(&releases, &build("1.0.0"), Channel::Beta, |_| true).is_none());
    }

    proptest! {
        #[test]
        fn nothing_is_ever_ordered_that_is_not_newer(at in 0_u64..20, published in proptest::collection::vec(0_u64..20, 0..8)) {
            let releases: Vec<_> =
                published.iter().map(|minor| release(&format!("1.{minor}.0"), &[Channel::Stable])).collect();
            let picked = pick(&releases, &format!("1.{at}.0"), Channel::Beta);
            let expected = published.iter().copied().filter(|minor| *minor > at).max();
            prop_assert_eq!(picked.map(|(version, _)| version), expected.map(|minor| format!("1.{minor}.0")));
        }
    }
}
