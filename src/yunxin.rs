//! The Yunxin API: signing, requests, answers, codes, pace, endpoints and the client.
//!
//! Only this room knows the API's HTTP. An [`App`] is what all jobs of one app share: its quota, endpoints, connections
//! and what was learnt of its credentials. A [`Client`] fetches for one job: it takes a [`Permit`], sends what is
//! asked for at the app's pace, and gives back an [`Outcome`], or a reason to [`Stop`] the run.

mod app;
#[doc(hidden)]
pub mod bench;
mod client;
mod code;
mod concurrency;
mod connect;
mod endpoints;
mod escape;
mod exchange;
mod extra;
mod item;
mod json;
mod outcome;
mod pace;
mod request;
mod response;
mod settings;
mod sign;
mod standing;
mod stats;
mod window;

pub use app::{App, ClientError};
pub use client::Client;
pub use code::{Reaction, Said, reaction, said_of_message};
pub use concurrency::Permit;
pub use outcome::{Answer, AskFor, Outcome, Refusal, Stop};
pub use request::ApiVersion;
pub use response::Verdict;
pub use settings::{AppSettings, Concurrency, FetchSettings, Patience};
pub use stats::{LATENCY_BUCKETS, Stats};
