//! Where the plain part of a JSON string ends: sixteen bytes at a time, without a call for each of the short strings that
//! answers are made of.

#![expect(clippy::inline_always, reason = "see the scanner, which these are part of")]

use wide::u8x16;

/// Bytes that are looked at together.
const BLOCK: usize = 16;
/// Blocks after which a string is taken for a long one.
const SHORT: usize = 2;
/// Bytes of a long string that are looked at together.
const LONG: usize = 4 * BLOCK;

/// The first quote, backslash or control character at or after `from`; the text's length when there is none.
#[inline(always)]
pub(super) fn end_of_plain(text: &[u8], from: usize) -> usize {
    let mut at = from;
    for _ in 0..SHORT {
        let Some(block) = text.get(at..).and_then(<[u8]>::first_chunk) else { return one_by_one(text, at) };
        let found = ends_plain(*block).to_bitmask();
        if found != 0 {
            return at + found.trailing_zeros() as usize;
        }
        at += BLOCK;
    }
    end_of_long(text, at)
}

/// The same, where much plain text is likely.
fn end_of_long(text: &[u8], mut at: usize) -> usize {
    while let Some(long) = text.get(at..).and_then(<[u8]>::first_chunk::<LONG>) {
        let (blocks, _) = long.as_chunks::<BLOCK>();
        if blocks.iter().fold(u8x16::ZERO, |found, block| found | ends_plain(*block)).any() {
            break;
        }
        at += LONG;
    }
    while let Some(block) = text.get(at..).and_then(<[u8]>::first_chunk) {
        let found = ends_plain(*block).to_bitmask();
        if found != 0 {
            return at + found.trailing_zeros() as usize;
        }
        at += BLOCK;
    }
    one_by_one(text, at)
}

fn one_by_one(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let ends = |byte: &u8| matches!(byte, b'"' | b'\\' | ..0x20);
    at + rest.iter().position(ends).unwrap_or(rest.len())
}

/// All ones where a byte ends plain text.
#[inline(always)]
fn ends_plain(block: [u8; BLOCK]) -> u8x16 {
    let block = u8x16::new(block);
    let control = block.min(u8x16::splat(0x1f)).simd_eq(block);
    block.simd_eq(u8x16::splat(b'"')) | block.simd_eq(u8x16::splat(b'\\')) | control
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
