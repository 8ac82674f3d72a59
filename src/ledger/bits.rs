//! Small numbers in few bits: Golomb–Rice codes with an escape, variable-length integers, and a checksum over all.

/// Quotients from here on are written as they are: one outlier must not cost more than the rest together.
const ESCAPE: u32 = 16;
/// The widest remainder that one unaligned load always covers.
const WIDEST: u32 = 56;

/// Why stored bytes cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// Written by a version that this one does not know.
    #[error("its format {0} is unknown to this version")]
    Version(u8),
    /// Cut short.
    #[error("it is cut short")]
    Short,
    /// Changed since it was written.
    #[error("its checksum differs")]
    Checksum,
    /// Well preserved and still no sense.
    #[error("its content makes no sense")]
    Content,
}

/// Appends a checksum over everything in `out`.
pub(super) fn seal(mut out: Vec<u8>) -> Vec<u8> {
    let sum = crc32fast::hash(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

/// What [`seal`] was given, after its version byte, if it is unharmed and of this version.
pub(super) fn unseal(bytes: &[u8], version: u8) -> Result<&[u8], Damaged> {
    let (content, sum) = bytes.split_last_chunk::<4>().ok_or(Damaged::Short)?;
    if crc32fast::hash(content) != u32::from_le_bytes(*sum) {
        return Err(Damaged::Checksum);
    }
    match content.split_first() {
        Some((found, rest)) if *found == version => Ok(rest),
        Some((found, _)) => Err(Damaged::Version(*found)),
        None => Err(Damaged::Short),
    }
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn take_varint(from: &mut &[u8]) -> Result<u64, Damaged> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first().ok_or(Damaged::Short)?;
        *from = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Damaged::Content)
}

/// A length that can be no more than the bytes that follow it allow, eight to a byte.
pub(super) fn take_len(from: &mut &[u8]) -> Result<usize, Damaged> {
    let len = usize::try_from(take_varint(from)?).map_err(|_| Damaged::Content)?;
    if len > from.len().saturating_mul(8) { Err(Damaged::Short) } else { Ok(len) }
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn take_text<'a>(from: &mut &'a [u8]) -> Result<&'a str, Damaged> {
    let len = take_len(from)?;
    let (text, rest) = from.split_at_checked(len).ok_or(Damaged::Short)?;
    *from = rest;
    str::from_utf8(text).map_err(|_| Damaged::Content)
}

pub(super) fn put_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn take_i64(from: &mut &[u8]) -> Result<i64, Damaged> {
    let (value, rest) = from.split_first_chunk::<8>().ok_or(Damaged::Short)?;
    *from = rest;
    Ok(i64::from_le_bytes(*value))
}

/// Small numbers of either sign as small numbers.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Appends `values`, in about 1.5 bits more than each needs when they are of like size.
pub(super) fn pack(out: &mut Vec<u8>, values: &[u64]) {
    let width = best_width(values);
    let mask = (1u64 << width) - 1;
    let mut bits = Bits { out: Vec::with_capacity(values.len() * (width as usize + 3) / 8 + 8), word: 0, filled: 0 };
    for &value in values {
        let quotient = value >> width;
        if quotient < u64::from(ESCAPE) {
            bits.put(1 << quotient, quotient as u32 + 1);
            bits.put(value & mask, width);
        } else {
            bits.put(0, ESCAPE);
            bits.put(value, 64);
        }
    }
    let packed = bits.finish();
    out.push(width as u8);
    put_varint(out, packed.len() as u64);
    out.extend_from_slice(&packed);
}

/// Reads `count` values that [`pack`] wrote, and hands each to `each`.
pub(super) fn unpack(from: &mut &[u8], count: usize, mut each: impl FnMut(u64)) -> Result<(), Damaged> {
    let (width, rest) = from.split_first().ok_or(Damaged::Short)?;
    let width = u32::from(*width);
    *from = rest;
    let len = take_len(from)?;
    let (packed, rest) = from.split_at_checked(len).ok_or(Damaged::Short)?;
    *from = rest;
    if width > WIDEST || count > packed.len() * 8 {
        return Err(Damaged::Content);
    }
    let mask = (1u64 << width) - 1;
    let narrow = width <= WIDEST - ESCAPE;
    let mut at = 0usize;
    for _ in 0..count {
        let word = load(packed, at);
        let quotient = word.trailing_zeros();
        if quotient < ESCAPE {
            at += quotient as usize + 1;
            let low = if narrow { word >> (quotient + 1) } else { load(packed, at) };
            each((u64::from(quotient) << width) | (low & mask));
            at += width as usize;
        } else {
            at += ESCAPE as usize;
            let low = load(packed, at) & 0xffff_ffff;
            each(low | (load(packed, at + 32) << 32));
            at += 64;
        }
    }
    if at > packed.len() * 8 { Err(Damaged::Short) } else { Ok(()) }
}

