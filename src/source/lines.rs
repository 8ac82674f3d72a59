//! A window over a stream of bytes that grows as far as it must to hold a line.

use std::io::{self, ErrorKind, Read};

use super::SourceError;

/// What is read at once.
const BLOCK: usize = 256 * 1024;

/// The longest line, or CSV record, that is looked at. A longer one is no reference.
pub(super) const LONGEST: usize = 16 * 1024 * 1024;

/// Where a byte stands, counted from the window's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Here.
    At(usize),
    /// Nowhere: the input ends here.
    End(usize),
    /// Not within [`LONGEST`].
    TooFar,
}

/// The bytes that are not yet consumed.
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

    /// The first `wanted` at or after `from`.
    pub(super) fn find(&mut self, wanted: u8, from: usize) -> io::Result<Found> {
        let mut seen = from;
        loop {
            let window = &self.buffer[self.start..self.end];
            if let Some(place) = window.get(seen..).and_then(|rest| memchr::memchr(wanted, rest)) {
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

    /// The byte at `place`, if the input is so long.
    pub(super) fn byte(&mut self, place: usize) -> io::Result<Option<u8>> {
        while self.end - self.start <= place && !self.at_end {
            self.fill()?;
        }
        Ok(self.buffer[self.start..self.end].get(place).copied())
    }

    /// All that is in the window once `length` bytes are, or the input has ended.
    pub(super) fn whole(&mut self, length: usize) -> io::Result<&[u8]> {
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

    /// Moves on behind the next `end` of a line, however far that is.
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

/// The error of input that cannot be read on.
pub(super) fn failed(name: &str, error: io::Error) -> SourceError {
    match error.kind() {
        ErrorKind::NotFound => SourceError::Unusable(format!("{name}: there is no such file")),
        ErrorKind::IsADirectory => {
            SourceError::Unusable(format!("{name}: is a directory; name the files in it by a glob, such as {name}/*"))
        }
        ErrorKind::PermissionDenied => SourceError::Denied(format!("{name}: may not be read: permission denied")),
        ErrorKind::UnexpectedEof => {
            SourceError::Failed { context: format!("{name}: is cut short"), source: error.into() }
        }
        _ => SourceError::Failed { context: format!("{name}: cannot be read"), source: error.into() },
    }
}
