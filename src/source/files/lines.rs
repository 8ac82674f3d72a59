//! A window over a stream of bytes. It grows until it holds a line.

use std::io::{self, ErrorKind, Read};

/// The bytes that are read at once.
const BLOCK: usize = 256 * 1024;

/// The longest line or CSV record that is looked at, in bytes. A longer one is no reference.
pub(super) const LONGEST: usize = 16 * 1024 * 1024;

/// Where something stands, counted from the beginning of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Here.
    At(usize),
    /// Nowhere: the input ends here.
    End(usize),
    /// Nowhere within [`LONGEST`].
    TooFar,
}

/// A stream of bytes, of which the window holds the first that are not consumed.
pub(super) struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    at_end: bool,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, buffer: vec![0; BLOCK], start: 0, end: 0, at_end: false }
    }

    /// The first place at or after `from` at which `search` finds something.
    pub(super) fn find(&mut self, from: usize, search: impl Fn(&[u8]) -> Option<usize>) -> io::Result<Found> {
        let mut seen = from;
        loop {
            let window = &self.buffer[self.start..self.end];
            if let Some(place) = window.get(seen..).and_then(&search) {
                return Ok(Found::At(seen + place));
            }
            let length = window.len();
            if self.at_end {
                return Ok(Found::End(length));
            }
            if length >= LONGEST {
                return Ok(Found::TooFar);
            }
            seen = seen.max(length);
            self.fill()?;
        }
    }

    /// The byte at `place`; `None` if the input ends before it.
    pub(super) fn byte(&mut self, place: usize) -> io::Result<Option<u8>> {
        while self.end - self.start <= place && !self.at_end {
            self.fill()?;
        }
        Ok(self.buffer[self.start..self.end].get(place).copied())
    }

    /// The whole window, which holds at least `length` bytes unless the input ends before.
    pub(super) fn at_least(&mut self, length: usize) -> io::Result<&[u8]> {
        self.byte(length.saturating_sub(1))?;
        Ok(&self.buffer[self.start..self.end])
    }

    /// The first `length` bytes, which must have been found before.
    pub(super) fn window(&self, length: usize) -> &[u8] {
        &self.buffer[self.start..self.start + length]
    }

    /// Moves on by `length` bytes, which must have been found before.
    pub(super) fn consume(&mut self, length: usize) {
        self.start += length;
    }

    /// Moves on behind the next line end, however far away it is.
    pub(super) fn skip_line(&mut self, end: u8) -> io::Result<()> {
        loop {
            match memchr::memchr(end, &self.buffer[self.start..self.end]) {
                Some(place) => {
                    self.consume(place + 1);
                    return Ok(());
                }
                None => self.start = self.end,
            }
            if self.at_end {
                return Ok(());
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.end == self.buffer.len() {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            } else {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
        }
        loop {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.at_end = true,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            return Ok(());
        }
    }
}
