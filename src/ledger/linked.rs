//! What archived messages link to: kept until the references are drained, then looked up, and cut into full batches if
//! no reference names it.

use std::collections::BTreeMap;

use sqlx::{Row as _, SqliteConnection};
use uuid::Uuid;

use super::batches::append;
use super::error::Fault;
use super::statement::{IDS, json, runs, values};
use super::{Ledger, LedgerError, RetryRef, blob, failures, known};
use crate::model::reference::{ConversationId, ConversationKey, Reference};
use crate::plan::{Batch, BatchRef, Purpose, TeamOwner, Window};

/// Rows read at once.
const PAGE: i64 = 256;
/// Links looked up at once, about: those of one dialogue stay together.
const LOOK_UP: usize = 128 * 1024;

/// What a message links to: the root of its thread, or the message that it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link {
    /// The message's ID.
    pub message_server_id: i64,
    /// When it was created, milliseconds since the epoch.
    pub create_time: i64,
}

/// What became of the links that were kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExtrasPlanned {
    /// Batches that are pending now.
    pub batches: u64,
    /// Messages in them that were not known.
    pub new: u64,
}

/// A batch, as far as its failures and links need to know.
#[derive(Debug, Clone)]
pub(super) struct BatchName {
    pub(super) key: String,
    pub(super) asked: String,
    pub(super) purpose: Purpose,
}

impl BatchName {
    /// How many links its messages are away from one that a reference names.
    pub(super) fn depth(&self) -> u16 {
        self.purpose.depth().unwrap_or_default()
    }

    pub(super) fn of(batch: &Batch) -> Self {
        Self { key: batch.key.as_str().to_owned(), asked: batch.asked.clone(), purpose: batch.purpose }
    }
}

/// Links of the messages of one batch.
pub(super) struct FromBatch<'a> {
    pub(super) batch: BatchName,
    pub(super) links: &'a [Link],
}

