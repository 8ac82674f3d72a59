//! Nights in which things go wrong, against the real binary: whatever dies and whenever, nothing is lost and nothing is
//! written twice.

#![allow(clippy::print_stdout, clippy::assigning_clones)]

mod answers;
mod database;
mod disk;
mod host;
mod kills;
mod network;
mod power;
mod quota;
mod secrets;
mod steps;
