//! Whole jobs through the binary: what becomes of every reference, and how the process ends.

mod asks;
mod corrections;
mod dismissals;
mod failures;
mod locks;
mod nights;
mod reconciliation;
mod refusals;
mod sources;
mod stopping;
