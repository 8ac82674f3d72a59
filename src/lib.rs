//! Archives NetEase Yunxin IM messages by reference.
//!
//! A job reads *references* (conversation, message ID, create time) from a source, plans them into the fewest
//! possible batch requests, makes those batches durable in a ledger, fetches them at the quota and never over it,
//! and commits the messages to an archive exactly once.
//!
//! # Map
//!
//! ```text
//! source ─references→ plan ─batches→ ledger ─pending batches→ yunxin ─outcomes→ archive ─commit→ ledger
//! ```
//!
//! | room | knows |
//! |---|---|
//! | [`model`] | references, messages and the one table of their columns, failures, manifests, what is told of a run; pure |
//! | [`plan`], `sql` | references to batches; placeholders of a user's query; pure |
//! | [`config`] | what `jobs.yaml` says and what it means |
//! | [`source`] | where references are read: files, databases; and how rows become references |
//! | [`yunxin`] | the API: sign, request, response, codes, pace, endpoints, client |
//! | [`archive`] | where messages go, and what can be done with them there: Parquet, Postgres |
//! | [`ledger`] | the job's durable memory |
//! | [`run`] | the whole flow: one coordinator, which knows sources and archives by their traits |
//! | `fleet` | a run whose batches are asked for by workers elsewhere: the queue, shares of the quota, deliveries |
//! | [`metrics`] | what is told of a job after each run, as Prometheus reads it; pure |
//! | [`notify`] | who is told of a run: a file, a Pushgateway, a collector, monitors, hooks |
//! | [`report`](mod@report) | the page that shows a run |
//! | [`completeness`] | whether everything referenced is archived, and the certificate that says so |
//! | `page` | what reports, certificates and transcripts are made of: markup, charts, numbers |
//! | [`export`] | conversations out of an archive, as pages, RSMF, CSV, JSON lines, Parquet |
//! | [`cli`] | commands; the only room that prints |
//! | [`simulator`] | the API as documented, with faults; shares no code with [`yunxin`] |
//!
//! # Invariants
//!
//! - The pure rooms name no I/O crate, and `source`, `yunxin`, `archive`, `ledger` do not name each other.
//! - No request is sent for a batch that is not yet durable in the ledger.
//! - The ledger never calls a batch done before the archive has it durably.
//! - Nothing outside `cli` and `main` prints or exits.

pub mod archive;
pub mod cli;
pub mod completeness;
pub mod config;
pub mod export;
mod failpoint;
mod fleet;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod ledger;
mod locked;
pub mod metrics;
pub mod model;
pub mod notify;
mod page;
mod panics;
pub mod plan;
pub mod progress;
mod replacement;
pub mod report;
mod retry;
pub mod run;
pub mod simulator;
mod sort;
pub mod source;
mod sql;
pub mod storage;
pub mod telemetry;
pub mod yunxin;
