//! The intent of a commit as bytes.

use jiff::Timestamp;
use uuid::Uuid;

use super::bits::{Damaged, put_text, put_varint, seal, take_len, take_text, take_varint, unseal, unzigzag, zigzag};
use super::commits::{Commit, FailedRef, FinishedBatch};
use super::linked::Link;
use super::refetch::Reviewed;
use super::{blob, history};
use crate::model::manifest::{DataFile, StagedFile};
use crate::model::reference::ConversationKey;
use crate::plan::{Batch, FollowUp, Purpose};

const VERSION: u8 = 3;
/// As the last version wrote it: batches had the number of their ask, and no history.
const WITHOUT_HISTORY: u8 = 2;

pub(super) fn encode(commit: &Commit) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_varint(&mut out, commit.seq);
    out.extend_from_slice(commit.run_id.as_bytes());
    put_varint(&mut out, zigzag(commit.now.as_millisecond()));
    put_varint(&mut out, commit.rows);
    put_varint(&mut out, commit.bytes);
    put_varint(&mut out, commit.finished.len() as u64);
    for batch in &commit.finished {
        put_varint(&mut out, zigzag(batch.seq));
        put_ids(&mut out, &batch.archived);
        put_varint(&mut out, batch.failures.len() as u64);
        for failure in &batch.failures {
            put_failure(&mut out, failure);
        }
        put_batches(&mut out, &batch.split);
        put_varint(&mut out, batch.follow_ups.len() as u64);
        for follow_up in &batch.follow_ups {
            put_follow_up(&mut out, follow_up);
        }
        put_links(&mut out, &batch.links);
        put_varint(&mut out, batch.reviewed.unchanged);
        put_ids(&mut out, &batch.reviewed.vanished);
        put_varint(&mut out, batch.reviewed.failed);
    }
    put_varint(&mut out, commit.files.len() as u64);
    for file in &commit.files {
        let StagedFile { file, staged } = file;
        put_text(&mut out, &file.path);
        put_text(&mut out, staged);
        put_varint(&mut out, file.rows);
        put_varint(&mut out, file.bytes);
        put_text(&mut out, &file.sha256);
    }
    seal(out)
}

pub(super) fn decode(bytes: &[u8]) -> Result<Commit, Damaged> {
    let (version, from) = match unseal(bytes, VERSION) {
        Err(Damaged::Version(WITHOUT_HISTORY)) => (WITHOUT_HISTORY, &mut unseal(bytes, WITHOUT_HISTORY)?),
        content => (VERSION, &mut content?),
    };
    let take_batch = |from: &mut &[u8]| take_batch(from, version);
    let seq = take_varint(from)?;
    let (run_id, rest) = from.split_first_chunk::<16>().ok_or(Damaged::Short)?;
    *from = rest;
    let now = Timestamp::from_millisecond(unzigzag(take_varint(from)?)).map_err(|_| Damaged::Content)?;
    let (rows, bytes) = (take_varint(from)?, take_varint(from)?);
    let finished = take_list(from, |from| {
        Ok(FinishedBatch {
            seq: unzigzag(take_varint(from)?),
            archived: take_ids(from)?,
            failures: take_list(from, take_failure)?,
            split: take_list(from, take_batch)?,
            follow_ups: take_list(from, |from| take_follow_up(from, version))?,
            links: take_list(from, take_link)?,
            reviewed: Reviewed { unchanged: take_varint(from)?, vanished: take_ids(from)?, failed: take_varint(from)? },
        })
    })?;
    let files = take_list(from, |from| {
        let (path, staged) = (take_text(from)?.to_owned(), take_text(from)?.to_owned());
        let (rows, bytes, sha256) = (take_varint(from)?, take_varint(from)?, take_text(from)?.to_owned());
        // Only databases need an intent, and they have no files.
        Ok(StagedFile { file: DataFile { path, rows, bytes, sha256, range: None }, staged })
    })?;
    if !from.is_empty() {
        return Err(Damaged::Content);
    }
    Ok(Commit { seq, run_id: Uuid::from_bytes(*run_id), now, finished, files, rows, bytes })
}

