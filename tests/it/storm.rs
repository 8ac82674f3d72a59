//! Nights in which things go wrong, against the real binary: whatever dies and whenever, nothing is lost and nothing is
//! written twice.

#![allow(clippy::print_stdout, clippy::assigning_clones)]

mod answers;
mod bucket;
mod database;
mod disk;
mod fences;
mod host;
mod kills;
mod network;
mod places;
mod pods;
mod power;
mod quota;
mod requests;
mod secrets;
mod steps;

/// Steps that every run passes, whatever the sink, in the order in which it does, or nearly so.
const STEPS: [&str; 14] = [
    "plan.before",
    "plan.after",
    "cursor.before",
    "cursor.after",
    "split.before",
    "split.after",
    "aside.after",
    "cut.before",
    "cut.after",
    "commit.before",
    "prepare.after",
    "record.before",
    "record.after",
    "finish.before",
];
