//! Notes of uploads that have begun, by which whoever owns the archive gives them up.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{ObjectStorage, connect};
use crate::model::manifest::BESIDE;
use crate::storage::{Listed, NO_PATH, Storage as _, StorageError, TEMPORARY, waiting};

/// How the name of a note ends.
const NOTE: &str = ".upload";

/// The note of an upload that has begun.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Note {
    /// The name of the file.
    pub(super) name: String,
    pub(super) upload: String,
}

/// The name of the note of an upload.
pub(super) fn note_of(name: &str, ledger: Uuid) -> String {
    waiting(name, ledger) + NOTE
}

impl ObjectStorage {
    /// Gives up an upload, and removes its note.
    pub(super) async fn give_up(&self, name: &str, upload: &str, note: &str) -> Result<(), StorageError> {
        let key = self.key(name)?;
        // Azure has no IDs of uploads and gives up none. Without an ID another store might remove the object itself.
        if !upload.is_empty()
            && let Err(error) = self.store.abort_multipart(&key, &upload.to_owned()).await
            && !connect::is_gone(&error)
        {
            let doing = format!("giving up the upload of {} that {} notes", self.at(name), self.at(note));
            return Err(connect::explain(&doing, &error));
        }
        self.remove_now(note).await
    }

    /// Removes the note of an upload, or something else that is temporary. Gives up the upload.
    async fn clear_one(&self, name: &str) -> Result<(), StorageError> {
        let Some((content, _)) = self.read_now(name).await? else { return Ok(()) };
        match serde_json::from_slice::<Note>(&content) {
            Ok(note) if self.key(&note.name).is_ok() => return self.give_up(&note.name, &note.upload, name).await,
            _ if name.ends_with(NOTE) => tracing::warn!(
                "{} is no note of an upload to this archive and is removed: what it was to note is left to the bucket's rule \
                 for unfinished uploads",
                self.at(name)
            ),
            _ => {}
        }
        self.remove_now(name).await
    }

    pub(super) async fn clear_now(
        &self,
        is_given_up: &(dyn Fn(&str) -> bool + '_),
    ) -> Result<BTreeSet<String>, StorageError> {
        let mut others = BTreeSet::new();
        for all in [format!("{TEMPORARY}/"), format!("{BESIDE}{TEMPORARY}/")] {
            for Listed { name, .. } in self.list_now(&all).await? {
                // What no path can name is none of ours.
                let own = name[all.len()..].split_once('/').filter(|_| !name.contains(NO_PATH));
                match own {
                    None => {}
                    Some((ledger, _)) if is_given_up(ledger) => {
                        tracing::debug!(name, "removing a temporary object");
                        self.clear_one(&name).await?;
                    }
                    Some((ledger, _)) => drop(others.insert(ledger.to_owned())),
                }
            }
        }
        Ok(others)
    }
}
