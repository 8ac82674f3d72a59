//! Who owns the archive, and what a crash left in it.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::contents::Contents;
use super::places::OWNER_RECORD;
use crate::archive::{ArchiveError, Claim, Opened, RunStamp};
use crate::failpoint::reach;
use crate::model::manifest::{BESIDE, StagedFile};
use crate::storage::{PlaceLock, Published, Replaced, Storage, TEMPORARY, Version};

const OWNER_RECORD_VERSION: u32 = 1;

/// Whose the archive is, its last commit and its last manifest: `_archive.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OwnerRecord {
    version: u32,
    pub(super) ledger_id: String,
    pub(super) job: String,
    pub(super) commit: u64,
    /// The run that made the commit; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) run_id: Option<String>,
    /// The last manifest. It is named before it is written, so of two copies of a ledger one writes the next. None before
    /// the first, and where an earlier version wrote the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) manifest: Option<NamedManifest>,
    /// Whether it was written without conditions. Whoever then writes with conditions tries first whether the store heeds
    /// them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unconditional: bool,
}

/// A manifest, by its number and its run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NamedManifest {
    pub(super) sequence: u64,
    pub(super) run_id: String,
}

/// The owner record of an archive, which is that of this job.
pub(super) fn read(storage: &dyn Storage, job: &str) -> Result<Option<(OwnerRecord, Version)>, ArchiveError> {
    let Some((content, version)) = storage.read(OWNER_RECORD)? else { return Ok(None) };
    let at = storage.at(OWNER_RECORD);
    let record: OwnerRecord = serde_json::from_slice(&content).map_err(|error| {
        ArchiveError::Unusable(format!(
            "{at} cannot be read ({error}): restore it, or remove it and take the archive over with \
             `yunxin-archiver adopt {job}`"
        ))
    })?;
    if record.version != OWNER_RECORD_VERSION {
        return Err(ArchiveError::Unusable(format!(
            "{at} has version {}, and this program knows version {OWNER_RECORD_VERSION}: use the program that wrote it",
            record.version
        )));
    }
    Ok(Some((record, version)))
}

/// An archive in the hands of one ledger. Every function blocks.
#[derive(Debug)]
pub(super) struct OwnedArchive {
    storage: Arc<dyn Storage>,
    ledger_id: Uuid,
    job: String,
    run_id: Uuid,
    lock: OnceLock<PlaceLock>,
    /// The owner record as this process last read or wrote it.
    record: Mutex<Option<(OwnerRecord, Version)>>,
}

impl OwnedArchive {
    /// Touches nothing.
    pub(super) fn new(storage: Arc<dyn Storage>, stamp: &RunStamp) -> Self {
        Self {
            storage,
            ledger_id: stamp.ledger_id,
            job: stamp.job.clone(),
            run_id: stamp.run_id,
            lock: OnceLock::new(),
            record: Mutex::new(None),
        }
    }

    pub(super) fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// Takes possession, or refuses and changes nothing. Then publishes what was recorded and removes what was not.
    pub(super) fn open(&self, claim: &Claim) -> Result<Opened, ArchiveError> {
        match self.admit(claim)? {
            Some(record) if record.unconditional && self.storage.has_conditions() => drop(self.storage.probe()?),
            Some(_) => {}
            None => {
                self.stands_alone()?;
                self.storage.probe()?;
            }
        }
        self.lock()?;
        // Where there are locks, only now can no other process change it.
        let record = self.admit(claim)?;
        let mut opened = Opened { commit: record.as_ref().map_or(0, |record| record.commit), ..Opened::default() };
        if record.is_none() {
            self.write_owner_record(0, None)?;
        }
        if !claim.unpublished.is_empty() {
            if opened.commit + 1 == claim.recorded {
                self.claim_commit(claim.recorded, claim.run_of(claim.recorded))?;
                opened.commit = claim.recorded;
            }
            let published = self.storage.publish(&claim.unpublished)?;
            for (file, published) in claim.unpublished.iter().zip(published) {
                if let Published::Lost(why) = published {
                    opened.warnings.extend(why);
                    opened.missing.push(file.file.clone());
                }
            }
        }
        if !opened.missing.is_empty() {
            // Written in any case: if another ledger took over, it counts on the files that are there.
            opened.commit = opened.commit.min(claim.recorded.saturating_sub(1));
            self.change_owner_record(|record| {
                if record.commit != opened.commit {
                    record.commit = opened.commit;
                    record.run_id = claim.run_of(opened.commit).map(|run| run.to_string());
                }
            })?;
            self.take_back(&claim.unpublished)?;
        }
        let own = self.ledger_id.to_string();
        for other in self.storage.clear(&|ledger| ledger == own)? {
            let at = self.storage.at(&format!("{TEMPORARY}/{other}"));
            opened.warnings.push(format!("{at} holds temporary files of another ledger; they are left alone"));
        }
        if opened.commit < claim.recorded {
            opened.warnings.push(format!(
                "the archive at {} has commits up to {}, but the ledger recorded {}: the later ones are lost",
                self.storage.place(),
                opened.commit,
                claim.recorded
            ));
        }
        Ok(opened)
    }

