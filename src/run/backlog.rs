//! What the writer is told while it commits.

use std::collections::VecDeque;

use super::fetch::Event;
use crate::yunxin::Outcome;

/// Bytes of answers that may come while a commit is under way.
const BACKLOG: usize = 16 << 20;

/// What came while a commit was under way.
#[derive(Default)]
pub(super) struct Backlog {
    events: VecDeque<Event>,
    bytes: usize,
}

impl Backlog {
    pub(super) fn has_room(&self) -> bool {
        self.bytes < BACKLOG
    }

    pub(super) fn put(&mut self, event: Event) {
        self.bytes += size(&event);
        self.events.push_back(event);
    }

    pub(super) fn take(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        self.bytes -= size(&event);
        Some(event)
    }
}

/// The memory that an event holds, about.
fn size(event: &Event) -> usize {
    match event {
        Event::Ended(_, Outcome::Answered(answer), _) => size_of::<Event>() + answer.rows.size(),
        Event::Ended(..) | Event::Drained(_) => size_of::<Event>(),
    }
}
