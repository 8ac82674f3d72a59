//! The places in which another one may lie.

use std::io;
use std::path::{Path, PathBuf};

use crate::model::manifest::vanished_owner;

/// The places above a place, and those beside which it, or one above it, is; the nearest first.
pub(super) fn places_above(place: &Path) -> impl Iterator<Item = PathBuf> {
    let all = place.ancestors().flat_map(move |at| {
        let above = (at != place).then(|| at.to_owned());
        above.into_iter().chain(vanished_owner(at))
    });
    all.filter(|at| !at.as_os_str().is_empty())
}

/// The file of this name in one of the places above a directory, which need not exist.
pub(super) fn find_file(directory: &Path, name: &str) -> io::Result<Option<PathBuf>> {
    let absolute = std::path::absolute(directory)?;
    // Without links, as far as it exists.
    let real = absolute.ancestors().find_map(|at| {
        let rest = absolute.strip_prefix(at).ok()?;
        Some(rest.components().fold(at.canonicalize().ok()?, |path, part| path.join(part)))
    });
    Ok(places_above(&real.unwrap_or(absolute)).map(|place| place.join(name)).find(|path| path.is_file()))
}
