//! Numbers and texts as bytes, with a version before them and a checksum behind them.

/// Why stored bytes cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::ledger) enum Damaged {
    /// A version wrote them that this one does not know.
    #[error("its format {0} is unknown to this version")]
    Version(u8),
    /// They end too early.
    #[error("it is cut short")]
    Short,
    /// They changed since they were written.
    #[error("its checksum differs")]
    Checksum,
    /// They are as they were written, and make no sense.
    #[error("its content makes no sense")]
    Content,
}

/// Bytes that are being written.
pub(in crate::ledger) struct Encoder(pub(in crate::ledger) Vec<u8>);

impl Encoder {
    pub(in crate::ledger) fn new(version: u8) -> Self {
        Self(vec![version])
    }

    /// Seven bits to a byte, the lowest first.
    pub(in crate::ledger) fn number(&mut self, mut value: u64) -> &mut Self {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    /// The sign in the lowest bit, so that small numbers of either sign are short.
    pub(in crate::ledger) fn signed(&mut self, value: i64) -> &mut Self {
        self.number(((value << 1) ^ (value >> 63)) as u64)
    }

    pub(in crate::ledger) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64).0.extend_from_slice(bytes);
        self
    }

    pub(in crate::ledger) fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    pub(in crate::ledger) fn list<T>(&mut self, items: &[T], mut put: impl FnMut(&mut Self, &T)) -> &mut Self {
        self.number(items.len() as u64);
        for item in items {
            put(self, item);
        }
        self
    }

    /// A list of numbers, each as the difference from the one before.
    pub(in crate::ledger) fn deltas(&mut self, values: impl ExactSizeIterator<Item = i64>) -> &mut Self {
        self.number(values.len() as u64);
        let mut before = 0;
        for value in values {
            self.signed(value.wrapping_sub(before));
            before = value;
        }
        self
    }

    /// Everything, and a checksum over it.
    pub(in crate::ledger) fn finish(mut self) -> Vec<u8> {
        let sum = crc32fast::hash(&self.0);
        self.0.extend_from_slice(&sum.to_le_bytes());
        self.0
    }
}

/// Bytes that are being read.
pub(in crate::ledger) struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    /// The version of some bytes whose checksum is right, and what follows it.
    pub(in crate::ledger) fn open(bytes: &'a [u8]) -> Result<(u8, Self), Damaged> {
        let (content, sum) = bytes.split_last_chunk::<4>().ok_or(Damaged::Short)?;
        if crc32fast::hash(content) != u32::from_le_bytes(*sum) {
            return Err(Damaged::Checksum);
        }
        let (version, rest) = content.split_first().ok_or(Damaged::Short)?;
        Ok((*version, Self(rest)))
    }

    pub(in crate::ledger) fn number(&mut self) -> Result<u64, Damaged> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(Damaged::Short)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damaged::Content)
    }

    pub(in crate::ledger) fn small(&mut self) -> Result<u32, Damaged> {
        u32::try_from(self.number()?).map_err(|_| Damaged::Content)
    }

    pub(in crate::ledger) fn signed(&mut self) -> Result<i64, Damaged> {
        let value = self.number()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A length. One that what is left cannot hold, at eight items to a byte, is refused before memory is taken for it.
    pub(in crate::ledger) fn length(&mut self) -> Result<usize, Damaged> {
        let length = usize::try_from(self.number()?).map_err(|_| Damaged::Content)?;
        if length > self.0.len().saturating_mul(8) { Err(Damaged::Short) } else { Ok(length) }
    }

    /// The next `length` bytes as they are.
    pub(in crate::ledger) fn raw(&mut self, length: usize) -> Result<&'a [u8], Damaged> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Damaged::Short)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(in crate::ledger) fn bytes(&mut self) -> Result<&'a [u8], Damaged> {
        let length = self.length()?;
        self.raw(length)
    }

    pub(in crate::ledger) fn text(&mut self) -> Result<String, Damaged> {
        str::from_utf8(self.bytes()?).map(str::to_owned).map_err(|_| Damaged::Content)
    }

    pub(in crate::ledger) fn list<T>(
        &mut self,
        mut take: impl FnMut(&mut Self) -> Result<T, Damaged>,
    ) -> Result<Vec<T>, Damaged> {
        (0..self.length()?).map(|_| take(self)).collect()
    }

    pub(in crate::ledger) fn deltas(&mut self) -> Result<Vec<i64>, Damaged> {
        let mut value: i64 = 0;
        self.list(|from| {
            value = value.wrapping_add(from.signed()?);
            Ok(value)
        })
    }

    /// Refuses bytes that are left over.
    pub(in crate::ledger) fn end(self) -> Result<(), Damaged> {
        if self.0.is_empty() { Ok(()) } else { Err(Damaged::Content) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_comes_back(number: u64, signed: i64, text: String, values: Vec<i64>) {
            let mut out = Encoder::new(3);
            out.number(number).signed(signed).text(&text).deltas(values.iter().copied());
            let bytes = out.finish();
            let (version, mut from) = Decoder::open(&bytes).unwrap();
            let read = (version, from.number().unwrap(), from.signed().unwrap(), from.text().unwrap(), from.deltas().unwrap());
            prop_assert_eq!(read, (3, number, signed, text, values));
            prop_assert!(from.end().is_ok());
        }
    }
}
