//! Tests at the boundary: the binary and the public API, against a served simulator and real databases.

#![allow(clippy::unwrap_used, missing_docs)]

mod api;
mod architecture;
mod cli;
mod commit;
mod configuration;
mod demo;
mod export;
mod job;
mod ledger;
mod parquet;
mod postgres;
mod simulator;
mod source;
mod support;
