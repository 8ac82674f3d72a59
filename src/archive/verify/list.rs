//! The list of hashes of a Parquet archive.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;

use super::chain::Link;
use super::columns::Content;
use super::found::{LIST, Places};
use super::{Verification, VerifyError, Wrong};
use crate::archive::parquet::{listed, listed_beside};

/// Whether the list of hashes says what the manifests say.
pub(super) fn check(places: &Places, links: &[Link], out: &mut Verification) -> Result<(), VerifyError> {
    let text = match std::fs::read_to_string(places.root().join(LIST)) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if links.iter().any(|link| link.manifest.version >= 2) {
                out.wrong(Wrong::List, LIST, "it is missing; the next run writes it");
            }
            return Ok(());
        }
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            out.wrong(Wrong::List, LIST, "it is no text");
            return Ok(());
        }
        Err(error) => return Err(VerifyError::failed(format!("reading {LIST}"), error)),
    };
    let (mut hashes, mut directories) = (BTreeMap::new(), BTreeSet::new());
    for (path, sha256) in text.lines().filter_map(listed) {
        // The archive may have had another name, or have been reached by a link, when the list was written.
        let listed = match listed_beside(&path) {
            Some((directory, path)) => {
                directories.insert(directory.to_owned());
                (Content::Vanished, path.to_owned())
            }
            None => (Content::Messages, path),
        };
        hashes.insert(listed, sha256);
    }
    for link in links {
        let vanished = link.manifest.vanished.iter().filter(|_| places.beside().is_some());
        let files = link.manifest.files.iter().map(|file| (Content::Messages, file));
        let files = files.chain(vanished.map(|file| (Content::Vanished, file)));
        let files = files.map(|(content, file)| (content, file.path.as_str(), file.sha256.as_str()));
        for (content, path, sha256) in files.chain([(Content::Messages, link.name.as_str(), link.sha256.as_str())]) {
            let told = places.told(content, path);
            match hashes.remove(&(content, path.to_owned())) {
                Some(said) if said == sha256 => {}
                Some(said) => {
                    out.wrong(Wrong::List, LIST, format!("it says {said} of {told}, which is to be {sha256}"));
                }
                None => out.wrong(Wrong::List, LIST, format!("{told} is not in it")),
            }
        }
    }
    for (content, path) in hashes.into_keys() {
        let told = places.told(content, &path);
        out.wrong(Wrong::List, LIST, format!("it names {told}, which no manifest names"));
    }
    let name = places.beside().and_then(|beside| beside.file_name()).unwrap_or_default().to_string_lossy();
    for directory in directories.iter().filter(|directory| directory.rsplit('/').next() != Some(&*name)) {
        out.note(format!(
            "{LIST} looks for what vanished in {directory}, and it belongs into {}: the next run corrects the list",
            places.beside().unwrap_or(places.root()).display()
        ));
    }
    Ok(())
}
