//! The list of conversations.

use super::document;
use super::escape::escaped;
use crate::export::ExportError;
use crate::export::clock::Clock;
use crate::export::output::Output;
use crate::export::record::Item;

/// Conversations of one page of the list.
const CONVERSATIONS: u64 = 1_000;

/// The list, of which one page is held.
pub(super) struct Index {
    clock: Clock,
    note: String,
    held: Vec<Listed>,
    page: u64,
    conversations: u64,
    messages: u64,
}

/// A conversation of the list.
pub(super) struct Listed {
    title: String,
    key: String,
    messages: u64,
    context: u64,
    edited: u64,
    vanished: u64,
    range: Option<(i64, i64)>,
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

/// The page of the list that names the conversation of this number, counted from 1.
pub(super) fn file_of(conversation: u64) -> String {
    page_file((conversation.max(1) - 1) / CONVERSATIONS + 1)
}

fn page_file(page: u64) -> String {
    if page == 1 { "index.html".to_owned() } else { format!("index-{page}.html") }
}

impl Listed {
    pub(super) fn new(title: &str, key: &str) -> Self {
        Self {
            title: title.to_owned(),
            key: key.to_owned(),
            messages: 0,
            context: 0,
            edited: 0,
            vanished: 0,
            range: None,
            pages: Vec::new(),
        }
    }

    pub(super) fn count(&mut self, item: &Item) {
        *if item.context { &mut self.context } else { &mut self.messages } += 1;
        self.edited += u64::from(item.is_edited());
        self.vanished += u64::from(item.vanished.is_some());
        let time = item.latest.create_time();
        let (first, last) = self.range.unwrap_or((time, time));
        self.range = Some((first.min(time), last.max(time)));
    }

    fn row(&self, clock: &Clock) -> String {
        let first = self.pages.first().map_or("", |page| page.file.as_str());
        let mut notes = vec![self.key.clone()];
        for (count, what) in [(self.context, "thread context"), (self.edited, "edited"), (self.vanished, "vanished")] {
            if count > 0 {
                notes.push(format!("{count} {what}"));
            }
        }
        let mut pages = String::new();
        if self.pages.len() > 1 {
            pages.push_str(&format!("<details><summary>{} pages</summary>", self.pages.len()));
            for (n, page) in self.pages.iter().enumerate() {
                let from = escaped(&clock.second(page.first));
                pages.push_str(&format!("<a href=\"{}\">{}</a> from {from}<br>", page.file, n + 1));
            }
            pages.push_str("</details>");
        }
        let (start, end) = self.range.unwrap_or_default();
        format!(
            "<tr><td class=\"k\"><a href=\"{first}\">{}</a><small>{}</small>{pages}</td>\
             <td class=\"n\" data-of=\"messages\">{}</td><td class=\"n\" data-of=\"first\">{}</td>\
             <td class=\"n\" data-of=\"last\">{}</td></tr>\n",
            escaped(&self.title),
            escaped(&notes.join(" · ")),
            self.messages + self.context,
            escaped(&clock.second(start)),
            escaped(&clock.second(end)),
        )
    }
}

impl Index {
    pub(super) fn new(clock: Clock, note: String) -> Self {
        Self { clock, note, held: Vec::new(), page: 1, conversations: 0, messages: 0 }
    }

    pub(super) fn add(&mut self, listed: Listed, output: &mut Output) -> Result<(), ExportError> {
        if self.held.len() as u64 >= CONVERSATIONS {
            self.write(true, output)?;
        }
        self.conversations += 1;
        self.messages += listed.messages + listed.context;
        self.held.push(listed);
        Ok(())
    }

    pub(super) fn finish(&mut self, output: &mut Output) -> Result<(), ExportError> {
        self.write(false, output)
    }

    fn write(&mut self, another: bool, output: &mut Output) -> Result<(), ExportError> {
        let rows: String = self.held.iter().map(|listed| listed.row(&self.clock)).collect();
        let mut nav = String::new();
        if self.page > 1 || another {
            nav.push_str("<nav aria-label=\"Pages\">");
            for (there, page, text) in
                [(self.page > 1, self.page.max(2) - 1, "Previous page"), (another, self.page + 1, "Next page")]
            {
                if there {
                    nav.push_str(&format!("<a href=\"{}\">{text}</a>", page_file(page)));
                } else {
                    nav.push_str(&format!("<span class=\"off\">{text}</span>"));
                }
            }
            nav.push_str("</nav>\n");
        }
        let count = |count: u64, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
        // On the last page, and so on the only one, these are the sums of the whole export.
        let sums = if another {
            format!("page {}", self.page)
        } else {
            format!("{}, {}", count(self.conversations, "conversation"), count(self.messages, "message"))
        };
        let content = format!(
            "<h1>Conversations</h1>\n<p class=\"sub\">{sums} · times in {}{}</p>\n{nav}\
             <table><thead><tr><th>Conversation</th><th class=\"n\">Messages</th><th class=\"n\">First</th>\
             <th class=\"n\">Last</th></tr></thead>\n<tbody>\n{rows}</tbody></table>\n{nav}",
            escaped(&self.clock.name()),
            if self.note.is_empty() { String::new() } else { format!(" · {}", escaped(&self.note)) },
        );
        let name = page_file(self.page);
        output.write(&name, document("Conversations", &content).as_bytes(), 0)?;
        self.held.clear();
        self.page += 1;
        Ok(())
    }
}
