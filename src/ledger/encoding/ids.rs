//! Sorted message IDs in blocks: each as the difference from the one before, about five bytes an ID.

use super::bytes::{Damaged, Decoder, Encoder};
use super::golomb;

/// How many IDs a full block holds.
pub(in crate::ledger) const BLOCK: usize = 4096;
const VERSION: u8 = 2;
const GOLOMB: u8 = 1;

/// Writes IDs, sorted ascending (equal ones are allowed), as one block.
pub(in crate::ledger) fn encode(ids: &[i64]) -> Vec<u8> {
    debug_assert!(ids.is_sorted(), "a block is sorted");
    let mut out = Encoder::new(VERSION);
    out.deltas(ids.iter().copied());
    out.finish()
}

/// Reads a block of this version or of 0.1.
pub(in crate::ledger) fn decode(block: &[u8]) -> Result<Vec<i64>, Damaged> {
    match Decoder::open(block)? {
        (VERSION, mut from) => from.deltas(),
        (GOLOMB, mut from) => match from.length()? {
            0 => Ok(Vec::new()),
            count => golomb::ids(&mut from, count),
        },
        (version, _) => Err(Damaged::Version(version)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_sorted_ids_come_back(mut ids in prop::collection::vec(any::<i64>(), 0..500)) {
            ids.sort_unstable();
            prop_assert_eq!(decode(&encode(&ids)).unwrap(), ids);
        }

        #[test]
        fn a_changed_byte_is_noticed(mut ids in prop::collection::vec(1i64..1 << 57, 1..100), at: prop::sample::Index, by in 1u8..) {
            ids.sort_unstable();
            let mut block = encode(&ids);
            let at = at.index(block.len());
            block[at] ^= by;
            prop_assert_eq!(decode(&block), Err(Damaged::Checksum));
        }

        #[test]
        fn a_full_block_of_random_ids_takes_about_seven_bytes_an_id(mut ids in prop::collection::vec(1i64..1 << 57, BLOCK)) {
            ids.sort_unstable();
            let bytes = encode(&ids).len();
            prop_assert!(bytes <= 7 * BLOCK + 100, "{} bytes", bytes);
        }
    }

    #[test]
    fn a_block_cut_short_is_noticed() {
        let block = encode(&[1, 2, 3]);
        for len in 0..block.len() {
            assert!(decode(&block[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn blocks_of_version_0_1_are_read() {
        let written = [
            (
                "0109fbffffffffffffff0221310700c8ff7f0000000000600000f7ffefffff0000000700e0fffffffff7ffff036dd7bee2",
                vec![-5, -5, 0, 7, 1 << 20, (1 << 20) + 9, 1 << 40, (1 << 40) + 3, i64::MAX],
            ),
            ("0100be23c258", Vec::new()),
        ];
        for (block, ids) in written {
            assert_eq!(decode(&hex::decode(block).unwrap()).unwrap(), ids);
        }
    }
}