/// Keeps links. Whoever got the messages that link may ask for what they link to.
pub(super) async fn insert(conn: &mut SqliteConnection, from: &[FromBatch<'_>]) -> Result<(), Fault> {
    let from: Vec<&FromBatch<'_>> = from.iter().filter(|from| !from.links.is_empty()).collect();
    for some in runs(&from) {
        let sql = values("insert into linked (key, depth, planned, refs, body) values", 5, some.len(), "");
        let mut query = sqlx::query(sql);
        for FromBatch { batch, links } in some {
            let refs: Vec<BatchRef> = links
                .iter()
                .map(|link| BatchRef {
                    message_server_id: link.message_server_id,
                    create_time: link.create_time,
                    owner: 0,
                })
                .collect();
            query = query
                .bind(batch.key.as_str())
                .bind(batch.depth().saturating_add(1))
                .bind(false)
                .bind(refs.len() as i64)
                .bind(blob::encode(std::slice::from_ref(&batch.asked), &refs));
        }
        query.execute(&mut *conn).await?;
    }
    Ok(())
}

/// A link that waits.
struct Waiting {
    message_server_id: i64,
    create_time: i64,
    /// It is known already: it failed, and is to be asked for again.
    planned: bool,
    depth: u16,
    /// Where its dialogue and its owner stand in [`Gathered`].
    key: u32,
    owner: u32,
}

/// Links of whole dialogues, and the rows that they come from.
#[derive(Default)]
struct Gathered {
    keys: Vec<ConversationKey>,
    owners: Vec<String>,
    waiting: Vec<Waiting>,
    rows: Vec<i64>,
}

impl Gathered {
    fn add(&mut self, key: &str, depth: u16, planned: bool, body: &[u8]) -> Result<(), Fault> {
        let (owners, refs) = blob::decode(body).map_err(Fault::damaged(format_args!("the links of {key}")))?;
        if self.keys.last().is_none_or(|last| last.as_str() != key) {
            self.keys.push(ConversationKey::from_stored(key.to_owned()));
        }
        let first = self.owners.len() as u32;
        let dialogue = self.keys.len() as u32 - 1;
        self.owners.extend(owners);
        self.waiting.extend(refs.iter().map(|reference| Waiting {
            message_server_id: reference.message_server_id,
            create_time: reference.create_time,
            planned,
            depth,
            key: dialogue,
            owner: first + u32::from(reference.owner),
        }));
        Ok(())
    }

    /// Keeps every ID once: as it was planned before, else by its shortest way.
    fn distinct(&mut self) {
        self.waiting.sort_unstable_by_key(|link| (link.message_server_id, !link.planned, link.depth));
        self.waiting.dedup_by_key(|link| link.message_server_id);
    }

    /// Cuts what is left, as references of the same owners would be.
    fn cut(&mut self, batch_size: usize, team_owner: &TeamOwner) -> Vec<Batch> {
        self.waiting.sort_by_key(|link| (link.key, link.depth));
        let mut window = Window::new(batch_size, usize::MAX, team_owner.clone());
        let mut batches = Vec::new();
        for group in self.waiting.chunk_by(|a, b| (a.key, a.depth) == (b.key, b.depth)) {
            for link in group {
                let conversation = self.keys[link.key as usize].seen_by(&self.owners[link.owner as usize]);
                window.add(Reference {
                    owner: &conversation.owner,
                    conversation_type: conversation.conversation_type,
                    other: &conversation.other,
                    message_server_id: link.message_server_id,
                    create_time: link.create_time,
                });
            }
            window.finish();
            let purpose = Purpose::at_depth(group[0].depth);
            batches.extend(window.take_ready().into_iter().map(|batch| Batch { purpose, ..batch }));
        }
        batches
    }
}

/// Failures of one dialogue, to be asked for again.
#[derive(Default)]
struct Retried {
    owners: Vec<String>,
    refs: Vec<BatchRef>,
}

impl Ledger {
    /// Plans what the kept links name and nothing known is: batches of one dialogue and one depth, as full as arithmetic
    /// allows, pending after all others. Their IDs are known from now on; links to known IDs are forgotten.
    ///
    /// In one transaction for some hundred thousand links, so that a link is either kept or planned.
    pub async fn cut_linked(
        &self,
        run_id: Uuid,
        batch_size: usize,
        team_owner: &TeamOwner,
    ) -> Result<ExtrasPlanned, LedgerError> {
        let cut = async {
            let mut cut = ExtrasPlanned::default();
            let mut gathered = Gathered::default();
            let mut after = (String::new(), 0_i64);
            loop {
                let rows = sqlx::query(
                    "select id, key, depth, planned, body from linked where (key, id) > (?, ?) order by key, id limit ?",
                )
                .bind(after.0.as_str())
                .bind(after.1)
                .bind(PAGE)
                .fetch_all(&mut self.reader().await?.conn)
                .await?;
                for row in &rows {
                    let key: &str = row.try_get(1)?;
                    if gathered.waiting.len() >= LOOK_UP && key != after.0 {
                        self.plan_linked(run_id, std::mem::take(&mut gathered), batch_size, team_owner, &mut cut)
                            .await?;
                    }
                    gathered.add(key, row.try_get::<i64, _>(2)? as u16, row.try_get(3)?, row.try_get(4)?)?;
                    let id = row.try_get(0)?;
                    gathered.rows.push(id);
                    after = (key.to_owned(), id);
                }
                if rows.is_empty() {
                    break;
                }
            }
            self.plan_linked(run_id, gathered, batch_size, team_owner, &mut cut).await?;
            if cut.batches > 0 {
                tracing::debug!(%run_id, batches = cut.batches, messages = cut.new, "threads are followed upward");
            }
            Ok(cut)
        };
        cut.await.map_err(self.explain("planning what threads need"))
    }

    async fn plan_linked(
        &self,
        run_id: Uuid,
        mut gathered: Gathered,
        batch_size: usize,
        team_owner: &TeamOwner,
        cut: &mut ExtrasPlanned,
    ) -> Result<(), Fault> {
        if gathered.rows.is_empty() {
            return Ok(());
        }
        let mut writer = self.writer().await?;
        gathered.distinct();
        let fresh = |link: &&Waiting| !link.planned;
        let asked: Vec<i64> = gathered.waiting.iter().filter(fresh).map(|link| link.message_server_id).collect();
        let known = self.probe(&asked).await?;
        gathered.waiting.retain(|link| link.planned || known.binary_search(&link.message_server_id).is_err());
        let new: Vec<i64> = gathered.waiting.iter().filter(fresh).map(|link| link.message_server_id).collect();
        let mut batches = gathered.cut(batch_size, team_owner);
        self.prefer_answered(&mut batches, team_owner).await?;
        let mut tx = writer.begin().await?;
        append(&mut tx, &batches).await?;
        let blocks = known::insert(&mut tx, &new).await?;
        count_extras(&mut tx, run_id, new.len()).await?;
        for rows in gathered.rows.chunks(IDS) {
            sqlx::query("delete from linked where id in (select value from json_each(?))")
                .bind(json(rows))
                .execute(&mut *tx)
                .await?;
        }
        // Held over the commit: whoever loads the directory meanwhile would count the blocks twice.
        let mut directory = self.directory.write().await;
        tx.commit().await?;
        if let Some(directory) = directory.as_mut() {
            directory.add(&blocks);
        }
        known::compact(&mut writer, &mut directory, known::BY_THE_WAY).await?;
        cut.batches += batches.len() as u64;
        cut.new += new.len() as u64;
        Ok(())
    }

    /// Takes up failures of what only threads asked for, to be cut into batches with the next links.
    pub async fn retry_linked(&self, run_id: Uuid, failed: &[RetryRef]) -> Result<(), LedgerError> {
        let stored = async {
            let mut writer = self.writer().await?;
            let mut tx = writer.begin().await?;
            let mut ids = Vec::with_capacity(failed.len());
            let mut dialogues: BTreeMap<(&str, u16), Retried> = BTreeMap::new();
            for failure in failed {
                let Ok(conversation) = ConversationId::parse(&failure.conversation_id) else { continue };
                let Retried { owners, refs } = dialogues.entry((failure.key.as_str(), failure.depth)).or_default();
                let owner = owners.iter().position(|known| *known == conversation.owner).unwrap_or_else(|| {
                    owners.push(conversation.owner);
                    owners.len() - 1
                });
                let (message_server_id, create_time) = (failure.message_server_id, failure.create_time);
                refs.push(BatchRef { message_server_id, create_time, owner: owner as u16 });
                ids.push(message_server_id);
            }
            for ((key, depth), Retried { owners, refs }) in dialogues {
                sqlx::query("insert into linked (key, depth, planned, refs, body) values (?, ?, 1, ?, ?)")
                    .bind(key)
                    .bind(depth)
                    .bind(refs.len() as i64)
                    .bind(blob::encode(&owners, &refs))
                    .execute(&mut *tx)
                    .await?;
            }
            failures::retrying(&mut tx, &ids).await?;
            count_extras(&mut tx, run_id, failed.len()).await?;
            Ok(tx.commit().await?)
        };
        stored.await.map_err(self.explain("taking up failures of threads"))
    }
}

/// Counts messages that a run has to fetch for threads.
async fn count_extras(conn: &mut SqliteConnection, run_id: Uuid, messages: usize) -> Result<(), Fault> {
    sqlx::query("update runs set extras_planned = extras_planned + ? where run_id = ?")
        .bind(messages as i64)
        .bind(run_id.to_string())
        .execute(conn)
        .await?;
    Ok(())
}
