//! Golomb–Rice codes with an escape, as version 0.1 wrote sorted IDs and references. They are only read.
//!
//! A value is a quotient in unary (so many zeros and a one) and a remainder of a width that all values share. After
//! sixteen zeros the value follows whole, in 64 bits.

use super::bytes::{Damaged, Decoder};

const ESCAPE: u32 = 16;
/// The widest remainder: what one unaligned load always covers.
const WIDEST: u32 = 56;

/// Reads an ID as it is, and after it `count - 1` gaps.
pub(super) fn ids(from: &mut Decoder<'_>, count: usize) -> Result<Vec<i64>, Damaged> {
    let first = from.raw(8)?.try_into().map_err(|_| Damaged::Short)?;
    let mut id = i64::from_le_bytes(first);
    let mut ids = vec![id];
    for gap in values(from, count - 1)? {
        id = id.wrapping_add(gap as i64);
        ids.push(id);
    }
    Ok(ids)
}

/// Reads `count` values.
pub(super) fn values(from: &mut Decoder<'_>, count: usize) -> Result<Vec<u64>, Damaged> {
    let width = u32::from(from.raw(1)?[0]);
    let packed = from.bytes()?;
    if width > WIDEST || count > packed.len() * 8 {
        return Err(Damaged::Content);
    }
    let mask = (1u64 << width) - 1;
    let mut at = 0;
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        let quotient = bits_from(packed, at).trailing_zeros();
        if quotient < ESCAPE {
            at += quotient as usize + 1;
            values.push((u64::from(quotient) << width) | (bits_from(packed, at) & mask));
            at += width as usize;
        } else {
            at += ESCAPE as usize;
            values.push((bits_from(packed, at) & 0xffff_ffff) | (bits_from(packed, at + 32) << 32));
            at += 64;
        }
    }
    if at > packed.len() * 8 { Err(Damaged::Short) } else { Ok(values) }
}

/// At least 57 bits from bit `at` on; zeros past the end.
fn bits_from(bytes: &[u8], at: usize) -> u64 {
    let mut chunk = [0; 8];
    for (to, byte) in chunk.iter_mut().zip(bytes.iter().skip(at / 8)) {
        *to = *byte;
    }
    u64::from_le_bytes(chunk) >> (at % 8)
}
