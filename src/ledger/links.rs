//! What archived messages link to. A link is kept until the references are drained; then it is looked up, and cut into
//! batches if no reference names its message.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, SqliteConnection};
use uuid::Uuid;

use super::database::Ledger;
use super::encoding::references;
use super::error::{Fault, LedgerError};
use super::failures::EarlierFailure;
use super::failures::record::mark_retrying;
use super::pending::append;
use super::values::{Columns as _, IDS, ROWS, json};
use crate::model::reference::{ConversationId, ConversationKey, Reference};
use crate::plan::{Batch, BatchRef, Purpose, TeamOwner, Window};

/// About how many links are looked up at once; those of one conversation stay together.
const LOOK_UP: usize = 128 * 1024;

/// What a message links to: the root of its thread, or the message that it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

/// Links of the messages of one batch. Whoever got the messages that link may ask for what they link to.
pub(super) struct FromBatch<'a> {
    pub(super) key: &'a str,
    pub(super) asked: &'a str,
    pub(super) purpose: Purpose,
    pub(super) links: &'a [Link],
}

/// Keeps links.
pub(super) async fn insert(conn: &mut SqliteConnection, from: &[FromBatch<'_>]) -> Result<(), Fault> {
    let from: Vec<&FromBatch<'_>> = from.iter().filter(|from| !from.links.is_empty()).collect();
    for some in from.chunks(ROWS) {
        let mut sql = QueryBuilder::new("insert into linked (key, depth, planned, refs, body) ");
        sql.push_values(some, |mut row, FromBatch { key, asked, purpose, links }| {
            let refs = links.iter().map(|link| {
                let Link { message_server_id, create_time } = *link;
                BatchRef { message_server_id, create_time, owner: 0 }
            });
            row.push_bind(*key)
                .push_bind(purpose.depth().unwrap_or_default().saturating_add(1))
                .push_bind(false)
                .push_bind(links.len() as i64)
                .push_bind(references::encode(&[(*asked).to_owned()], &refs.collect::<Vec<_>>()));
        });
        sql.build().execute(&mut *conn).await?;
    }
    Ok(())
}

/// A link that waits.
struct Waiting {
    message_server_id: i64,
    create_time: i64,
    /// It is known: it failed, and is to be asked for again.
    planned: bool,
    depth: u16,
    key: Arc<ConversationKey>,
    owner: Arc<str>,
}

/// Links of whole conversations, and the rows that they come from.
#[derive(Default)]
struct Gathered {
    waiting: Vec<Waiting>,
    rows: Vec<i64>,
}

impl Gathered {
    /// Whether the last link is of this conversation.
    fn ends_with(&self, key: &str) -> bool {
        self.waiting.last().is_some_and(|link| link.key.as_str() == key)
    }

    fn add(&mut self, row: &SqliteRow) -> Result<(), Fault> {
        let key: &str = row.value("key")?;
        let (owners, refs) =
            references::decode(row.value("body")?).map_err(Fault::damaged(format_args!("the links of {key}")))?;
        let key = match self.waiting.last() {
            Some(last) if last.key.as_str() == key => Arc::clone(&last.key),
            _ => Arc::new(ConversationKey::from_stored(key.to_owned())),
        };
        let owners: Vec<Arc<str>> = owners.into_iter().map(Arc::from).collect();
        let (planned, depth) = (row.value("planned")?, row.value("depth")?);
        self.waiting.extend(refs.iter().map(|reference| Waiting {
            message_server_id: reference.message_server_id,
            create_time: reference.create_time,
            planned,
            depth,
            key: Arc::clone(&key),
            owner: Arc::clone(&owners[usize::from(reference.owner)]),
        }));
        self.rows.push(row.value("id")?);
        Ok(())
    }

    /// Keeps every ID once: as it was planned before, or else by its shortest way.
    fn distinct(&mut self) {
        self.waiting.sort_by_key(|link| (link.message_server_id, !link.planned, link.depth));
        self.waiting.dedup_by_key(|link| link.message_server_id);
    }

    /// The IDs that were not planned before.
    fn new_ids(&self) -> Vec<i64> {
        self.waiting.iter().filter(|link| !link.planned).map(|link| link.message_server_id).collect()
    }

    /// Cuts what is left, as references of the same owners would be.
    fn cut(&mut self, batch_size: usize, team_owner: &TeamOwner) -> Vec<Batch> {
        self.waiting.sort_by(|a, b| (&a.key, a.depth).cmp(&(&b.key, b.depth)));
        let mut window = Window::new(batch_size, usize::MAX, team_owner.clone());
        let mut batches = Vec::new();
        for group in self.waiting.chunk_by(|a, b| (&a.key, a.depth) == (&b.key, b.depth)) {
            for link in group {
                let conversation = link.key.seen_by(&link.owner);
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

impl Ledger {
    /// Plans the messages that links name and that are not known: in batches of one conversation and one depth, as full
    /// as arithmetic allows, pending after all others. Their IDs are known from now on; links to known IDs are forgotten.
    ///
    /// Some hundred thousand links are one transaction, so that a link is either kept or planned.
    pub async fn cut_linked(
        &self,
        run_id: Uuid,
        batch_size: usize,
        team_owner: &TeamOwner,
    ) -> Result<ExtrasPlanned, LedgerError> {
        let mut total = ExtrasPlanned::default();
        loop {
            let gathered = self.gather_links().await?;
            if gathered.rows.is_empty() {
                break;
            }
            let planned = self.plan_linked(run_id, gathered, batch_size, team_owner).await?;
            total.batches += planned.batches;
            total.new += planned.new;
        }
        if total.batches > 0 {
            tracing::debug!(%run_id, batches = total.batches, messages = total.new, "planned what threads need");
        }
        Ok(total)
    }

    async fn gather_links(&self) -> Result<Gathered, LedgerError> {
        self.query("reading links", async |conn| {
            let mut gathered = Gathered::default();
            let sql = "select id, key, depth, planned, body from linked order by key, id";
            let mut rows = sqlx::query(sql).fetch(conn);
            while let Some(row) = rows.try_next().await? {
                if gathered.waiting.len() >= LOOK_UP && !gathered.ends_with(row.value("key")?) {
                    break;
                }
                gathered.add(&row)?;
            }
            Ok(gathered)
        })
        .await
    }

    async fn plan_linked(
        &self,
        run_id: Uuid,
        mut gathered: Gathered,
        batch_size: usize,
        team_owner: &TeamOwner,
    ) -> Result<ExtrasPlanned, LedgerError> {
        let planned = self.transaction("planning what threads need", async |tx| {
            gathered.distinct();
            let known = self.look_up(&gathered.new_ids()).await?;
            gathered.waiting.retain(|link| link.planned || known.binary_search(&link.message_server_id).is_err());
            let new_ids = gathered.new_ids();
            let mut batches = gathered.cut(batch_size, team_owner);
            self.choose_answered(&mut batches, team_owner).await?;
            append(tx, &batches).await?;
            count_extras(tx, run_id, new_ids.len()).await?;
            for rows in gathered.rows.chunks(IDS) {
                sqlx::query("delete from linked where id in (select value from json_each(?))")
                    .bind(json(rows))
                    .execute(&mut *tx)
                    .await?;
            }
            let new_blocks = self.insert_known(tx, &new_ids).await?;
            Ok((ExtrasPlanned { batches: batches.len() as u64, new: new_ids.len() as u64 }, new_blocks))
        });
        let (planned, new_blocks) = planned.await?;
        new_blocks.committed();
        self.compact_by_the_way().await?;
        Ok(planned)
    }

    /// Keeps failures of what only threads asked for, to be cut into batches with the next links.
    pub async fn retry_linked(&self, run_id: Uuid, failed: &[EarlierFailure]) -> Result<(), LedgerError> {
        self.transaction("keeping what threads need to be asked again", async |tx| {
            let mut conversations: BTreeMap<(&str, u16), Vec<(String, &EarlierFailure)>> = BTreeMap::new();
            for failure in failed {
                let Ok(conversation) = ConversationId::parse(&failure.conversation_id) else { continue };
                let of_key = conversations.entry((failure.key.as_str(), failure.depth)).or_default();
                of_key.push((conversation.owner, failure));
            }
            for ((key, depth), failures) in conversations {
                let mut owners: Vec<String> = failures.iter().map(|(owner, _)| owner.clone()).collect();
                owners.sort_unstable();
                owners.dedup();
                let refs = failures.iter().map(|(owner, failure)| BatchRef {
                    message_server_id: failure.message_server_id,
                    create_time: failure.create_time,
                    owner: owners.partition_point(|known| known < owner) as u16,
                });
                sqlx::query("insert into linked (key, depth, planned, refs, body) values (?, ?, 1, ?, ?)")
                    .bind(key)
                    .bind(depth)
                    .bind(failures.len() as i64)
                    .bind(references::encode(&owners, &refs.collect::<Vec<_>>()))
                    .execute(&mut *tx)
                    .await?;
                let ids: Vec<i64> = failures.iter().map(|(_, failure)| failure.message_server_id).collect();
                mark_retrying(tx, &ids).await?;
            }
            count_extras(tx, run_id, failed.len()).await
        })
        .await
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
