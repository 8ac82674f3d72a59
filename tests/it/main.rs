//! Tests at the boundary: the binary and the public API, against a served simulator and real databases.

#![allow(clippy::unwrap_used, missing_docs)]

mod adopt;
mod api;
mod architecture;
mod cli;
mod commit;
mod completeness;
mod configuration;
mod demo;
mod dependencies;
mod documentation;
mod edits;
mod export;
mod fleet;
mod history;
mod job;
mod ledger;
mod loading;
mod metrics;
mod monitoring;
mod packages;
mod parquet;
mod postgres;
mod proxy;
mod report;
mod simulator;
mod source;
mod storage;
mod stores;
mod storm;
mod support;
mod tables;
mod threads;
mod verify;
