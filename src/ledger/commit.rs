//! What a commit finishes, and its intent: what a database may have committed before the ledger recorded it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::database::Ledger;
use super::encoding::{Damaged, Decoder, Encoder, histories, references};
use super::error::{Fault, LedgerError};
use super::failures::record::FailedRef;
use super::links::Link;
use super::refetch::Reviewed;
use crate::model::manifest::StagedFile;
use crate::model::reference::ConversationKey;
use crate::plan::{Batch, FollowUp, Purpose};

const VERSION: u8 = 3;
/// As version 0.1 wrote it: batches had the number of their ask, and no history.
const WITHOUT_HISTORY: u8 = 2;

/// What one commit, or one step without a commit of the archive, finishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its number, one more than the last; 0 for a step in which nothing is archived: a split, or only failures.
    pub seq: u64,
    /// The run that makes it.
    pub run_id: Uuid,
    /// When.
    pub now: Timestamp,
    /// The batches that it finishes.
    pub finished: Vec<FinishedBatch>,
    /// The files that it made.
    pub files: Vec<StagedFile>,
    /// Messages.
    pub rows: u64,
    /// Bytes written for them.
    pub bytes: u64,
}

/// A batch, and what became of each of its references.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinishedBatch {
    /// The batch.
    pub seq: i64,
    /// IDs of the messages that the commit holds.
    pub archived: Vec<i64>,
    /// References that failed for good, or for now.
    pub failures: Vec<FailedRef>,
    /// References to be sent again at once, in smaller batches.
    pub split: Vec<Batch>,
    /// References to be asked for once more in this run.
    pub follow_ups: Vec<FollowUp>,
    /// What its archived messages link to, wanted for their threads. Whether it is known is not yet looked up.
    pub links: Vec<Link>,
    /// What became of the others, in a batch that asks again for what is in the archive: there `archived` are those of
    /// which the commit holds a new version, and none fails.
    pub reviewed: Reviewed,
}

impl FinishedBatch {
    /// Whether its owner got something of what was asked for.
    pub fn has_got(&self) -> bool {
        !self.archived.is_empty() || self.reviewed.unchanged > 0
    }

    /// Whether the archive has something of it.
    pub fn has_rows(&self) -> bool {
        !self.archived.is_empty() || !self.reviewed.vanished.is_empty()
    }
}

impl Ledger {
    /// Stores durably what a commit will finish, before the archive makes it: for archives whose own commit is final.
    pub async fn record_intent(&self, commit: &Commit) -> Result<(), LedgerError> {
        self.transaction("recording the intent of a commit", async |tx| {
            let last: i64 = sqlx::query_scalar("select last_commit from ledger").fetch_one(&mut *tx).await?;
            if commit.seq as i64 != last + 1 {
                return Err(Fault::Inconsistent(format!("commit {} is intended after commit {last}", commit.seq)));
            }
            if !commit.files.is_empty() {
                return Err(Fault::Inconsistent("a commit of files needs no intent".to_owned()));
            }
            sqlx::query("insert or replace into intent (one, seq, body) values (1, ?, ?)")
                .bind(commit.seq as i64)
                .bind(encode(commit))
                .execute(tx)
                .await?;
            Ok(())
        })
        .await
    }

    /// The commit that the archive may have made and the ledger has not recorded. Record it if the archive holds it;
    /// discard it if not.
    pub async fn intent(&self) -> Result<Option<Commit>, LedgerError> {
        self.query("reading the intent of a commit", async |conn| {
            let body: Option<Vec<u8>> = sqlx::query_scalar("select body from intent").fetch_optional(conn).await?;
            body.map(|body| decode(&body).map_err(Fault::damaged("the intent of a commit"))).transpose()
        })
        .await
    }

    /// Forgets the intent of a commit: the archive did not make it, and its batches are still pending.
    pub async fn discard_intent(&self) -> Result<(), LedgerError> {
        self.transaction("discarding the intent of a commit", async |tx| {
            sqlx::query("delete from intent").execute(tx).await?;
            Ok(())
        })
        .await
    }
}

