//! Sorted message IDs in blocks: the gaps between them, in about as many bits as gaps of their size need.
//!
//! A full block of random 57-bit IDs takes less than six bytes an ID; of IDs that lie closer, less.

use super::bits::{Damaged, pack, put_i64, put_varint, seal, take_i64, take_len, unpack, unseal};

/// How many IDs a full block holds.
pub const BLOCK: usize = 4096;
const VERSION: u8 = 1;

/// Writes IDs, sorted ascending (equal ones are allowed), as one block.
pub fn encode(ids: &[i64]) -> Vec<u8> {
    debug_assert!(ids.is_sorted(), "a block is sorted");
    let mut out = vec![VERSION];
    put_varint(&mut out, ids.len() as u64);
    if let Some(first) = ids.first() {
        put_i64(&mut out, *first);
        put_gaps(&mut out, ids);
    }
    seal(out)
}

/// Appends the IDs of a block to `ids`, which is as it was when the block is damaged.
pub fn decode(block: &[u8], ids: &mut Vec<i64>) -> Result<(), Damaged> {
    let mut rest = unseal(block, VERSION)?;
    let count = take_len(&mut rest)?;
    if count > 0 {
        take_gaps(&mut rest, count, ids)?;
    }
    Ok(())
}

/// Appends the gaps between sorted IDs.
pub(super) fn put_gaps(out: &mut Vec<u8>, ids: &[i64]) {
    let gaps: Vec<u64> = ids.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]) as u64).collect();
    pack(out, &gaps);
}

/// Reads `count` IDs, at least one: the first as it is, then the gaps.
pub(super) fn take_gaps(from: &mut &[u8], count: usize, ids: &mut Vec<i64>) -> Result<(), Damaged> {
    let before = ids.len();
    let mut id = take_i64(from)?;
    ids.reserve(count);
    ids.push(id);
    let read = unpack(from, count - 1, |gap| {
        id = id.wrapping_add(gap as i64);
        ids.push(id);
    });
    if read.is_err() {
        ids.truncate(before);
    }
    read
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(block: &[u8]) -> Result<Vec<i64>, Damaged> {
        let mut ids = Vec::new();
        decode(block, &mut ids)?;
        Ok(ids)
    }

    proptest! {
        #[test]
        fn any_sorted_ids_come_back(mut ids in prop::collection::vec(any::<i64>(), 0..500)) {
            ids.sort_unstable();
            prop_assert_eq!(decoded(&encode(&ids)).unwrap(), ids);
        }

        #[test]
        fn a_changed_byte_is_noticed(mut ids in prop::collection::vec(1i64..1 << 57, 1..100), at: prop::sample::Index, by in 1u8..) {
            ids.sort_unstable();
            let mut block = encode(&ids);
            let at = at.index(block.len());
            block[at] ^= by;
            prop_assert_eq!(decoded(&block), Err(Damaged::Checksum));
        }

        #[test]
        fn a_full_block_of_random_ids_takes_less_than_six_bytes_an_id(mut ids in prop::collection::vec(1i64..1 << 57, BLOCK)) {
            ids.sort_unstable();
            let bytes = encode(&ids).len();
            prop_assert!(bytes <= 6 * BLOCK, "{} bytes", bytes);
        }
    }

    #[test]
    fn ids_in_a_row_take_a_bit_or_two_each() {
        let ids: Vec<i64> = (1_000_000..1_000_000 + BLOCK as i64).collect();
        let block = encode(&ids);
        assert!(block.len() <= BLOCK / 4 + 24, "{} bytes", block.len());
        assert_eq!(decoded(&block).unwrap(), ids);
    }

    #[test]
    fn a_block_cut_short_is_noticed() {
        let block = encode(&[1, 2, 3]);
        for len in 0..block.len() {
            assert!(decoded(&block[..len]).is_err(), "{len} bytes");
        }
    }
}
