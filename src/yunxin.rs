//! The Yunxin API: signing, requests, answers, codes, pace, endpoints and the client.
//!
//! Only this room knows the API's HTTP. An [`App`] is what all jobs of one app share: its quota, endpoints, connections
//! and what was learnt of its credentials. A [`Client`] fetches for one job: it takes a [`Permit`], sends what is
//! asked for at the app's pace, and returns an [`Outcome`], or a reason to [`Stop`] the run. Other rooms ask what a code
//! means, see [`Meaning`]; its number is known here alone.

mod app;
mod arrivals;
#[doc(hidden)]
pub mod bench;
mod client;
mod code;
mod concurrency;
mod endpoints;
mod exchange;
mod extra;
mod field;
mod item;
mod json;
mod outage;
mod outcome;
mod pace;
mod question;
mod request;
mod response;
mod sending;
mod settings;
mod sign;
mod standing;
mod stats;
mod window;

pub use app::{App, ClientError};
pub use client::Client;
pub use code::{CODES, Codes, Meaning};
pub use concurrency::Permit;
pub use outcome::{Answer, AskFor, Outcome, Refusal, Stop};

pub use response::Verdict;
pub use settings::{ApiVersion, AppSettings, Concurrency, FetchSettings, Patience, Proxy};
pub use stats::{LATENCY_BUCKETS, Stats};
#[cfg(test)]
pub(crate) use window::Window;

/// Decodes any bytes as the answer to a question, and asserts that every reference of the question is accounted for.
#[cfg(any(test, fuzzing))]
pub(crate) fn decode_any(bytes: &[u8]) {
    use question::Question;
    use response::{Reply, decode};
    let refs = [(10, 1_000), (20, 2_000), (30, 3_000), (158_844_553_334_358_018, 1_753_951_805_248)];
    for raw in [false, true] {
        let question = Question {
            key: "1|alice|bob",
            conversation: "alice|1|bob",
            conversation_type: 1,
            refs: &refs,
            fetched_at: 5_000,
            raw,
        };
        let Ok(Reply::Answer(decoded)) = decode(bytes, &question) else { continue };
        let rows = decoded.archived.iter().map(|index| *index as usize);
        let mut ended: Vec<usize> = rows.chain(decoded.verdicts.iter().map(|(index, _)| *index)).collect();
        ended.sort_unstable();
        assert_eq!(ended, [0, 1, 2, 3], "every reference ends once");
        for (row, index) in decoded.rows.rows().iter().zip(&decoded.archived) {
            assert_eq!(row.message_server_id, refs[*index as usize].0);
        }
    }
}
