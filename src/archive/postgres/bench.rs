//! What benchmarks need of this room's pure functions. No part of the library's contract.

use uuid::Uuid;

use crate::archive::RunStamp;
use crate::model::message::MessageRows;

/// Turns messages into the binary form of `COPY`.
pub struct Encoder(super::copy::Encoder);

impl Encoder {
    /// An encoder for some run.
    pub fn new() -> Self {
        let stamp = RunStamp {
            job: "bench".to_owned(),
            app_key: "app-key".to_owned(),
            run_id: Uuid::nil(),
            ledger_id: Uuid::nil(),
        };
        Self(super::copy::Encoder::new(&stamp, false))
    }

    /// Encodes these messages; returns the number of bytes.
    pub fn encode(&mut self, rows: &MessageRows) -> usize {
        self.0.clear();
        let messages = super::copy::Messages::new(rows);
        for row in rows.rows() {
            self.0.row(&messages, row);
        }
        self.0.encoded().len()
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}
