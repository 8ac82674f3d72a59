//! Pieces of a buffer of text.

/// A piece of a buffer of text; [`Span::NULL`] is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len: u32,
}

impl Span {
    /// No value.
    pub const NULL: Self = Self { start: u32::MAX, len: 0 };

    /// So many bytes from `start` on; nothing past 4 GiB.
    pub fn new(start: usize, len: usize) -> Self {
        match (u32::try_from(start), u32::try_from(start + len)) {
            (Ok(start), Ok(_)) => Self { start, len: len as u32 },
            _ => Self::NULL,
        }
    }

    /// The piece of this buffer; none where there is no value.
    #[inline]
    pub fn of(self, text: &str) -> Option<&str> {
        (!self.is_null()).then(|| &text[self.start as usize..(self.start + self.len) as usize])
    }

    /// Whether there is no value.
    #[inline]
    pub fn is_null(self) -> bool {
        self.start == u32::MAX
    }
}

impl Default for Span {
    fn default() -> Self {
        Self::NULL
    }
}
