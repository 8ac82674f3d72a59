//! Pages that read like a chat: an index, and as many pages for each conversation as it needs.
//!
//! Every page is self-contained: it loads nothing and runs nothing.

mod index;
mod layout;
mod message;

use std::collections::{BTreeSet, HashMap, HashSet};

use maud::{Markup, html};

use self::index::{Index, Listed, PageLink};
use self::layout::{after, nav};
use self::message::{Quote, message};
use super::clock::Clock;
use super::error::ExportError;
use super::item::Item;
use super::output::Output;
use super::selection::title;
use super::transcript::Transcript;
use crate::model::Column;
use crate::model::record::Record;
use crate::model::selection::sides;
use crate::page::figures::counted;

/// The most messages per page.
const MESSAGES: u64 = 2_000;
/// The size in bytes after which another page begins.
const BYTES: usize = 8 << 20;

/// Writes `index.html` and `c00001.html`, `c00001-2.html` and so on.
pub(super) struct Pages {
    clock: Clock,
    /// Accounts whose messages are on the right.
    viewers: BTreeSet<String>,
    answered: HashSet<i64>,
    note: String,
    index: Index,
    conversation: Option<Conversation>,
    count: u64,
}

struct Conversation {
    app_key: String,
    key: String,
    title: String,
    /// The account whose messages are on the right.
    own: Option<String>,
    number: u64,
    page: u64,
    body: Markup,
    day: String,
    messages: u64,
    first: i64,
    last: i64,
    quotes: HashMap<i64, Quote>,
    listed: Listed,
}

impl Pages {
    /// Pages with the messages of `viewers` on the right. `answered` are the messages that others reply to.
    pub(super) fn new(clock: Clock, viewers: BTreeSet<String>, answered: HashSet<i64>, note: String) -> Self {
        let index = Index::new(clock.clone(), note.clone());
        Self { clock, viewers, answered, note, index, conversation: None, count: 0 }
    }

    /// Makes the conversation of this message the current one.
    fn turn(&mut self, record: &Record, output: &mut Output) -> Result<(), ExportError> {
        let same = |open: &Conversation| open.app_key == record.app_key() && open.key == record.conversation_key();
        if self.conversation.as_ref().is_some_and(same) {
            return Ok(());
        }
        self.close_conversation(output)?;
        self.count += 1;
        let key = record.conversation_key().to_owned();
        let title = title(&key);
        let own = match sides(&key) {
            Some((one, other)) if self.viewers.contains(one) != self.viewers.contains(other) => {
                Some(if self.viewers.contains(one) { one } else { other }.to_owned())
            }
            Some((_, other)) => Some(other.to_owned()),
            None if self.viewers.len() == 1 => self.viewers.first().cloned(),
            None => None,
        };
        self.conversation = Some(Conversation {
            app_key: record.app_key().to_owned(),
            listed: Listed::new(&title, &key),
            key,
            title,
            own,
            number: self.count,
            page: 1,
            body: Markup::default(),
            day: String::new(),
            messages: 0,
            first: record.create_time(),
            last: record.create_time(),
            quotes: HashMap::new(),
        });
        Ok(())
    }

    fn close_conversation(&mut self, output: &mut Output) -> Result<(), ExportError> {
        let Some(mut open) = self.conversation.take() else { return Ok(()) };
        open.write_page(&self.clock, &self.note, false, output)?;
        self.index.add(open.listed, output)
    }
}

impl Transcript for Pages {
    fn write(&mut self, item: &Item, output: &mut Output) -> Result<(), ExportError> {
        self.turn(&item.latest, output)?;
        let Some(open) = &mut self.conversation else { return Ok(()) };
        if open.messages >= MESSAGES || open.body.0.len() >= BYTES {
            open.write_page(&self.clock, &self.note, true, output)?;
        }
        open.push(item, &self.clock);
        let id = item.latest.id();
        if self.answered.contains(&id) {
            open.quotes.insert(id, Quote::of(&item.latest, page_file(open.number, open.page)));
        }
        Ok(())
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), ExportError> {
        self.close_conversation(output)?;
        self.index.finish(output)
    }
}

impl Conversation {
    fn push(&mut self, item: &Item, clock: &Clock) {
        let time = item.latest.create_time();
        let day = clock.day(time);
        if day != self.day {
            self.body.0.push_str(&html! { h2.day { (day) } }.into_string());
            self.day = day;
        }
        if self.messages == 0 {
            (self.first, self.last) = (time, time);
        }
        let reply = item.latest.integer(Column::ThreadReplyMessageServerId);
        let quote = reply.and_then(|id| self.quotes.get(&id));
        let page = page_file(self.number, self.page);
        self.body.0.push_str(&message(item, self.own.as_deref(), quote, &page, clock).into_string());
        self.messages += 1;
        self.last = self.last.max(time);
        self.listed.count(item);
    }

    /// Writes the current page and starts the next one.
    fn write_page(&mut self, clock: &Clock, note: &str, another: bool, output: &mut Output) -> Result<(), ExportError> {
        let file = page_file(self.number, self.page);
        let several = self.page > 1 || another;
        let mut links = vec![(Some(index::file_of(self.number)), "All conversations")];
        if several {
            let before = |page: u64| (self.page > 1).then(|| page_file(self.number, page));
            links.push((before(1), "First page"));
            links.push((before(self.page - 1), "Previous page"));
            links.push((another.then(|| page_file(self.number, self.page + 1)), "Next page"));
        }
        let nav = nav(&links);
        let content = html! {
            h1 { (self.title) }
            p.sub {
                (self.key) " · " @if several { "page " (self.page) ", " }
                (counted(self.messages, "message", "messages"))
                " · " (clock.second(self.first)) " – " (clock.second(self.last)) " (" (clock.name()) ")" (after(note))
            }
            (nav)
            main { (self.body) }
            (nav)
        };
        output.write(&file, layout::page(&self.title, &content).as_bytes(), self.messages)?;
        self.listed.pages.push(PageLink { file, first: self.first });
        self.page += 1;
        self.messages = 0;
        self.body.0.clear();
        self.day.clear();
        Ok(())
    }
}

fn page_file(conversation: u64, page: u64) -> String {
    if page == 1 { format!("c{conversation:05}.html") } else { format!("c{conversation:05}-{page}.html") }
}