fn take_list<T>(from: &mut &[u8], mut item: impl FnMut(&mut &[u8]) -> Result<T, Damaged>) -> Result<Vec<T>, Damaged> {
    let count = take_len(from)?;
    (0..count).map(|_| item(from)).collect()
}

fn put_ids(out: &mut Vec<u8>, ids: &[i64]) {
    put_varint(out, ids.len() as u64);
    let mut before = 0;
    for id in ids {
        put_varint(out, zigzag(id.wrapping_sub(before)));
        before = *id;
    }
}

fn take_ids(from: &mut &[u8]) -> Result<Vec<i64>, Damaged> {
    let mut id: i64 = 0;
    take_list(from, |from| {
        id = id.wrapping_add(unzigzag(take_varint(from)?));
        Ok(id)
    })
}

fn put_failure(out: &mut Vec<u8>, failure: &FailedRef) {
    put_varint(out, zigzag(failure.message_server_id));
    put_varint(out, zigzag(failure.create_time));
    put_text(out, &failure.conversation_id);
    history::put_reason(out, &failure.reason);
    put_varint(out, u64::from(failure.attempts));
}

fn take_failure(from: &mut &[u8]) -> Result<FailedRef, Damaged> {
    let message_server_id = unzigzag(take_varint(from)?);
    let create_time = unzigzag(take_varint(from)?);
    let conversation_id = take_text(from)?.to_owned();
    let reason = history::take_reason(from)?;
    let attempts = u32::try_from(take_varint(from)?).map_err(|_| Damaged::Content)?;
    Ok(FailedRef { message_server_id, create_time, conversation_id, reason, attempts })
}

fn put_links(out: &mut Vec<u8>, links: &[Link]) {
    put_varint(out, links.len() as u64);
    for link in links {
        put_varint(out, zigzag(link.message_server_id));
        put_varint(out, zigzag(link.create_time));
    }
}

fn take_link(from: &mut &[u8]) -> Result<Link, Damaged> {
    Ok(Link { message_server_id: unzigzag(take_varint(from)?), create_time: unzigzag(take_varint(from)?) })
}

fn put_batches(out: &mut Vec<u8>, batches: &[Batch]) {
    put_varint(out, batches.len() as u64);
    for batch in batches {
        put_batch(out, batch);
    }
}

fn put_batch(out: &mut Vec<u8>, batch: &Batch) {
    put_text(out, batch.key.as_str());
    put_text(out, &batch.asked);
    put_varint(out, zigzag(batch.purpose.number()));
    put_bytes(out, &blob::encode(&batch.owners, &batch.refs));
    put_bytes(out, &history::encode(&batch.histories).unwrap_or_default());
}

fn take_batch(from: &mut &[u8], version: u8) -> Result<Batch, Damaged> {
    let key = ConversationKey::from_stored(take_text(from)?.to_owned());
    let asked = take_text(from)?.to_owned();
    if version == WITHOUT_HISTORY {
        take_varint(from)?;
    }
    let purpose = Purpose::from_number(unzigzag(take_varint(from)?)).ok_or(Damaged::Content)?;
    let (owners, refs) = blob::decode(take_bytes(from)?)?;
    let history = if version == WITHOUT_HISTORY { &[] } else { take_bytes(from)? };
    let histories = history::decode(Some(history).filter(|bytes| !bytes.is_empty()))?;
    Ok(Batch { key, asked, purpose, owners, histories, refs })
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn take_bytes<'a>(from: &mut &'a [u8]) -> Result<&'a [u8], Damaged> {
    let len = take_len(from)?;
    let (bytes, rest) = from.split_at_checked(len).ok_or(Damaged::Short)?;
    *from = rest;
    Ok(bytes)
}

