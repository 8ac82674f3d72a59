//! Objects and lists of whatever depth.

use super::{Broken, MAX_DEPTH, Scanner, Traits};

impl Scanner<'_> {
    /// Takes an object or a list of whatever depth, which is next.
    pub(super) fn skip_nested(&mut self) -> Result<Traits, Broken> {
        let mut open = Nesting::default();
        let mut traits = Traits::default();
        loop {
            // A value is next.
            match self.peek() {
                b'{' => {
                    self.at += 1;
                    open.push(true);
                    traits.deep |= open.depth > MAX_DEPTH;
                    if self.peek() != b'}' {
                        traits.lone |= self.key_and_colon()?.lone;
                        continue;
                    }
                }
                b'[' => {
                    self.at += 1;
                    open.push(false);
                    traits.deep |= open.depth > MAX_DEPTH;
                    if self.peek() != b']' {
                        continue;
                    }
                }
                b'"' => traits.lone |= self.string()?.lone,
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                _ => {
                    self.number()?;
                }
            }
            // A value has ended, or a container is empty.
            loop {
                let in_object = open.top();
                match self.peek() {
                    b',' => {
                        self.at += 1;
                        if in_object {
                            traits.lone |= self.key_and_colon()?.lone;
                        }
                        break;
                    }
                    b'}' if in_object => self.at += 1,
                    b']' if !in_object => self.at += 1,
                    0 if self.at >= self.text.len() => return self.broken("the text ends too early"),
                    _ => return self.broken("a comma or closing bracket was expected"),
                }
                open.pop();
                if open.depth == 0 {
                    return Ok(traits);
                }
            }
        }
    }
}

/// Which of the open containers are objects: 64 levels without allocation.
#[derive(Debug, Default)]
struct Nesting {
    depth: usize,
    top: u64,
    below: Vec<u64>,
}

impl Nesting {
    fn push(&mut self, object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.below.push(self.top);
        }
        self.top = self.top << 1 | u64::from(object);
        self.depth += 1;
    }

    fn top(&self) -> bool {
        self.top & 1 == 1
    }

    fn pop(&mut self) {
        self.depth -= 1;
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.top = self.below.pop().unwrap_or_default();
        } else {
            self.top >>= 1;
        }
    }
}
