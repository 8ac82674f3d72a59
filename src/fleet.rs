//! A fleet: one coordinator, which owns the ledger, and workers without state, with NATS between them and the archive in an
//! object store.
//!
//! ```text
//! run ─pending batches→ coordinator ─queue→ worker: share of the quota, fetch, decode, stage files
//!                            ↑                 │
//!                            └──── deliveries, announced ──┘
//! ```
//!
//! Data flows in one direction: `coordinator` and `worker` know `message`, `nats` and what each of them needs besides, and not
//! each other. Only `nats` knows the library. `shares` is pure. The run does the rest, as it does without a fleet.

mod coordinator;
mod grants;
mod health;
mod message;
mod nats;
mod queue;
mod quota;
mod shares;
mod shift;
mod worker;

pub(crate) use coordinator::{Fleet, FleetParts};
pub(crate) use health::serve as serve_health;
pub(crate) use nats::{Nats, NatsError};
pub(crate) use worker::{WorkerParts, work};
