//! The messages of a commit in order: by ID, every version once, earlier versions first. Pure.

use std::sync::Arc;

use super::encode::is_time;
use crate::model::message::MessageRows;

/// The time of an edit that never was: less than any other.
pub(super) const NEVER: i64 = i64::MIN;

/// A message of a commit: what orders it, and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    pub(super) message_server_id: i64,
    /// The time of the edit; [`NEVER`] for a message that was never edited.
    pub(super) modified: i64,
    /// Whether no reference asked for it. Of two copies of one version, the requested one is kept.
    extra: bool,
    pub(super) chunk: u32,
    pub(super) row: u32,
}

/// Sorts messages by ID, each version once. Of a message that comes in several versions, the earliest is in the first pass,
/// the next in the second, and so on: no pass has a message twice.
pub(super) fn passes(pending: &[Arc<MessageRows>]) -> Vec<Vec<Item>> {
    let mut items: Vec<Item> = pending
        .iter()
        .enumerate()
        .flat_map(|(chunk, rows)| {
            rows.rows().iter().enumerate().map(move |(at, row)| Item {
                message_server_id: row.message_server_id,
                modified: row.modify_time.filter(|time| is_time(*time)).unwrap_or(NEVER),
                extra: !row.requested,
                chunk: chunk as u32,
                row: at as u32,
            })
        })
        .collect();
    items.sort_unstable();
    items.dedup_by_key(|item| (item.message_server_id, item.modified));
    let mut later: Vec<Vec<Item>> = Vec::new();
    let (mut previous, mut depth) = (None, 0);
    items.retain(|item| {
        depth = if previous == Some(item.message_server_id) { depth + 1 } else { 0 };
        previous = Some(item.message_server_id);
        if depth > later.len() {
            later.push(Vec::new());
        }
        if depth > 0 {
            later[depth - 1].push(*item);
        }
        depth == 0
    });
    let mut passes = vec![items];
    passes.append(&mut later);
    passes
}

/// Drops the messages that are there in the same or a later version. Returns those that are not there, and those that are
/// there in an earlier version. `there` has the IDs and the times of edits, in any order.
pub(super) fn sift(pass: &[Item], mut there: Vec<(i64, i64)>) -> (Vec<Item>, Vec<Item>) {
    there.sort_unstable();
    let mut there = there.into_iter().peekable();
    let (mut fresh, mut newer) = (Vec::new(), Vec::new());
    for item in pass {
        while there.next_if(|(key, _)| *key < item.message_server_id).is_some() {}
        match there.peek() {
            Some((key, modified)) if *key == item.message_server_id => {
                if item.modified > *modified {
                    newer.push(*item);
                }
            }
            _ => fresh.push(*item),
        }
    }
    (fresh, newer)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::message::Row;

    fn chunk(versions: &[(i64, Option<i64>, bool)]) -> Arc<MessageRows> {
        let mut rows = MessageRows::default();
        for &(message_server_id, modify_time, requested) in versions {
            rows.push(Row { modify_time, requested, ..Row::new(message_server_id, 0, 1, 0) });
        }
        Arc::new(rows)
    }

    #[test]
    fn every_version_is_written_once_and_in_order() {
        let pending = [
            chunk(&[(3, None, true), (1, Some(20), true), (2, None, false)]),
            chunk(&[(1, Some(10), true), (1, None, true), (2, None, true), (3, None, true)]),
        ];
        let found: Vec<Vec<(i64, i64, bool)>> = passes(&pending)
            .iter()
            .map(|pass| pass.iter().map(|item| (item.message_server_id, item.modified, item.extra)).collect())
            .collect();
        let expected = vec![
            vec![(1, NEVER, false), (2, NEVER, false), (3, NEVER, false)],
            vec![(1, 10, false)],
            vec![(1, 20, false)],
        ];
        assert_eq!(found, expected);
        assert_eq!(passes(&[]), [[]]);
    }

    #[test]
    fn the_greatest_ids_are_sorted_as_numbers() {
        let pending = [chunk(&[(i64::MAX, None, true), (-1, None, true), (i64::MIN, None, true), (0, None, true)])];
        let ids: Vec<i64> = passes(&pending)[0].iter().map(|item| item.message_server_id).collect();
        assert_eq!(ids, [i64::MIN, -1, 0, i64::MAX]);
    }

    #[test]
    fn what_is_there_in_the_same_or_a_later_version_is_left_out() {
        let pending = [chunk(&[
            (1, None, true),
            (2, None, true),
            (3, Some(30), true),
            (4, Some(40), true),
            (5, Some(50), true),
            (6, None, true),
        ])];
        let there = vec![(9, 0), (4, 40), (3, 20), (5, 51), (2, NEVER), (0, NEVER)];
        let (fresh, newer) = sift(&passes(&pending)[0], there);
        let ids = |items: Vec<Item>| items.iter().map(|item| item.message_server_id).collect::<Vec<_>>();
        assert_eq!((ids(fresh), ids(newer)), (vec![1, 6], vec![3]));
    }
}