/// At least 57 bits from bit `at` on; zeros past the end.
#[inline]
fn load(bytes: &[u8], at: usize) -> u64 {
    let start = at >> 3;
    if let Some(chunk) = bytes.get(start..).and_then(|rest| rest.first_chunk::<8>()) {
        return u64::from_le_bytes(*chunk) >> (at & 7);
    }
    let mut chunk = [0; 8];
    for (to, byte) in chunk.iter_mut().zip(bytes.iter().skip(start)) {
        *to = *byte;
    }
    u64::from_le_bytes(chunk) >> (at & 7)
}

/// The remainder width that makes `values` shortest, found from how many of them have how many bits.
fn best_width(values: &[u64]) -> u32 {
    let mut counts = [0u64; 65];
    let mut sums = [0u128; 65];
    for &value in values {
        let bits = (64 - value.leading_zeros()) as usize;
        counts[bits] += 1;
        sums[bits] += u128::from(value);
    }
    let present: Vec<u32> = (0..65).filter(|&bits| counts[bits as usize] > 0).collect();
    let (Some(&least), Some(&most)) = (present.first(), present.last()) else { return 0 };
    (least.saturating_sub(2).min(WIDEST)..=most.min(WIDEST))
        .min_by_key(|&width| {
            let cost = |&bits: &u32| {
                let (count, sum) = (u128::from(counts[bits as usize]), sums[bits as usize]);
                if bits <= width + 4 { count * u128::from(width + 1) + (sum >> width) } else { count * 80 }
            };
            present.iter().map(cost).sum::<u128>()
        })
        .unwrap_or(0)
}

struct Bits {
    out: Vec<u8>,
    word: u128,
    filled: u32,
}

impl Bits {
    fn put(&mut self, value: u64, width: u32) {
        self.word |= u128::from(value) << self.filled;
        self.filled += width;
        if self.filled >= 64 {
            self.out.extend_from_slice(&(self.word as u64).to_le_bytes());
            self.word >>= 64;
            self.filled -= 64;
        }
    }

    fn finish(mut self) -> Vec<u8> {
        let bytes = self.filled.div_ceil(8) as usize;
        self.out.extend_from_slice(&(self.word as u64).to_le_bytes()[..bytes]);
        self.out
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unpacked(mut bytes: &[u8], count: usize) -> Result<Vec<u64>, Damaged> {
        let mut values = Vec::new();
        unpack(&mut bytes, count, |value| values.push(value))?;
        Ok(values)
    }

    proptest! {
        #[test]
        fn any_numbers_come_back(values in prop::collection::vec(prop_oneof![any::<u64>(), 0u64..100, 0u64..1 << 40], 0..300)) {
            let mut bytes = Vec::new();
            pack(&mut bytes, &values);
            prop_assert_eq!(unpacked(&bytes, values.len()).unwrap(), values);
        }

        #[test]
        fn any_integer_comes_back(value: u64, signed: i64) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            put_varint(&mut bytes, zigzag(signed));
            let mut rest = bytes.as_slice();
            prop_assert_eq!(take_varint(&mut rest).unwrap(), value);
            prop_assert_eq!(unzigzag(take_varint(&mut rest).unwrap()), signed);
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn whatever_the_bytes_reading_them_ends_without_panic(bytes: Vec<u8>, count in 0usize..10_000) {
            let _ = unpacked(&bytes, count);
            let _ = take_text(&mut bytes.as_slice());
            let _ = unseal(&bytes, 1);
        }
    }

    #[test]
    fn one_outlier_among_small_numbers_costs_ten_bytes() {
        let mut values = vec![3u64; 1000];
        values[500] = u64::MAX;
        let mut bytes = Vec::new();
        pack(&mut bytes, &values);
        assert!(bytes.len() < 520, "{} bytes", bytes.len());
    }
}
