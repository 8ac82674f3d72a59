//! Integers and their decimal digits, eight at a time. Pure.
//!
//! References, requests and answers are mostly IDs of 19 digits and times of 13, and the usual ways take them one by one.

#![expect(clippy::inline_always, reason = "as a call it costs as much as the digits do")]

/// The most digits that 64 bits hold whatever they are.
pub(crate) const MOST: usize = 19;

const EACH: u64 = 0x0101_0101_0101_0101;
const ZEROS: u64 = EACH * b'0' as u64;
const POWERS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The digits that `text` begins with: what they spell, and how many there are. Of more than [`MOST`] digits the value
/// means nothing, and neither does their number beyond its being more.
#[inline(always)]
pub(crate) fn leading(text: &[u8]) -> (u64, usize) {
    let (mut value, mut rest, mut total) = (0_u64, text, 0);
    loop {
        let (eight, after) = match rest.split_first_chunk() {
            Some((eight, after)) => (u64::from_le_bytes(*eight), after),
            None => (last(text, rest.len()), [].as_slice()),
        };
        // A digit's own bits are 0 to 9. What carries from a byte that is none only reaches bytes after it.
        let bits = eight ^ ZEROS;
        let none = (bits.wrapping_add(EACH * 0x76) | bits) & (EACH * 0x80);
        let count = none.trailing_zeros() as usize / 8;
        total += count;
        if count < 8 {
            let digits = bits.checked_shl(64 - 8 * count as u32).unwrap_or(0);
            return (value.wrapping_mul(POWERS[count]).wrapping_add(of_eight(digits)), total);
        }
        if total > MOST {
            return (0, total);
        }
        value = value.wrapping_mul(POWERS[8]).wrapping_add(of_eight(bits));
        rest = after;
    }
}

/// The last `length` bytes of `text`, fewer than eight, the first of them lowest.
#[inline(always)]
fn last(text: &[u8], length: usize) -> u64 {
    match text.last_chunk() {
        Some(eight) => u64::from_le_bytes(*eight).checked_shr(64 - 8 * length as u32).unwrap_or(0),
        None => text.iter().rev().take(length).fold(0, |bytes, byte| bytes << 8 | u64::from(*byte)),
    }
}

/// What eight digits spell, the first of them lowest.
#[inline(always)]
fn of_eight(digits: u64) -> u64 {
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    (fours * 10_000 + (fours >> 32)) & 0xffff_ffff
}

/// Appends `value` in digits.
#[inline(always)]
pub(crate) fn push(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    let value = value.unsigned_abs();
    let (high, low) = (value / POWERS[8], value % POWERS[8]);
    if high == 0 {
        return push_first(out, low);
    }
    if high < POWERS[8] {
        push_first(out, high);
    } else {
        push_first(out, high / POWERS[8]);
        out.extend_from_slice(&(eight_of(high % POWERS[8]) + ZEROS).to_le_bytes());
    }
    out.extend_from_slice(&(eight_of(low) + ZEROS).to_le_bytes());
}

/// Appends a number of at most eight digits.
#[inline(always)]
fn push_first(out: &mut Vec<u8>, value: u64) {
    let digits = eight_of(value);
    let zeros = (digits.trailing_zeros() / 8).min(7);
    let end = out.len() + 8 - zeros as usize;
    out.extend_from_slice(&((digits + ZEROS) >> (8 * zeros)).to_le_bytes());
    out.truncate(end);
}

/// The eight digits of a number below 10^8, the first of them lowest.
#[inline(always)]
fn eight_of(value: u64) -> u64 {
    let fours = (value / 10_000) | (value % 10_000) << 32;
    // A hundredth and a tenth by multiplication: exact below 10,000 and below 179.
    let hundreds = ((fours * 5_243) >> 19) & 0x0000_007f_0000_007f;
    let pairs = hundreds | (fours - hundreds * 100) << 16;
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | (pairs - tens * 10) << 8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_digits_spell_is_read(digits in "[0-9]{0,30}", after in "([^0-9].{0,9})?") {
            let (value, count) = leading(format!("{digits}{after}").as_bytes());
            prop_assert_eq!(count.min(MOST + 1), digits.len().min(MOST + 1));
            if digits.len() <= MOST {
                prop_assert_eq!(value, digits.parse().unwrap_or(0));
            }
        }

        #[test]
        fn any_byte_that_is_no_digit_ends_them(digits in "[0-9]{0,19}", after: Vec<u8>) {
            let text = [digits.as_bytes(), &after].concat();
            let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
            prop_assert_eq!(leading(&text).1.min(MOST + 1), count.min(MOST + 1));
        }

        #[test]
        fn any_integer_is_written_as_the_standard_library_writes_it(
            value in prop_oneof![any::<i64>(), -200_000_000_i64..200_000_000],
        ) {
            let mut out = b"x".to_vec();
            push(&mut out, value);
            prop_assert_eq!(String::from_utf8(out).ok(), Some(format!("x{value}")));
        }
    }

    #[test]
    fn the_ends_of_all_lengths_are_written() {
        for power in 0..=18 {
            for value in [10_i64.pow(power) - 1, 10_i64.pow(power), i64::MAX, i64::MIN] {
                let mut out = Vec::new();
                push(&mut out, value);
                assert_eq!(out, value.to_string().as_bytes());
            }
        }
    }
}
