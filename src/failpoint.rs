//! Steps at which a test can kill the process, as `kill -9` would.
//!
//! Only debug builds have them: in a release build [`reach`] is empty. `YUNXIN_ARCHIVER_DIE_AT=file.fsync` kills the
//! process when it first reaches that step, and `…=file.fsync#3` when it reaches it for the third time. `…=file.fsync!`
//! panics there instead. A test reads the names of all steps from the sources, and insists that each is used by a test.

/// Says that a step was reached, and dies there if a test wants that.
#[cfg(debug_assertions)]
pub(crate) fn reach(step: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    static DEATH: OnceLock<Option<(String, AtomicU32, bool)>> = OnceLock::new();
    let death = DEATH.get_or_init(|| {
        let wanted = std::env::var("YUNXIN_ARCHIVER_DIE_AT").ok()?;
        let (wanted, panics) = wanted.strip_suffix('!').map_or((&*wanted, false), |wanted| (wanted, true));
        let (step, times) = wanted.split_once('#').unwrap_or((wanted, "1"));
        Some((step.to_owned(), AtomicU32::new(times.parse().ok()?), panics))
    });
    let Some((wanted, left, panics)) = death else { return };
    if wanted == step && left.fetch_sub(1, Ordering::SeqCst) == 1 {
        assert!(!panics, "told to panic at {step}");
        kill_process(getpid(), Signal::KILL).ok();
        loop {
            std::thread::park();
        }
    }
}

/// Does nothing: a release build has no steps.
#[cfg(not(debug_assertions))]
#[inline]
pub(crate) fn reach(_step: &str) {}