fn encode(commit: &Commit) -> Vec<u8> {
    let mut out = Encoder::new(VERSION);
    out.number(commit.seq).0.extend_from_slice(commit.run_id.as_bytes());
    out.signed(commit.now.as_millisecond()).number(commit.rows).number(commit.bytes);
    out.list(&commit.finished, |out, batch| {
        out.signed(batch.seq).deltas(batch.archived.iter().copied());
        out.list(&batch.failures, put_failure).list(&batch.split, put_batch).list(&batch.follow_ups, put_follow_up);
        out.list(&batch.links, |out, link| {
            out.signed(link.message_server_id).signed(link.create_time);
        });
        let Reviewed { unchanged, vanished, failed } = &batch.reviewed;
        out.number(*unchanged).deltas(vanished.iter().copied()).number(*failed);
    });
    // Earlier versions had a place for files, which no database has.
    out.number(0);
    out.finish()
}

fn decode(bytes: &[u8]) -> Result<Commit, Damaged> {
    let (version, mut from) = Decoder::open(bytes)?;
    if version != VERSION && version != WITHOUT_HISTORY {
        return Err(Damaged::Version(version));
    }
    let seq = from.number()?;
    let run_id = Uuid::from_slice(from.raw(16)?).map_err(|_| Damaged::Content)?;
    let now = Timestamp::from_millisecond(from.signed()?).map_err(|_| Damaged::Content)?;
    let (rows, bytes) = (from.number()?, from.number()?);
    let finished = from.list(|from| {
        Ok(FinishedBatch {
            seq: from.signed()?,
            archived: from.deltas()?,
            failures: from.list(take_failure)?,
            split: from.list(|from| take_batch(from, version))?,
            follow_ups: from.list(|from| take_follow_up(from, version))?,
            links: from.list(|from| Ok(Link { message_server_id: from.signed()?, create_time: from.signed()? }))?,
            reviewed: Reviewed { unchanged: from.number()?, vanished: from.deltas()?, failed: from.number()? },
        })
    })?;
    if from.number()? != 0 {
        return Err(Damaged::Content);
    }
    from.end()?;
    Ok(Commit { seq, run_id, now, finished, files: Vec::new(), rows, bytes })
}

fn put_failure(out: &mut Encoder, failure: &FailedRef) {
    out.signed(failure.message_server_id).signed(failure.create_time).text(&failure.conversation_id);
    histories::put_reason(out, &failure.reason);
    out.number(u64::from(failure.attempts));
}

fn take_failure(from: &mut Decoder<'_>) -> Result<FailedRef, Damaged> {
    Ok(FailedRef {
        message_server_id: from.signed()?,
        create_time: from.signed()?,
        conversation_id: from.text()?,
        reason: histories::take_reason(from)?,
        attempts: from.small()?,
    })
}

fn put_batch(out: &mut Encoder, batch: &Batch) {
    out.text(batch.key.as_str()).text(&batch.asked).signed(batch.purpose.number());
    out.bytes(&references::encode(&batch.owners, &batch.refs));
    out.bytes(&histories::encode(&batch.histories).unwrap_or_default());
}

fn take_batch(from: &mut Decoder<'_>, version: u8) -> Result<Batch, Damaged> {
    let key = ConversationKey::from_stored(from.text()?);
    let asked = from.text()?;
    if version == WITHOUT_HISTORY {
        from.number()?;
    }
    let purpose = Purpose::from_number(from.signed()?).ok_or(Damaged::Content)?;
    let (owners, refs) = references::decode(from.bytes()?)?;
    let histories = if version == WITHOUT_HISTORY { &[] } else { from.bytes()? };
    let histories = histories::decode(Some(histories).filter(|bytes| !bytes.is_empty()))?;
    Ok(Batch { key, asked, purpose, owners, histories, refs })
}

/// As a batch, all of one history, whose asked owner has no name while it is still to be chosen.
fn put_follow_up(out: &mut Encoder, follow_up: &FollowUp) {
    let FollowUp { key, asked, purpose, owners, refs, history } = follow_up.clone();
    let (asked, histories) = (asked.unwrap_or_default(), vec![history; owners.len()]);
    put_batch(out, &Batch { key, asked, purpose, owners, histories, refs });
}

