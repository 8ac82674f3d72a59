//! Who may use how much of an app's quota, and until when. Pure: time is an argument.
//!
//! A share is granted for [`LIFE`]. The worker counts it from the moment at which it sent its request, so it stops before the
//! coordinator takes the share to have ended, however long a message or the worker stands still. What a share was is free
//! again [`AFTER`] it has ended: only then has the last request of it surely arrived, and left the second that the service
//! counts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// For how long a share is granted.
pub(super) const LIFE: Duration = Duration::from_secs(10);
/// How long after its end a share still counts: the service's second with the pace's guard, and a second for requests that
/// are late on their way.
pub(super) const AFTER: Duration = Duration::from_millis(2_009);

/// A share that was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grant {
    /// Counts the grants of one [`Shares`].
    pub(super) serial: u64,
    /// Requests in any second.
    pub(super) rate: u32,
    until: Instant,
}

/// What one worker has.
#[derive(Debug)]
struct Holder {
    /// What may still be used, oldest first.
    grants: Vec<Grant>,
    /// Requests a second that it can use.
    wants: u32,
    /// When it last asked.
    asked: Instant,
}

/// The shares of one app's quota.
#[derive(Debug)]
pub(super) struct Shares {
    limit: u32,
    /// Before that, shares of a former coordinator may be in use.
    from: Instant,
    serial: u64,
    holders: BTreeMap<String, Holder>,
}

impl Shares {
    /// Shares of `limit` requests a second, of which none is granted before `from`.
    pub(super) fn new(limit: u32, from: Instant) -> Self {
        Self { limit, from, serial: 0, holders: BTreeMap::new() }
    }

    /// When the first share is granted.
    pub(super) fn opens(&self) -> Instant {
        self.from
    }

    /// Grants a worker a share. `applied` is the serial of the grant that it goes by, and `wants` is what it can use.
    pub(super) fn grant(&mut self, worker: &str, applied: u64, wants: u32, now: Instant) -> Grant {
        let wants = wants.min(self.limit);
        let holder = self.holders.entry(worker.to_owned()).or_insert(Holder { grants: Vec::new(), wants, asked: now });
        (holder.wants, holder.asked) = (wants, now);
        // It goes by this one, so what was granted before has ended.
        for earlier in holder.grants.iter_mut().filter(|grant| grant.serial < applied) {
            earlier.until = earlier.until.min(now);
        }
        self.holders.retain(|_, holder| {
            holder.grants.retain(|grant| grant.until + AFTER > now);
            !holder.grants.is_empty() || holder.asked + LIFE > now
        });
        let others: u32 =
            self.holders.iter().filter(|(name, _)| *name != worker).map(|(_, other)| other.occupied()).sum();
        let free = if now < self.from { 0 } else { self.limit - others.min(self.limit) };
        self.serial += 1;
        let grant = Grant { serial: self.serial, rate: self.target(worker, now).min(free), until: now + LIFE };
        if let Some(holder) = self.holders.get_mut(worker) {
            holder.grants.push(grant);
        }
        grant
    }

    /// What a worker should have: the limit is divided among all that ask, and what one cannot use goes to the others.
    fn target(&self, worker: &str, now: Instant) -> u32 {
        let mut wants: Vec<(u32, &str)> = self
            .holders
            .iter()
            .filter(|(_, holder)| holder.asked + LIFE > now)
            .map(|(name, holder)| (holder.wants, name.as_str()))
            .collect();
        wants.sort_unstable();
        let (mut left, mut count) = (self.limit, wants.len() as u32);
        for (wants, name) in wants {
            let share = wants.min(left / count);
            if name == worker {
                return share;
            }
            left -= share;
            count -= 1;
        }
        0
    }

    /// The requests a second that a worker was last granted, and may still use.
    pub(super) fn of(&self, worker: &str, now: Instant) -> u32 {
        let last = self.holders.get(worker).and_then(|holder| holder.grants.last());
        last.filter(|grant| grant.until > now).map_or(0, |grant| grant.rate)
    }

    /// How many workers asked lately.
    pub(super) fn workers(&self, now: Instant) -> usize {
        self.holders.values().filter(|holder| holder.asked + LIFE > now).count()
    }
}

impl Holder {
    /// The most that it may be using.
    fn occupied(&self) -> u32 {
        self.grants.iter().map(|grant| grant.rate).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
