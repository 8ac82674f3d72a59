//! Pages that read like a chat: an index, and for each conversation as many pages as it needs.
//!
//! A page is whole in itself. It loads nothing, runs nothing, and says so to the browser.

mod escape;
mod index;
mod message;

use std::collections::{BTreeSet, HashMap, HashSet};

use sha2::{Digest, Sha256};

use self::escape::escaped;
use self::index::{Index, Listed, PageLink};
use self::message::Quote;
use super::base64::push_base64;
use super::clock::Clock;
use super::output::Output;
use super::record::{Column, Item, Record};
use super::selection::sides;
use super::{ExportError, Transcript};

const STYLE: &str = include_str!("html/style.css");
/// Messages of a page.
const MESSAGES: u64 = 2_000;
/// Bytes of a page after which another one is begun.
const BYTES: usize = 8 << 20;

/// Writes `index.html` and `c00001.html`, `c00001-2.html` and so on.
pub(super) struct Pages {
    clock: Clock,
    /// Whose messages stand at the right.
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
    /// The account whose messages stand at the right.
    own: Option<String>,
    number: u64,
    page: u64,
    body: String,
    day: String,
    messages: u64,
    first: i64,
    last: i64,
    quotes: HashMap<i64, Quote>,
    listed: Listed,
}

impl Pages {
    /// Pages on which `viewers` stand at the right; `answered` are the messages that others answer.
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
        let title = match sides(&key) {
            Some((one, other)) => format!("{one} and {other}"),
            None if record.conversation_type() == 3 => format!("super team {}", key.get(2..).unwrap_or_default()),
            None => format!("team {}", key.get(2..).unwrap_or_default()),
        };
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
            body: String::new(),
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
        if open.messages >= MESSAGES || open.body.len() >= BYTES {
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
            self.body.push_str(&format!("<h2 class=\"day\">{}</h2>\n", escaped(&day)));
            self.day = day;
        }
        if self.messages == 0 {
            (self.first, self.last) = (time, time);
        }
        let reply = item.latest.integer(Column::ThreadReplyMessageServerId);
        let quote = reply.and_then(|id| self.quotes.get(&id));
        let page = page_file(self.number, self.page);
        message::push(&mut self.body, item, self.own.as_deref(), quote, &page, clock);
        self.messages += 1;
        self.last = self.last.max(time);
        self.listed.count(item);
    }

    /// Writes the page under way and begins the next one.
    fn write_page(&mut self, clock: &Clock, note: &str, another: bool, output: &mut Output) -> Result<(), ExportError> {
        let file = page_file(self.number, self.page);
        let link = |there: bool, file: &str, text: &str| {
            if there { format!("<a href=\"{file}\">{text}</a>") } else { format!("<span class=\"off\">{text}</span>") }
        };
        let mut nav = format!("<nav aria-label=\"Pages\"><a href=\"{}\">All conversations</a>", self.index_file());
        if self.page > 1 || another {
            nav.push_str(&link(self.page > 1, &page_file(self.number, 1), "First page"));
            nav.push_str(&link(self.page > 1, &page_file(self.number, self.page.max(2) - 1), "Previous page"));
            nav.push_str(&link(another, &page_file(self.number, self.page + 1), "Next page"));
        }
        nav.push_str("</nav>\n");
        let part = if self.page > 1 || another { format!("page {}, ", self.page) } else { String::new() };
        let range = format!("{} – {}", clock.second(self.first), clock.second(self.last));
        let noun = if self.messages == 1 { "message" } else { "messages" };
        let content = format!(
            "<h1>{}</h1>\n<p class=\"sub\">{} · {part}{} {noun} · {range} ({}){}</p>\n{nav}<main>\n{}</main>\n{nav}",
            escaped(&self.title),
            escaped(&self.key),
            self.messages,
            escaped(&clock.name()),
            if note.is_empty() { String::new() } else { format!(" · {}", escaped(note)) },
            self.body,
        );
        output.write(&file, document(&self.title, &content).as_bytes(), self.messages)?;
        self.listed.pages.push(PageLink { file, first: self.first });
        self.page += 1;
        self.messages = 0;
        self.body.clear();
        self.day.clear();
        Ok(())
    }

    fn index_file(&self) -> String {
        index::file_of(self.number)
    }
}

fn page_file(conversation: u64, page: u64) -> String {
    if page == 1 { format!("c{conversation:05}.html") } else { format!("c{conversation:05}-{page}.html") }
}

/// A whole page. Nothing but the style it holds may take effect, which the browser is told by the style's hash.
fn document(title: &str, content: &str) -> String {
    let mut hash = String::new();
    push_base64(&mut hash, &Sha256::digest(STYLE));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{hash}'; \
         base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<div class=\"page\">\n{content}\
         <footer>Exported by yunxin-archiver {}. Files and images are not part of the archive; links lead to where they \
         were.</footer>\n</div>\n</body>\n</html>\n",
        escaped(title),
        env!("CARGO_PKG_VERSION"),
    )
}
