//! Whole jobs through the binary: what becomes of every reference, and how the process ends.

mod asks;
pub(crate) mod changed_identity;
mod corrections;
mod death;
mod dismissals;
mod failures;
pub(crate) mod follow_ups;
mod locks;
mod looks_wrong;
mod nights;
mod outage;
mod reconciliation;
mod refusals;
mod retention;
mod slow_commits;
mod sources;
mod stopping;