    /// Keeps other processes out, where that is possible.
    pub(super) fn lock(&self) -> Result<(), ArchiveError> {
        if self.lock.get().is_none() {
            self.lock.set(self.storage.lock()?).ok();
        }
        Ok(())
    }

    /// The owner record as it is now, which is remembered.
    pub(super) fn look_up_owner(&self) -> Result<Option<OwnerRecord>, ArchiveError> {
        let found = self.read_owner_record()?;
        self.remembered().clone_from(&found);
        Ok(found.map(|(record, _)| record))
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, Option<(OwnerRecord, Version)>> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Insists that the owner record is as this process left it: no copy of the ledger committed, and no other ledger
    /// took over.
    pub(super) fn still_owned(&self) -> Result<(), ArchiveError> {
        let found = self.read_owner_record()?.map(|(record, _)| record);
        if found == self.remembered().as_ref().map(|(record, _)| record.clone()) {
            return Ok(());
        }
        Err(self.changed_hands(found))
    }

    fn changed_hands(&self, found: Option<OwnerRecord>) -> ArchiveError {
        let now = found.map_or_else(
            || "is gone".to_owned(),
            |record| format!("names commit {} of ledger {}", record.commit, record.ledger_id),
        );
        ArchiveError::NotOurs(format!(
            "the archive at {} changed hands while this process was writing it: {OWNER_RECORD} {now}. Only one ledger \
             may write an archive",
            self.storage.place()
        ))
    }

    /// Publishes the files of a commit. May be repeated.
    pub(super) fn publish(&self, commit: u64, files: &[StagedFile]) -> Result<(), ArchiveError> {
        self.claim_commit(commit, Some(self.run_id))?;
        for (file, published) in files.iter().zip(self.storage.publish(files)?) {
            if let Published::Lost(why) = published {
                // Whoever takes an archive over gives up what others staged.
                self.still_owned()?;
                let why = why.unwrap_or_else(|| "the staged file is gone".to_owned());
                return Err(ArchiveError::failed(format!("publishing {}", self.storage.at(&file.file.path)), why));
            }
        }
        Ok(())
    }

    /// Names a commit in the owner record before its files can be seen: of two copies of a ledger, one goes on.
    fn claim_commit(&self, commit: u64, run: Option<Uuid>) -> Result<(), ArchiveError> {
        reach("deed.before");
        self.write_owner_record(commit, run)
    }

    /// Names a manifest in the owner record before it is written, so that the chain does not fork: of two copies of a
    /// ledger, one goes on. A run that died in between is the only one that may write it, when it is recovered.
    pub(super) fn name_manifest(&self, manifest: NamedManifest) -> Result<(), ArchiveError> {
        let last = self.remembered().as_ref().and_then(|(record, _)| record.manifest.clone());
        match last {
            Some(last) if last == manifest => Ok(()),
            Some(last) if last.sequence >= manifest.sequence => Err(ArchiveError::NotOurs(format!(
                "the archive at {} has manifest {} of run {} already, and this ledger would write number {} of run {}. The \
                 ledger is an old copy: `yunxin-archiver adopt {}` takes the archive over",
                self.storage.place(),
                last.sequence,
                last.run_id,
                manifest.sequence,
                manifest.run_id,
                self.job
            ))),
            _ => self.change_owner_record(|record| record.manifest = Some(manifest)),
        }
    }

    /// Refuses a place that lies within another archive, or beside which or within which another archive lies: each would
    /// take the other's files for its own.
    pub(super) fn stands_alone(&self) -> Result<(), ArchiveError> {
        if let Some(other) = self.storage.find_above(OWNER_RECORD)? {
            return Err(self.overlaps(&other));
        }
        self.holds_no_other(&Contents::beside(&*self.storage)?)
    }

    /// The same for what lies within a place.
    pub(super) fn holds_no_other(&self, contents: &Contents) -> Result<(), ArchiveError> {
        let other = contents
            .others
            .iter()
            .find(|name| name.strip_suffix(OWNER_RECORD).is_some_and(|above| above == BESIDE || above.ends_with('/')));
        other.map_or(Ok(()), |other| Err(self.overlaps(&self.storage.at(other))))
    }

    fn overlaps(&self, other: &str) -> ArchiveError {
        ArchiveError::NotOurs(format!(
            "{} cannot be an archive: {other} is the owner record of another one, and no archive may lie within another, or \
             in the place beside it that is for what vanished. Choose another path, or move that archive away",
            self.storage.place()
        ))
    }

    /// Whether this ledger may have the archive. Changes nothing. Returns the owner record.
    fn admit(&self, claim: &Claim) -> Result<Option<OwnerRecord>, ArchiveError> {
        let place = self.storage.place();
        let adopt = format!("`yunxin-archiver adopt {}` takes it over", claim.job);
        if let Some(record) = self.look_up_owner()? {
            if record.ledger_id != claim.ledger_id.to_string() {
                return Err(ArchiveError::NotOurs(format!(
                    "the archive at {place} belongs to ledger {} of job {}, and this is ledger {}. \
                     Choose another path; or, if that ledger is lost, {adopt}",
                    record.ledger_id, record.job, claim.ledger_id
                )));
            }
            if record.commit > claim.recorded {
                return Err(ArchiveError::NotOurs(format!(
                    "the archive at {place} is ahead of this ledger: it has commit {}, and the ledger knows only {}. \
                     The ledger is an old copy: {adopt}",
                    record.commit, claim.recorded
                )));
            }
            let by_commit = record.run_id.as_deref().and_then(|run| claim.contradiction(record.commit, run));
            let by_manifest = || {
                let NamedManifest { sequence, run_id } = record.manifest.as_ref()?;
                claim.unknown_manifest(*sequence, run_id)
            };
            if let Some(what) = by_commit.or_else(by_manifest) {
                return Err(ArchiveError::NotOurs(format!("the archive at {place} belongs to another copy: {what}")));
            }
            return Ok(Some(record));
        }
        let contents = Contents::of(&*self.storage, true)?;
        self.holds_no_other(&contents)?;
        if let Some(trace) = contents.data.keys().next().or(contents.manifests.first()) {
            return Err(ArchiveError::NotOurs(format!(
                "the archive at {place} has data ({}) and no {OWNER_RECORD} that names its owner: {adopt}",
                self.storage.at(trace)
            )));
        }
        if claim.recorded > 0 {
            return Err(ArchiveError::NotOurs(format!(
                "the archive at {place} is gone or empty, though the ledger recorded {} commits to it. \
                 Is it mounted? Bring it back; or, if it is lost, {adopt} as it is and forgets what was in it",
                claim.recorded
            )));
        }
        Ok(None)
    }

    /// Takes back a commit that lost a file. As a whole it can be fetched again, and no manifest names it yet.
    fn take_back(&self, files: &[StagedFile]) -> Result<(), ArchiveError> {
        for staged in files {
            self.storage.discard(staged)?;
            // A file of another size is not the one that was recorded, and not ours to remove.
            let path = &staged.file.path;
            if self.storage.size(path)? == Some(staged.file.bytes) {
                self.storage.remove(path)?;
            }
        }
        Ok(())
    }

    fn read_owner_record(&self) -> Result<Option<(OwnerRecord, Version)>, ArchiveError> {
        read(&*self.storage, &self.job)
    }

    /// Names this commit in the owner record.
    fn write_owner_record(&self, commit: u64, run: Option<Uuid>) -> Result<(), ArchiveError> {
        self.change_owner_record(|record| {
            (record.commit, record.run_id) = (commit, run.map(|run| run.to_string()));
        })
    }

    /// Writes the owner record in the name of this ledger, unless somebody else changed it since it was remembered.
    fn change_owner_record(&self, change: impl FnOnce(&mut OwnerRecord)) -> Result<(), ArchiveError> {
        let mut remembered = self.remembered();
        let (last, read) = remembered.clone().unzip();
        let (commit, run_id, manifest) = last.map_or((0, None, None), |last| (last.commit, last.run_id, last.manifest));
        let (ledger_id, job) = (self.ledger_id.to_string(), self.job.clone());
        let (version, unconditional) = (OWNER_RECORD_VERSION, !self.storage.has_conditions());
        let mut record = OwnerRecord { version, ledger_id, job, commit, run_id, manifest, unconditional };
        change(&mut record);
        let mut content = serde_json::to_vec_pretty(&record).expect("text is JSON");
        content.push(b'\n');
        match self.storage.replace(OWNER_RECORD, &content, read.as_ref())? {
            Replaced::Yes(version) => {
                *remembered = Some((record, version));
                Ok(())
            }
            Replaced::Changed => Err(self.changed_hands(self.read_owner_record()?.map(|(record, _)| record))),
        }
    }

    /// Makes this ledger the owner, at this commit and this last manifest, unless the owner record changed since it was
    /// looked at. Then removes the staged files of former ledgers.
    pub(super) fn hand_over(&self, commit: u64, manifest: Option<NamedManifest>) -> Result<(), ArchiveError> {
        self.lock()?;
        let written = self.change_owner_record(|record| {
            if record.commit != commit {
                (record.commit, record.run_id) = (commit, None);
            }
            record.manifest = manifest;
        });
        match written {
            Err(ArchiveError::NotOurs(_)) => return Err(self.was_written()),
            written => written?,
        }
        let own = self.ledger_id.to_string();
        self.storage.clear(&|ledger| Uuid::try_parse(ledger).is_ok() && ledger != own)?;
        tracing::debug!(place = self.storage.place(), commit, "{OWNER_RECORD} names the new ledger");
        Ok(())
    }

    /// Why the archive cannot be taken over as it was looked at.
    pub(super) fn was_written(&self) -> ArchiveError {
        ArchiveError::Busy(format!(
            "another process wrote the archive at {} while it was being taken over: stop that process, and run \
             `yunxin-archiver adopt {}` again",
            self.storage.place(),
            self.job
        ))
    }
}