/// As a batch, all of one history, of which an account without a name is still to be chosen.
fn put_follow_up(out: &mut Vec<u8>, follow_up: &FollowUp) {
    let FollowUp { key, asked, purpose, owners, refs, history } = follow_up.clone();
    let (asked, histories) = (asked.unwrap_or_default(), vec![history; owners.len()]);
    put_batch(out, &Batch { key, asked, purpose, owners, histories, refs });
}

fn take_follow_up(from: &mut &[u8], version: u8) -> Result<FollowUp, Damaged> {
    let Batch { key, asked, purpose, owners, histories, refs } = take_batch(from, version)?;
    let (asked, history) = (Some(asked).filter(|asked| !asked.is_empty()), histories.into_iter().next());
    Ok(FollowUp { key, asked, purpose, owners, refs, history: history.unwrap_or_default() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use std::sync::Arc;

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
            let links = vec![Link { message_server_id: attempts.into(), create_time: i64::MIN }];
            let (path, staged) = ("date=2026-11-22/part.parquet".to_owned(), "_tmp/x.inprogress".to_owned());
            let file = DataFile { path, rows: 3, bytes, sha256: "00".repeat(32), range: None };
            let file = StagedFile { file, staged };
            let commit = Commit {
                seq: 9,
                run_id: Uuid::now_v7(),
                now: Timestamp::from_millisecond(1_753_951_805_248).unwrap(),
                finished: vec![
                    FinishedBatch { seq: 1 << 32, archived, failures: vec![failure], split: vec![batch(&[1, 2])], follow_ups: vec![follow_up(&[5], None), follow_up(&[6, 7], Some("b"))], links, reviewed: Reviewed { unchanged: bytes, vanished: vec![i64::MAX, -1], failed: 2 } },
                    FinishedBatch { seq: 3, ..FinishedBatch::default() },
                ],
                files: vec![file],
                rows: 3,
                bytes,
            };
            prop_assert_eq!(decode(&encode(&commit)).unwrap(), commit);
        }

        #[test]
        fn whatever_the_bytes_reading_them_ends_without_panic(mut bytes: Vec<u8>) {
            let _ = decode(&bytes);
            bytes.insert(0, VERSION);
            let _ = decode(&seal(bytes.clone()));
            bytes[0] = WITHOUT_HISTORY;
            let _ = decode(&seal(bytes));
        }
    }

    #[test]
    fn an_intent_of_the_last_version_is_read() {
        let more = follow_up(&[5, 6], Some("b"));
        let mut bytes = vec![WITHOUT_HISTORY];
        // Commit 9 at 0 ms, of 1 message of 8 bytes; in it one batch, number 3, which archived ID 4.
        put_varint(&mut bytes, 9);
        bytes.extend_from_slice(Uuid::nil().as_bytes());
        for number in [0, 1, 8, 1] {
            put_varint(&mut bytes, number);
        }
        put_varint(&mut bytes, zigzag(3));
        put_ids(&mut bytes, &[4]);
        // No failure and no part; one second ask, in its ask 2.
        bytes.extend_from_slice(&[0, 0, 1]);
        put_text(&mut bytes, more.key.as_str());
        put_text(&mut bytes, "b");
        bytes.push(2);
        put_varint(&mut bytes, zigzag(more.purpose.number()));
        put_bytes(&mut bytes, &blob::encode(&more.owners, &more.refs));
        // No link, nothing reviewed, no file.
        bytes.extend_from_slice(&[0, 0, 0, 0, 0]);
        let expected = FinishedBatch {
            seq: 3,
            archived: vec![4],
            follow_ups: vec![FollowUp { history: Arc::default(), ..more }],
            ..FinishedBatch::default()
        };
        assert_eq!(decode(&seal(bytes)).unwrap().finished, [expected]);
    }
}
