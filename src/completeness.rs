//! Whether an archive is complete: every reference of a source is archived, failed, dismissed, pending, or
//! absent.
//!
//! ```text
//! references ┐
//! ledger     ├─facts→ sort ─by ID→ one state for each message → findings → certificate
//! archive    ┘        on disk      the strongest fact decides
//! ```
//!
//! They are read in this order so that a run under way makes no reference look absent: a message that the ledger no longer
//! calls pending is in the archive by the time the archive is read. Memory holds the sort's buffer, and the tables by day
//! and by account.

pub mod certificate;
mod error;
mod fact;
mod findings;
mod verdict;

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};

pub use self::error::CompletenessError;
pub use self::findings::{AbsentReference, Counts, Findings, Read};
pub use self::verdict::{Verdict, verdict};

use self::error::sorting;
use self::fact::{Entry, Fact};
use self::findings::{State, day};
use crate::archive::read::{ArchiveReader, FoundId, WantedIds};
use crate::ledger::{Ledger, NotArchived};
use crate::model::reference::Invalid;
use crate::sort::Sorter;
use crate::source::Source;

/// The absent references and invalid rows that [`Findings`] list.
const LISTED: usize = 100;

/// How completeness is examined.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The directory of unnamed temporary files.
    pub scratch: PathBuf,
    /// The bytes that sorting may hold in memory.
    pub memory: usize,
    /// References from this time on, in milliseconds since the epoch.
    pub from: Option<i64>,
    /// References before this time.
    pub to: Option<i64>,
    /// The zone of days.
    pub timezone: TimeZone,
}

/// An examination. It gathers facts, then joins them.
#[derive(Debug)]
pub struct Examination {
    settings: Settings,
    sorter: Sorter<Entry>,
    read: Read,
    invalid: Vec<Invalid>,
    /// The lowest and the highest ID that is referenced.
    range: Option<(i64, i64)>,
    /// Files that are committed but in no manifest yet: their paths, and where they are until they are published.
    committed: Vec<(String, String)>,
    problems: Vec<String>,
}

impl Examination {
    /// An examination without any fact.
    pub fn new(settings: Settings) -> Self {
        let sorter = Sorter::new(settings.scratch.clone(), settings.memory);
        Self {
            settings,
            sorter,
            read: Read::default(),
            invalid: Vec::new(),
            range: None,
            committed: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Step 1: takes every reference of a source.
    ///
    /// # Errors
    ///
    /// The source cannot be read to its end.
    pub async fn read_references(&mut self, source: &mut dyn Source) -> Result<(), CompletenessError> {
        let Settings { from, to, .. } = self.settings;
        while let Some(mut chunk) = source.next().await? {
            self.read.rows += chunk.read();
            self.read.skipped += chunk.skipped();
            self.read.invalid += chunk.invalid.len() as u64;
            for reference in chunk.iter() {
                let (id, time) = (reference.message_server_id, reference.create_time);
                if from.is_some_and(|from| time < from) || to.is_some_and(|to| time >= to) {
                    self.read.outside += 1;
                    continue;
                }
                let (first, last) = self.range.unwrap_or((id, id));
                self.range = Some((first.min(id), last.max(id)));
                let conversation_id = reference.conversation_id().to_string().into_boxed_str();
                let fact = Fact::Referenced { create_time: time, conversation_id };
                self.sorter.push(Entry { id, fact }).map_err(sorting)?;
            }
            let room = LISTED.saturating_sub(self.invalid.len());
            chunk.invalid.truncate(room);
            self.invalid.append(&mut chunk.invalid);
        }
        Ok(())
    }

    /// Step 2: takes what has failed and what is pending, as the ledger has it at this moment.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn read_ledger(&mut self, ledger: &Ledger) -> Result<(), CompletenessError> {
        let (range, sorter) = (self.range, &mut self.sorter);
        let read = ledger.not_archived(|id, standing| {
            if !is_within(range, id) {
                return ControlFlow::Continue(());
            }
            let fact = match standing {
                NotArchived::Failed { class, code } => Fact::Failed { class, code },
                NotArchived::Dismissed => Fact::Dismissed,
                NotArchived::Pending => Fact::Pending,
            };
            match sorter.push(Entry { id, fact }) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            }
        });
        match read.await? {
            ControlFlow::Break(error) => Err(sorting(error)),
            ControlFlow::Continue(files) => {
                self.committed = files.into_iter().map(|file| (file.file.path, file.staged)).collect();
                Ok(())
            }
        }
    }

