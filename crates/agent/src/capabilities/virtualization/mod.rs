//! Whether this machine is a virtual machine or a container, of what kind, and which virtual machines it hosts. Anybody
//! with rights on the machine can make it say something else: it is for people, and decides nothing.

mod cpu;
mod verdict;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as platform;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as platform;

#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "macos")]
use macos as platform;

use gururmm_protocol::virtualization::Virtualization;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a connection waits for it. A cluster's file system may not answer at all.
const WITHIN: Duration = Duration::from_secs(3);

type Read = fn() -> Virtualization;

/// What was last found, looked at anew for every connection. A look that hangs is not joined by another.
#[derive(Debug)]
pub struct VirtualizationWatch {
    read: Read,
    within: Duration,
    last: Arc<Mutex<Option<Virtualization>>>,
    looking: Arc<()>,
}

impl Default for VirtualizationWatch {
    fn default() -> Self {
        Self::reading_by(platform::read, WITHIN)
    }
}

impl VirtualizationWatch {
    fn reading_by(read: Read, within: Duration) -> Self {
        Self { read, within, last: Arc::default(), looking: Arc::default() }
    }

    /// What this machine is; as it was last known when that takes too long, and absent when it was never known.
    pub async fn look(&self) -> Option<Virtualization> {
        if Arc::strong_count(&self.looking) == 1 {
            let (read, last, looking) = (self.read, Arc::clone(&self.last), Arc::clone(&self.looking));
            let (done, is_done) = oneshot::channel();
            // A thread of its own: one that hangs for ever must not be one of the few the runtime has.
            let thread = std::thread::Builder::new().name("virtualization".into()).spawn(move || {
                let mut found = read();
                found.clean();
                *lock(&last) = Some(found);
                drop(looking);
                let _ = done.send(());
            });
            match thread {
                Ok(_) => drop(tokio::time::timeout(self.within, is_done).await),
                Err(error) => tracing::debug!(%error, "what this machine runs on cannot be found out now"),
            }
        }
        lock(&self.last).clone()
    }
}

fn lock(last: &Mutex<Option<Virtualization>>) -> MutexGuard<'_, Option<Virtualization>> {
    last.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gururmm_protocol::virtualization::Hypervisor;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn this_machine_is_something_and_the_same_twice() {
        let watch = VirtualizationWatch::default();
        let first = watch.look().await;
        assert!(first.is_some());
        assert_eq!(watch.look().await, first);
    }

    #[tokio::test]
    async fn a_look_that_hangs_holds_up_no_connection_and_is_not_joined_by_another() {
        static LOOKS: AtomicU32 = AtomicU32::new(0);
        fn once() -> Virtualization {
            if LOOKS.fetch_add(1, Ordering::SeqCst) > 0 {
                loop {
                    std::thread::park();
                }
            }
            Virtualization { hypervisor: Some(Hypervisor::Kvm), ..Virtualization::default() }
        }
        let mut watch = VirtualizationWatch::reading_by(once, Duration::from_secs(60));
        let first = watch.look().await;
        assert_eq!(first.as_ref().and_then(|known| known.hypervisor), Some(Hypervisor::Kvm));
        watch.within = Duration::from_millis(1);
        for _ in 0..3 {
            assert_eq!(watch.look().await, first);
        }
        assert!(LOOKS.load(Ordering::SeqCst) <= 2);
    }
}
