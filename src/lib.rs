//! Archives NetEase Yunxin IM messages by reference.
//!
//! A job reads *references* (conversation, message ID, create time) from a source, plans them into the fewest
//! possible batch requests, makes those batches durable in a ledger, fetches them at the quota and never over it,
//! and commits the messages to a sink exactly once.
//!
//! # Map
//!
//! ```text
//! source ─references→ plan ─batches→ ledger ─pending batches→ yunxin ─outcomes→ sink ─commit→ ledger
//! ```
//!
//! | room | knows |
//! |---|---|
//! | [`model`] | messages, and the one table of their columns; pure |
//! | [`reference`](mod@reference), [`failure`], [`plan`], `digits`, `sql` | pure values: no clock, no randomness, no I/O, no async |
//! | [`config`] | what `jobs.yaml` says and what it means |
//! | [`source`] | where references are read, one file per kind |
//! | [`yunxin`] | the API: sign, request, response, codes, pace, endpoints, client |
//! | [`sink`] | where messages go: Parquet, Postgres |
//! | [`ledger`] | the job's durable memory |
//! | [`run`] | the whole flow, by the traits of source and sink |
//! | [`course`], [`report`](mod@report) | how a run went over time, and the page that shows it |
//! | [`manifest`], [`verify`](mod@verify) | how the runs of an archive vouch for each other, and whether they do |
//! | [`completeness`] | whether everything referenced is archived, and the certificate that says so |
//! | `page` | what reports, certificates and transcripts are made of: markup, charts, numbers |
//! | [`export`] | conversations out of an archive, as pages, RSMF, CSV, JSON lines, Parquet |
//! | [`cli`] | commands; the only room that prints |
//! | [`simulator`] | the API as documented, with faults; shares no code with [`yunxin`] |
//!
//! # Invariants
//!
//! - The pure rooms name no I/O crate, and `source`, `yunxin`, `sink`, `ledger` do not name each other.
//! - No request is sent for a batch that is not yet durable in the ledger.
//! - The ledger never calls a batch done before the sink has it durably.
//! - Nothing outside `cli` and `main` prints or exits.

pub mod cli;
pub mod completeness;
pub mod config;
pub mod course;
mod digits;
pub mod export;
mod failpoint;
pub mod failure;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod ledger;
mod locked;
pub mod manifest;
pub mod model;
pub use model::message;
mod page;
mod panics;
pub mod plan;
pub mod progress;
pub mod reference;
pub mod report;
pub mod run;
pub mod simulator;
pub mod sink;
mod sort;
pub mod source;
mod sql;
pub mod summary;
pub mod telemetry;
pub mod verify;
pub mod yunxin;
