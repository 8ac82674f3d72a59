//! A message as an export shows it.

use crate::model::Column;
use crate::model::record::{Record, VanishedNote};

/// A message as an export shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Its latest version.
    pub latest: Record,
    /// The versions before it, the oldest first.
    pub earlier: Vec<Record>,
    /// Whether it was not selected itself and is here because a selected message belongs to its thread.
    pub context: bool,
    /// The note that it vanished from the service, if it did.
    pub vanished: Option<VanishedNote>,
}

impl Item {
    /// Whether it was edited, as far as the archive knows.
    pub fn is_edited(&self) -> bool {
        !self.earlier.is_empty() || self.latest.integer(Column::ModifyTime).is_some()
    }
}
