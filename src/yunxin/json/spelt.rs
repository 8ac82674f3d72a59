//! A key as JSON text spells it, to be told from other text without looking for where it ends.

#![expect(clippy::inline_always, reason = "see the scanner, which these are part of")]

use wide::u8x16;

/// The most bytes of a key with its quotes and colon.
const MOST: usize = 32;

/// `"name":`
#[derive(Debug, Clone, Copy)]
pub(in crate::yunxin) struct Spelt {
    text: [u8x16; 2],
    mask: [u8x16; 2],
    pub(super) length: usize,
}

impl Spelt {
    /// The key `name`, which has at most 29 bytes and nothing to be escaped.
    pub(in crate::yunxin) const fn key(name: &str) -> Self {
        let name = name.as_bytes();
        let mut text = [0; MOST];
        text[0] = b'"';
        let mut at = 0;
        while at < name.len() {
            text[at + 1] = name[at];
            at += 1;
        }
        text[at + 1] = b'"';
        text[at + 2] = b':';
        let length = at + 3;
        let mut mask = [0; MOST];
        at = 0;
        while at < length {
            mask[at] = 0xff;
            at += 1;
        }
        Self { text: halves(&text), mask: halves(&mask), length }
    }

    /// Whether `next` begins with it.
    #[inline(always)]
    pub(super) fn begins(&self, next: &[u8; MOST]) -> bool {
        let [low, high] = halves(next);
        ((low & self.mask[0]).simd_eq(self.text[0]) & (high & self.mask[1]).simd_eq(self.text[1])).all()
    }
}

#[inline(always)]
const fn halves(bytes: &[u8; MOST]) -> [u8x16; 2] {
    let (halves, _) = bytes.as_chunks();
    [u8x16::new(halves[0]), u8x16::new(halves[1])]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_key_begins_what_it_is_the_beginning_of_and_nothing_else(name in "[a-z_]{1,29}", text in "[ -~]{32}") {
            let spelt = Spelt::key(&name);
            let key = format!("\"{name}\":");
            let padded = |text: &str| format!("{text}{:32}", "").as_bytes().first_chunk().copied().unwrap_or([0; MOST]);
            let longer = padded(&format!("{key}{text}"));
            prop_assert!(spelt.begins(&longer));
            prop_assert_eq!(spelt.begins(&padded(&text)), text.starts_with(&key));
            for at in 0..key.len() {
                let mut other = padded(&key);
                other[at] ^= 1;
                prop_assert!(!spelt.begins(&other));
            }
        }
    }
}
