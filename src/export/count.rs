//! Counts what an export contains.

use serde::Serialize;

use super::clock::Clock;
use super::item::Item;

/// How much was exported.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Conversations with at least one message.
    pub conversations: u64,
    /// Messages that were selected.
    pub messages: u64,
    /// Messages that are included as thread context.
    pub context: u64,
    /// Earlier versions of both.
    pub earlier_versions: u64,
    /// Messages of both kinds that were edited.
    pub edited: u64,
    /// Messages of both kinds that have vanished from the service.
    pub vanished: u64,
    /// When the first message was created.
    pub first: Option<String>,
    /// When the last message was created.
    pub last: Option<String>,
}

/// Counts messages as they are exported.
#[derive(Default)]
pub(super) struct Counter {
    counts: Counts,
    /// The create times of the first and the last message.
    range: Option<(i64, i64)>,
    conversation: Option<(String, String)>,
}

impl Counter {
    pub(super) fn count(&mut self, item: &Item) {
        let record = &item.latest;
        let same = self
            .conversation
            .as_ref()
            .is_some_and(|(app, key)| app == record.app_key() && key == record.conversation_key());
        if !same {
            self.counts.conversations += 1;
            self.conversation = Some((record.app_key().to_owned(), record.conversation_key().to_owned()));
        }
        *if item.context { &mut self.counts.context } else { &mut self.counts.messages } += 1;
        self.counts.earlier_versions += item.earlier.len() as u64;
        self.counts.edited += u64::from(item.is_edited());
        self.counts.vanished += u64::from(item.vanished.is_some());
        let time = record.create_time();
        let (first, last) = self.range.unwrap_or((time, time));
        self.range = Some((first.min(time), last.max(time)));
    }

    /// The counts so far.
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// When the first and the last message were created, in milliseconds since the epoch.
    pub(super) fn range(&self) -> Option<(i64, i64)> {
        self.range
    }

    pub(super) fn finish(mut self, clock: &Clock) -> Counts {
        self.counts.first = self.range.map(|(first, _)| clock.exact(first));
        self.counts.last = self.range.map(|(_, last)| clock.exact(last));
        self.counts
    }
}
