//! Threads, upward: what archived messages link to.

use crate::ledger::Link;
use crate::model::message::MessageRows;
use crate::plan::Batch;

/// What the messages of a batch link to beside one another, each ID once. A link without ID or time cannot be asked for.
pub(super) fn links(rows: &MessageRows, batch: &Batch) -> Vec<Link> {
    let mut links: Vec<Link> = rows
        .rows()
        .iter()
        .flat_map(|row| {
            [
                (row.thread_root_message_server_id, row.thread_root_create_time),
                (row.thread_reply_message_server_id, row.thread_reply_create_time),
            ]
        })
        .filter_map(|(id, time)| Some((id.filter(|id| *id > 0)?, time.filter(|time| *time > 0)?)))
        .filter(|(id, _)| batch.refs.iter().all(|reference| reference.message_server_id != *id))
        .map(|(message_server_id, create_time)| Link { message_server_id, create_time })
        .collect();
    links.sort_unstable();
    links.dedup_by_key(|link| link.message_server_id);
    links
}
