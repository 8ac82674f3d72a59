//! An announced commit as bytes.

use jiff::Timestamp;
use uuid::Uuid;

use super::batches::ask_number;
use super::bits::{Damaged, put_text, put_varint, seal, take_len, take_text, take_varint, unseal, unzigzag, zigzag};
use super::blob;
use super::commits::{Commit, FailedRef, FinishedBatch};
use super::files::FileRow;
use super::linked::Link;
use super::refetch::Reviewed;
use crate::failure::{Class, Reason};
use crate::plan::{Ask, Batch, Purpose};
use crate::reference::ConversationKey;

const VERSION: u8 = 2;

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
        put_batches(&mut out, &batch.second);
        put_links(&mut out, &batch.links);
        put_varint(&mut out, batch.reviewed.unchanged);
        put_ids(&mut out, &batch.reviewed.vanished);
        put_varint(&mut out, batch.reviewed.failed);
    }
    put_varint(&mut out, commit.files.len() as u64);
    for file in &commit.files {
        put_text(&mut out, &file.path);
        put_text(&mut out, &file.temporary);
        put_varint(&mut out, file.rows);
        put_varint(&mut out, file.bytes);
        put_text(&mut out, &file.sha256);
    }
    seal(out)
}

pub(super) fn decode(bytes: &[u8]) -> Result<Commit, Damaged> {
    let from = &mut unseal(bytes, VERSION)?;
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
            second: take_list(from, take_batch)?,
            links: take_list(from, take_link)?,
            reviewed: Reviewed { unchanged: take_varint(from)?, vanished: take_ids(from)?, failed: take_varint(from)? },
        })
    })?;
    let files = take_list(from, |from| {
        Ok(FileRow {
            path: take_text(from)?.to_owned(),
            temporary: take_text(from)?.to_owned(),
            rows: take_varint(from)?,
            bytes: take_varint(from)?,
            sha256: take_text(from)?.to_owned(),
            // Only databases announce, and they have no files.
            range: None,
        })
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
    put_text(out, failure.reason.class.as_str());
    out.push(u8::from(failure.reason.code.is_some()) | u8::from(failure.reason.retryable) << 1);
    put_varint(out, zigzag(failure.reason.code.unwrap_or_default()));
    put_text(out, &failure.reason.message);
    put_varint(out, u64::from(failure.attempts));
}

fn take_failure(from: &mut &[u8]) -> Result<FailedRef, Damaged> {
    let message_server_id = unzigzag(take_varint(from)?);
    let create_time = unzigzag(take_varint(from)?);
    let conversation_id = take_text(from)?.to_owned();
    let class: Class = take_text(from)?.parse().map_err(|_| Damaged::Content)?;
    let flags = take_varint(from)?;
    let code = unzigzag(take_varint(from)?);
    let message = take_text(from)?.to_owned();
    let attempts = u32::try_from(take_varint(from)?).map_err(|_| Damaged::Content)?;
    let reason = Reason { class, code: (flags & 1 != 0).then_some(code), message, retryable: flags & 2 != 0 };
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
        put_text(out, batch.key.as_str());
        put_text(out, &batch.asked);
        out.push(ask_number(batch.ask) as u8);
        put_varint(out, zigzag(batch.purpose.number()));
        let blob = blob::encode(&batch.owners, &batch.refs);
        put_varint(out, blob.len() as u64);
        out.extend_from_slice(&blob);
    }
}

fn take_batch(from: &mut &[u8]) -> Result<Batch, Damaged> {
    let key = ConversationKey::from_stored(take_text(from)?.to_owned());
    let asked = take_text(from)?.to_owned();
    let ask = match take_varint(from)? {
        1 => Ask::First,
        2 => Ask::Second,
        _ => return Err(Damaged::Content),
    };
    let purpose = Purpose::from_number(unzigzag(take_varint(from)?)).ok_or(Damaged::Content)?;
    let len = take_len(from)?;
    let (blob, rest) = from.split_at_checked(len).ok_or(Damaged::Short)?;
    *from = rest;
    let (owners, refs) = blob::decode(blob)?;
    Ok(Batch { key, asked, ask, purpose, owners, refs })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::BatchRef;

    fn batch(ids: &[i64]) -> Batch {
        Batch {
            key: ConversationKey::from_stored("1|a|b".to_owned()),
            asked: "b".to_owned(),
            ask: Ask::Second,
            purpose: Purpose::from_number(ids.len() as i64 - 2).unwrap(),
            owners: vec!["A".to_owned(), "b".to_owned()],
            refs: ids
                .iter()
                .map(|id| BatchRef { message_server_id: *id, create_time: id * 3, owner: (id % 2) as u16 })
                .collect(),
        }
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
            let file = FileRow {
                path: "date=2026-11-22/part.parquet".to_owned(),
                temporary: "_tmp/x.inprogress".to_owned(),
                rows: 3,
                bytes,
                sha256: "00".repeat(32),
                range: None,
            };
            let commit = Commit {
                seq: 9,
                run_id: Uuid::now_v7(),
                now: Timestamp::from_millisecond(1_753_951_805_248).unwrap(),
                finished: vec![
                    FinishedBatch { seq: 1 << 32, archived, failures: vec![failure], split: vec![batch(&[1, 2])], second: vec![batch(&[5])], links, reviewed: Reviewed { unchanged: bytes, vanished: vec![i64::MAX, -1], failed: 2 } },
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
            let _ = decode(&seal(bytes));
        }
    }
}
