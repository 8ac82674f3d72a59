//! Plans to ask again for messages that are archived. What to ask comes from the archive itself, once everything else was
//! asked and committed.

use std::collections::HashSet;

use jiff::Timestamp;

use super::context::RunContext;
use super::error::RunError;
use crate::archive::ArchiveWriter;
use crate::failpoint::reach;
use crate::model::message::ExistingVersion;
use crate::model::reference::{ConversationId, Reference};
use crate::plan::{Batch, Purpose, Window};

/// Batches of one plan transaction, about.
const STORE_AT: usize = 2_000;
const PAGE: u32 = 10_000;

/// Batches on their way into the ledger.
struct Planning<'a> {
    run: &'a RunContext,
    window: Window,
    /// IDs in the window.
    carried: HashSet<i64>,
    /// Of which time a version is that is asked for again, in milliseconds since the epoch. What this run fetched is not.
    times: std::ops::Range<i64>,
    /// Batches that were stored.
    stored: u64,
}

/// Plans to ask again for every message of which a version was archived `since` then. Returns how many batches are pending
/// by it. Told to stop, it leaves the rest unplanned.
pub(super) async fn plan(run: &RunContext, archive: &mut dyn ArchiveWriter, since: Timestamp) -> Result<u64, RunError> {
    let RunContext { settings, ledger, stop, .. } = run;
    let since = since.as_millisecond();
    let window =
        Window::new(settings.job.fetch.batch_size, settings.job.plan_window, settings.job.fetch.team_owner.clone());
    let times = since..run.began.as_millisecond();
    let mut planning = Planning { run, window, carried: HashSet::new(), times, stored: 0 };
    ledger.begin_refetch().await?;
    reach("refetch.begun");
    let mut existing = archive.existing_versions(since, ledger.published_files().await?).await?;
    while !stop.is_told()
        && let Some(versions) = existing.next().await?
    {
        planning.add_all(versions).await?;
    }
    let mut after = i64::MIN;
    while !stop.is_told() {
        let revised = ledger.revised_since(since, after, PAGE).await?;
        let Some(last) = revised.last() else { break };
        after = last.message_server_id;
        for version in &revised {
            planning.add(version);
        }
        planning.store(STORE_AT).await?;
    }
    if !stop.is_told() {
        planning.window.finish();
        planning.store(1).await?;
        reach("refetch.planned");
    }
    Ok(planning.stored)
}

impl Planning<'_> {
    /// Adds first versions of which no later one is known. Later ones are kept, to be added in the end.
    async fn add_all(&mut self, versions: Vec<ExistingVersion>) -> Result<(), RunError> {
        let (first, mut kept): (Vec<_>, Vec<_>) = versions.into_iter().partition(|version| version.revision == 0);
        kept.extend(first.iter().filter(|version| version.modify_time.is_some() || !version.requested).cloned());
        if !kept.is_empty() {
            self.run.ledger.keep_versions(&kept).await?;
        }
        let ids: Vec<i64> = first.iter().map(|version| version.message_server_id).collect();
        let revised: HashSet<i64> = self
            .run
            .ledger
            .versions(&ids)
            .await?
            .into_iter()
            .filter(|version| version.revision > 0)
            .map(|version| version.message_server_id)
            .collect();
        for version in first.iter().filter(|version| !revised.contains(&version.message_server_id)) {
            self.add(version);
        }
        self.store(STORE_AT).await
    }

    fn add(&mut self, version: &ExistingVersion) {
        if !self.times.contains(&version.fetched_at) || self.carried.contains(&version.message_server_id) {
            return;
        }
        let Ok(conversation) = ConversationId::parse(&version.conversation_id) else {
            tracing::debug!(
                conversation = version.conversation_id,
                "an archived conversation cannot be asked for again"
            );
            return;
        };
        self.carried.insert(version.message_server_id);
        self.window.add(Reference {
            owner: &conversation.owner,
            conversation_type: conversation.conversation_type,
            other: &conversation.other,
            message_server_id: version.message_server_id,
            create_time: version.create_time,
        });
    }

    /// Makes full batches pending, if there are at least so many.
    async fn store(&mut self, at_least: usize) -> Result<(), RunError> {
        if self.window.ready() < at_least {
            return Ok(());
        }
        let RunContext { settings, ledger, meter, run_id, .. } = self.run;
        let purpose = Purpose::Refetch { doubt: false };
        let mut batches: Vec<Batch> =
            self.window.take_ready().into_iter().map(|batch| Batch { purpose, ..batch }).collect();
        ledger.begin_with_answered(&mut batches, &settings.job.fetch.team_owner).await?;
        for reference in batches.iter().flat_map(|batch| &batch.refs) {
            self.carried.remove(&reference.message_server_id);
        }
        ledger.plan_refetch(*run_id, &batches).await?;
        reach("refetch.stored");
        let mut counts = meter.counts();
        counts.plan(batches.len());
        counts.refetched.planned += batches.iter().map(|batch| batch.refs.len() as u64).sum::<u64>();
        drop(counts);
        self.stored += batches.len() as u64;
        Ok(())
    }
}
