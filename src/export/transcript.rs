//! What every format implements.

use super::error::ExportError;
use super::item::Item;
use super::output::Output;

/// A format being written. Messages arrive by conversation, in order of time.
pub(super) trait Transcript: Send {
    /// Writes a message.
    fn write(&mut self, item: &Item, output: &mut Output) -> Result<(), ExportError>;

    /// Writes whatever belongs at the end.
    fn finish(&mut self, output: &mut Output) -> Result<(), ExportError>;
}
