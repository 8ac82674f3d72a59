//! What benchmarks need of this room's pure functions. No part of the library's contract.

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;

use super::pack::Packed;
use crate::model::message::MessageRows;

/// Brings messages into the form in which partitions buffer them; returns the number of bytes.
pub fn pack(rows: &MessageRows) -> usize {
    let mut packed = Packed::default();
    rows.rows().iter().map(|row| packed.push(rows, row)).sum()
}

/// Turns messages into record batches.
#[derive(Debug)]
pub struct Encoder(super::encode::Encoder);

impl Encoder {
    /// An encoder for some run.
    pub fn new() -> Self {
        Self(super::encode::Encoder::new("app-key", "0192d3f1-0000-7000-8000-000000000000", false))
    }

    /// One batch of these messages.
    pub fn encode(&self, rows: &MessageRows) -> Result<RecordBatch, ArrowError> {
        self.0.encode(rows)
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}
