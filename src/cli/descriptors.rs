//! The number of file descriptors, which limits how many connections may be open.

use rustix::process::{Resource, getrlimit, setrlimit};

/// The most that is requested from the system.
const WANTED: u64 = 2_048;
/// Reserved for the ledger, the archive's files, a database and logs.
const OTHERS: u64 = 96;

/// Raises the soft limit of file descriptors as far as it is allowed and useful. Returns how many of them requests may
/// use.
pub(super) fn for_requests() -> u16 {
    let mut limit = getrlimit(Resource::Nofile);
    let allowed = limit.maximum.unwrap_or(u64::MAX).min(WANTED);
    if limit.current.is_some_and(|current| current < allowed) {
        limit.current = Some(allowed);
        // If this is not allowed, fewer requests are in flight.
        let _ = setrlimit(Resource::Nofile, limit);
        limit = getrlimit(Resource::Nofile);
    }
    let left = limit.current.unwrap_or(u64::MAX).saturating_sub(OTHERS);
    u16::try_from(left).unwrap_or(u16::MAX).max(1)
}
