//! Where the plain part of a JSON string ends: eight bytes at a time, without a call for each of the short strings that
//! answers are made of.

/// Words after which a string is taken for a long one.
const SHORT: usize = 3;
/// Bytes of a long string that are looked at together.
const BLOCK: usize = 64;
const EACH: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The first quote, backslash or control character at or after `from`; the text's length when there is none.
#[inline(always)]
pub(super) fn end_of_plain(text: &[u8], from: usize) -> usize {
    let mut at = from;
    for _ in 0..SHORT {
        let Some(eight) = text.get(at..).and_then(<[u8]>::first_chunk) else { return one_by_one(text, at) };
        let found = special(u64::from_le_bytes(*eight));
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    end_of_long(text, at)
}

/// The same, where much plain text is likely.
fn end_of_long(text: &[u8], mut at: usize) -> usize {
    while let Some(block) = text.get(at..).and_then(<[u8]>::first_chunk::<BLOCK>) {
        // Without a branch for each byte this is a handful of vector instructions.
        if block.iter().fold(false, |found, byte| found | ends_plain(*byte)) {
            break;
        }
        at += BLOCK;
    }
    while let Some(eight) = text.get(at..).and_then(<[u8]>::first_chunk) {
        let found = special(u64::from_le_bytes(*eight));
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    one_by_one(text, at)
}

fn one_by_one(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| ends_plain(*byte)).unwrap_or(rest.len())
}

fn ends_plain(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || byte < 0x20
}

/// Marks the high bit of the first byte that ends plain text. Bits after that one mean nothing, as subtraction borrows.
#[inline]
fn special(eight: u64) -> u64 {
    let zero = |bytes: u64| bytes.wrapping_sub(EACH) & !bytes;
    let quote = zero(eight ^ (EACH * u64::from(b'"')));
    let backslash = zero(eight ^ (EACH * u64::from(b'\\')));
    let control = eight.wrapping_sub(EACH * 0x20) & !eight;
    (quote | backslash | control) & HIGH
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_ends_where_a_look_at_each_byte_says(text in prop::collection::vec(prop_oneof![
            6 => any::<u8>(), 2 => 0x18_u8..0x28, 1 => Just(b'\\'), 60 => b'a'..=b'z'
        ], 0..200), from in 0_usize..70) {
            let from = from.min(text.len());
            let each = text[from..].iter().position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\');
            prop_assert_eq!(end_of_plain(&text, from), each.map_or(text.len(), |at| from + at));
        }
    }
}
