//! What the ledger stores as bytes: sorted IDs, the references of a batch, and their histories.

mod bytes;
mod golomb;
pub(super) mod histories;
pub(super) mod ids;
pub(super) mod references;

pub(super) use bytes::{Damaged, Decoder, Encoder};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_the_bytes_reading_them_ends_without_panic(bytes: Vec<u8>, version in 0u8..4) {
            let mut out = Encoder::new(version);
            out.0.extend(&bytes);
            for bytes in [bytes, out.finish()] {
                let _ = ids::decode(&bytes);
                let _ = references::decode(&bytes);
                let _ = histories::decode(Some(&bytes));
            }
        }
    }
}