fn take_follow_up(from: &mut Decoder<'_>, version: u8) -> Result<FollowUp, Damaged> {
    let Batch { key, asked, purpose, owners, histories, refs } = take_batch(from, version)?;
    let (asked, history) = (Some(asked).filter(|asked| !asked.is_empty()), histories.into_iter().next());
    Ok(FollowUp { key, asked, purpose, owners, refs, history: history.unwrap_or_default() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::model::failure::{Class, Reason};
    use crate::plan::{BatchRef, History};

    fn follow_up(ids: &[i64], asked: Option<&str>) -> FollowUp {
        let refs = ids.iter().zip(0..);
        FollowUp {
            key: ConversationKey::from_stored("2|7".to_owned()),
            asked: asked.map(str::to_owned),
            purpose: Purpose::from_number(ids.len() as i64 - 2).unwrap(),
            owners: vec!["A".to_owned(), "b".to_owned()],
            refs: refs.map(|(id, n)| BatchRef { message_server_id: *id, create_time: id * 3, owner: n % 2 }).collect(),
            history: Arc::new(History { asked: vec!["A".to_owned()], attempts: 3, ..History::default() }),
        }
    }

    fn batch(ids: &[i64]) -> Batch {
        let FollowUp { key, purpose, owners, refs, history, .. } = follow_up(ids, None);
        Batch { key, asked: "b".to_owned(), purpose, owners, histories: vec![Arc::default(), history], refs }
    }

    proptest! {
        #[test]
        fn any_commit_comes_back(archived: Vec<i64>, code: Option<i64>, message in ".*", attempts: u32, retryable: bool, bytes: u64) {
            let failure = FailedRef {
                message_server_id: 7,
                create_time: -1,
                conversation_id: "A|1|b".to_owned(),
                reason: Reason { class: Class::Undecodable, code, message, retryable },
                attempts,
            };
            let finished = FinishedBatch {
                seq: 1 << 32,
                archived,
                failures: vec![failure],
                split: vec![batch(&[1, 2])],
                follow_ups: vec![follow_up(&[5], None), follow_up(&[6, 7], Some("b"))],
                links: vec![Link { message_server_id: attempts.into(), create_time: i64::MIN }],
                reviewed: Reviewed { unchanged: bytes, vanished: vec![i64::MAX, -1], failed: 2 },
            };
            let commit = Commit {
                seq: 9,
                run_id: Uuid::now_v7(),
                now: Timestamp::from_millisecond(1_753_951_805_248).unwrap(),
                finished: vec![finished, FinishedBatch { seq: 3, ..FinishedBatch::default() }],
                files: Vec::new(),
                rows: 3,
                bytes,
            };
            prop_assert_eq!(decode(&encode(&commit)).unwrap(), commit);
        }

        #[test]
        fn whatever_the_bytes_reading_them_ends_without_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
            for version in [VERSION, WITHOUT_HISTORY] {
                let mut out = Encoder::new(version);
                out.0.extend(&bytes);
                let _ = decode(&out.finish());
            }
        }
    }

    #[test]
    fn an_intent_of_version_0_1_is_read() {
        let more = follow_up(&[5, 6], Some("b"));
        let mut out = Encoder::new(WITHOUT_HISTORY);
        // Commit 9 at 0 ms, of 1 message of 8 bytes; in it one batch, number 3, which archived ID 4.
        out.number(9).0.extend_from_slice(Uuid::nil().as_bytes());
        out.signed(0).number(1).number(8).number(1).signed(3).deltas([4].into_iter());
        // No failure and no part; one second ask, in its ask 2.
        out.number(0).number(0).number(1).text(more.key.as_str()).text("b").number(2);
        out.signed(more.purpose.number()).bytes(&references::encode(&more.owners, &more.refs));
        // No link, nothing reviewed, no file.
        out.0.extend_from_slice(&[0, 0, 0, 0, 0]);
        let expected = FinishedBatch {
            seq: 3,
            archived: vec![4],
            follow_ups: vec![FollowUp { history: Arc::default(), ..more }],
            ..FinishedBatch::default()
        };
        assert_eq!(decode(&out.finish()).unwrap().finished, [expected]);
    }
}
