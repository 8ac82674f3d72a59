//! Whether every file that a manifest names is there, with the size that the manifest says.

use super::files::Named;
use crate::archive::parquet::contents::Contents;
use crate::archive::parquet::places::display;
use crate::archive::parquet::ranges::Unread;
use crate::archive::verify::{Verification, Wrong};
use crate::model::manifest::is_vanished;
use crate::storage::Storage;

/// Reports the files that are missing or have another size, and returns the others. A file that is listed as it should be
/// is not asked for.
pub(super) fn check<'a>(
    [within, beside]: [&Contents; 2],
    storage: &dyn Storage,
    named: impl Iterator<Item = Named<'a>>,
    out: &mut Verification,
) -> Vec<Named<'a>> {
    let mut there = Vec::new();
    for named in named {
        let Named { path, manifest, file } = &named;
        let listed = within.data.get(path).or_else(|| beside.data.get(path)).copied();
        // The size of what a link leads to is not in the listing.
        let found = match listed {
            Some(bytes) if bytes == file.bytes => Ok(listed),
            _ if is_vanished(path) && storage.beside().is_none() => {
                let message = format!("{manifest} names it, and there can be no directory beside this archive");
                out.wrong(Wrong::Missing, display(storage, path), message);
                continue;
            }
            _ => storage.size(path),
        };
        let (kind, message) = match found {
            Ok(Some(bytes)) if bytes == file.bytes => {
                there.push(named);
                continue;
            }
            Ok(Some(bytes)) => {
                let said = file.bytes;
                (
                    Wrong::Altered,
                    format!("{manifest} says it has {said} bytes, and it has {bytes}: its content was changed"),
                )
            }
            Ok(None) => (Wrong::Missing, format!("{manifest} names it, and it is not there")),
            Err(error) => (Wrong::Altered, format!("it cannot be read: {}", Unread::from(error))),
        };
        out.wrong(kind, display(storage, path), message);
    }
    there
}