    /// Step 2 without a ledger: takes the failures of a file that a run wrote, or that `failures --format jsonl` printed.
    /// Returns how many there are.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or does not hold failures.
    pub fn read_failures(&mut self, path: &Path) -> Result<u64, CompletenessError> {
        let mut count = 0;
        for failure in fact::failures(path)? {
            let (id, fact) = failure?;
            if is_within(self.range, id) {
                self.sorter.push(Entry { id, fact }).map_err(sorting)?;
            }
            count += 1;
        }
        Ok(count)
    }

    /// Step 3: takes the IDs of an archive, which must be opened after the steps before.
    ///
    /// # Errors
    ///
    /// The archive cannot be read. A single unreadable file is not an error; the findings name it.
    pub async fn read_archive(
        &mut self,
        archive: &mut dyn ArchiveReader,
        app_key: &str,
    ) -> Result<(), CompletenessError> {
        let Some((first, last)) = self.range else { return Ok(()) };
        let committed = std::mem::take(&mut self.committed);
        let sorter = &mut self.sorter;
        let mut taken = Ok(());
        let mut take = |found| {
            let (id, fact) = match found {
                FoundId::Archived(id) => (id, Fact::Archived),
                FoundId::Unnamed(id) => (id, Fact::Pending),
            };
            taken = sorter.push(Entry { id, fact }).map_err(sorting);
            if taken.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let wanted = WantedIds { app_key, first, last, committed: &committed };
        self.problems.extend(archive.ids(wanted, &mut take).await?);
        taken
    }

    /// Step 4: finds the state of every referenced message, and hands over the absent ones in order of ID.
    ///
    /// # Errors
    ///
    /// The facts cannot be read back, or `absent` fails.
    pub fn finish(
        self,
        mut absent: impl FnMut(&AbsentReference) -> io::Result<()>,
    ) -> Result<Findings, CompletenessError> {
        let mut findings = Findings::new(self.read, self.invalid, self.problems);
        let mut digest = Sha256::new();
        let mut merge = self.sorter.finish().map_err(sorting)?.peekable();
        while let Some(entry) = merge.next() {
            let Entry { id, fact } = entry.map_err(sorting)?;
            let mut state = State::Absent;
            let mut reference = None;
            let mut next = Some(fact);
            // The facts of a message come in the order of their weight, its references last.
            while let Some(fact) = next {
                match fact {
                    Fact::Referenced { create_time, conversation_id } => match &reference {
                        None => reference = Some((create_time, conversation_id)),
                        Some(_) => findings.read.duplicates += 1,
                    },
                    fact if state == State::Absent => state = fact.state(),
                    _ => {}
                }
                let same = |entry: &io::Result<Entry>| entry.as_ref().map_or(true, |entry| entry.id == id);
                next = merge.next_if(same).transpose().map_err(sorting)?.map(|entry| entry.fact);
            }
            let Some((create_time, conversation_id)) = reference else { continue };
            digest.update(format!("{id},{create_time},{conversation_id}\n"));
            let account = conversation_id.split('|').next().unwrap_or_default().to_lowercase();
            let day = day(create_time, &self.settings.timezone);
            findings.count(state, day, &account);
            if state == State::Absent {
                let reference = AbsentReference {
                    conversation_id: conversation_id.into_string(),
                    message_server_id: id,
                    create_time,
                    day,
                    account,
                };
                let context = "writing the absent references";
                absent(&reference).map_err(|source| CompletenessError::Failed { context, source })?;
                if findings.absent.len() < LISTED {
                    findings.absent.push(reference);
                }
            }
        }
        findings.references_sha256 = hex::encode(digest.finalize());
        if findings.adds_up() { Ok(findings) } else { Err(CompletenessError::Sums(findings.read.rows)) }
    }
}

fn is_within(range: Option<(i64, i64)>, id: i64) -> bool {
    range.is_some_and(|(first, last)| (first..=last).contains(&id))
}
