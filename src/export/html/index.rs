//! The list of conversations.

use maud::{Markup, html};

use super::layout::{self, after, nav};
use crate::export::clock::Clock;
use crate::export::count::Counter;
use crate::export::error::ExportError;
use crate::export::item::Item;
use crate::export::output::Output;
use crate::page::figures::{count, counted};

/// The most conversations per page.
const CONVERSATIONS: u64 = 1_000;

/// The list of conversations, one page of which is in memory.
pub(super) struct Index {
    clock: Clock,
    note: String,
    listed: Vec<Listed>,
    page: u64,
    conversations: u64,
    messages: u64,
}

/// A conversation of the list.
pub(super) struct Listed {
    title: String,
    key: String,
    counter: Counter,
    /// Its pages.
    pub(super) pages: Vec<PageLink>,
}

/// A page of a conversation.
pub(super) struct PageLink {
    /// Its file.
    pub(super) file: String,
    /// When its first message was created.
    pub(super) first: i64,
}

/// The file of the list's page with the conversation of this number, counted from 1.
pub(super) fn file_of(conversation: u64) -> String {
    page_file((conversation.max(1) - 1) / CONVERSATIONS + 1)
}

fn page_file(page: u64) -> String {
    if page == 1 { "index.html".to_owned() } else { format!("index-{page}.html") }
}

impl Listed {
    pub(super) fn new(title: &str, key: &str) -> Self {
        Self { title: title.to_owned(), key: key.to_owned(), counter: Counter::default(), pages: Vec::new() }
    }

    pub(super) fn count(&mut self, item: &Item) {
        self.counter.count(item);
    }

    fn messages(&self) -> u64 {
        self.counter.counts().messages + self.counter.counts().context
    }

    fn row(&self, clock: &Clock) -> Markup {
        let counts = self.counter.counts();
        let (start, end) = self.counter.range().unwrap_or_default();
        html! {
            tr {
                td.k {
                    a href=(self.pages.first().map_or("", |page| page.file.as_str())) { (self.title) }
                    small {
                        (self.key)
                        @for (n, what) in
                            [(counts.context, "thread context"), (counts.edited, "edited"), (counts.vanished, "vanished")]
                        {
                            @if n > 0 { " · " (count(n)) " " (what) }
                        }
                    }
                    @if self.pages.len() > 1 {
                        details {
                            summary { (self.pages.len()) " pages" }
                            @for (n, page) in self.pages.iter().enumerate() {
                                div { a href=(page.file) { (n + 1) } " from " (clock.second(page.first)) }
                            }
                        }
                    }
                }
                td.n data-of="messages" { (count(self.messages())) }
                td.n data-of="first" { (clock.second(start)) }
                td.n data-of="last" { (clock.second(end)) }
            }
        }
    }
}

impl Index {
    pub(super) fn new(clock: Clock, note: String) -> Self {
        Self { clock, note, listed: Vec::new(), page: 1, conversations: 0, messages: 0 }
    }

    pub(super) fn add(&mut self, listed: Listed, output: &mut Output) -> Result<(), ExportError> {
        if self.listed.len() as u64 >= CONVERSATIONS {
            self.write(true, output)?;
        }
        self.conversations += 1;
        self.messages += listed.messages();
        self.listed.push(listed);
        Ok(())
    }

    pub(super) fn finish(&mut self, output: &mut Output) -> Result<(), ExportError> {
        self.write(false, output)
    }

    fn write(&mut self, another: bool, output: &mut Output) -> Result<(), ExportError> {
        let mut links = Vec::new();
        if self.page > 1 || another {
            links.push(((self.page > 1).then(|| page_file(self.page - 1)), "Previous page"));
            links.push((another.then(|| page_file(self.page + 1)), "Next page"));
        }
        let nav = nav(&links);
        let content = html! {
            h1 { "Conversations" }
            p.sub {
                // On the last page, and so on the only one, these are the sums of the whole export.
                @if another {
                    "page " (self.page)
                } @else {
                    (counted(self.conversations, "conversation", "conversations")) ", "
                    (counted(self.messages, "message", "messages"))
                }
                " · times in " (self.clock.name()) (after(&self.note))
            }
            (nav)
            table {
                thead { tr { th { "Conversation" } th.n { "Messages" } th.n { "First" } th.n { "Last" } } }
                tbody { @for listed in &self.listed { (listed.row(&self.clock)) } }
            }
            (nav)
        };
        output.write(&page_file(self.page), layout::page("Conversations", &content).as_bytes(), 0)?;
        self.listed.clear();
        self.page += 1;
        Ok(())
    }
}
