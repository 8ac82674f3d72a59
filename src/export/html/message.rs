//! One message on a page.

use sha2::{Digest, Sha256};

use super::escape::escaped;
use crate::export::clock::Clock;
use crate::export::content::Content;
use crate::export::record::{Column, Item, Record};
use crate::reference::same_account;

/// The most characters of a quote.
const QUOTE: usize = 140;

/// What is remembered of a message that others answer.
pub(super) struct Quote {
    sender: String,
    line: String,
    file: String,
}

impl Quote {
    pub(super) fn of(record: &Record, file: String) -> Self {
        Self { sender: sender(record).to_owned(), line: Content::of(record).line(QUOTE), file }
    }
}

fn sender(record: &Record) -> &str {
    record.text(Column::SenderId).unwrap_or("(no sender)")
}

/// Appends a message. `quote` is what it answers, when that stands before it.
pub(super) fn push(out: &mut String, item: &Item, own: Option<&str>, quote: Option<&Quote>, page: &str, clock: &Clock) {
    let record = &item.latest;
    let content = Content::of(record);
    let mut classes = String::from("m");
    if own.is_some_and(|own| same_account(own, sender(record))) {
        classes.push_str(" own");
    }
    if matches!(record.integer(Column::MessageType), Some(5 | 10)) {
        classes.push_str(" tip");
    }
    if item.context {
        classes.push_str(" ctx");
    }
    let (id, time) = (record.id(), record.create_time());
    let colour = Sha256::digest(sender(record).to_lowercase())[0] % 8;
    out.push_str(&format!(
        "<article class=\"{classes}\" id=\"m{id}\">\n<header><span class=\"who s{colour}\">{}</span>\
         <time datetime=\"{}\" title=\"{} · {id}\"><a href=\"#m{id}\">{}</a></time>",
        escaped(sender(record)),
        escaped(&clock.exact(time)),
        escaped(&clock.exact(time)),
        escaped(&clock.time(time)),
    ));
    if content.kind != "text" {
        out.push_str(&format!("<span class=\"tag kind\">{}</span>", escaped(&content.kind)));
    }
    tags(out, item, clock);
    out.push_str("</header>\n");
    answers(out, record, quote, page, clock);
    body(out, &content);
    more(out, record);
    if !item.earlier.is_empty() {
        let count = item.earlier.len();
        let noun = if count == 1 { "version" } else { "versions" };
        out.push_str(&format!("<details><summary>{count} earlier {noun}</summary>\n"));
        for earlier in item.earlier.iter().rev() {
            let since = earlier.integer(Column::ModifyTime).unwrap_or(time);
            out.push_str(&format!("<div class=\"was\">from {}", escaped(&clock.second(since))));
            body(out, &Content::of(earlier));
            out.push_str("</div>\n");
        }
        out.push_str("</details>\n");
    }
    out.push_str("</article>\n");
}

fn tags(out: &mut String, item: &Item, clock: &Clock) {
    let record = &item.latest;
    if item.context {
        out.push_str("<span class=\"tag\">thread context</span>");
    }
    if item.is_edited() {
        let mut text = "edited".to_owned();
        if let Some(time) = record.integer(Column::ModifyTime) {
            text.push_str(&format!(" {}", clock.second(time)));
        }
        if let Some(account) = record.text(Column::ModifyAccountId)
            && !same_account(account, sender(record))
        {
            text.push_str(&format!(" by {account}"));
        }
        out.push_str(&format!("<span class=\"tag\">{}</span>", escaped(&text)));
    }
    let receivers = record.list(Column::ReceiverAccountIds);
    if !receivers.is_empty() {
        let to = if record.flag(Column::Inclusive) == Some(false) { "not to" } else { "only to" };
        out.push_str(&format!("<span class=\"tag\">{to} {}</span>", escaped(&receivers.join(", "))));
    }
    if let Some(vanished) = &item.vanished {
        let noticed = vanished.noticed_at.map(|time| format!(", noticed {}", clock.second(time)));
        let noticed = escaped(&noticed.unwrap_or_default());
        out.push_str(&format!("<span class=\"tag gone\">vanished since{noticed}</span>"));
    }
    if record.flag(Column::Substituted) == Some(true) {
        out.push_str("<span class=\"tag\">a character that cannot be stored was replaced</span>");
    }
}

fn answers(out: &mut String, record: &Record, quote: Option<&Quote>, page: &str, clock: &Clock) {
    let Some(id) = record.integer(Column::ThreadReplyMessageServerId) else { return };
    if let Some(quote) = quote {
        let file = if quote.file == page { "" } else { quote.file.as_str() };
        out.push_str(&format!(
            "<blockquote><a href=\"{file}#m{id}\"><b>{}</b>: {}</a></blockquote>\n",
            escaped(&quote.sender),
            escaped(&quote.line)
        ));
    } else {
        let who = record.text(Column::ThreadReplySenderId).unwrap_or("somebody");
        let time = record.integer(Column::ThreadReplyCreateTime).map(|time| format!(" of {}", clock.second(time)));
        out.push_str(&format!(
            "<blockquote>answers a message by <b>{}</b>{} that is not part of this export</blockquote>\n",
            escaped(who),
            escaped(&time.unwrap_or_default())
        ));
    }
}

fn body(out: &mut String, content: &Content) {
    if let Some(text) = &content.text {
        out.push_str(&format!("<div class=\"t\" dir=\"auto\">{}</div>\n", escaped(text)));
    }
    if let Some(attached) = &content.attached {
        let name = escaped(&attached.name);
        let name = match &attached.link {
            Some(link) => format!("<a href=\"{}\" rel=\"noopener noreferrer\">{name}</a>", escaped(link)),
            None => name,
        };
        let facts = escaped(&attached.facts.join(", "));
        out.push_str(&format!("<div class=\"f\">{name} <span>{facts}</span></div>\n"));
    }
    if let Some(place) = &content.place {
        out.push_str(&format!("<div class=\"f\" dir=\"auto\">{}</div>\n", escaped(place)));
    }
    if let Some(json) = &content.json {
        out.push_str(&format!("<pre>{}</pre>\n", escaped(json)));
    }
}

fn more(out: &mut String, record: &Record) {
    for (name, column) in [("extension", Column::Extension), ("further fields", Column::Extra)] {
        let Some(text) = record.text(column).filter(|text| !text.is_empty()) else { continue };
        let pretty = serde_json::from_str::<serde_json::Value>(text)
            .and_then(|value| serde_json::to_string_pretty(&value))
            .unwrap_or_else(|_| text.to_owned());
        out.push_str(&format!("<details><summary>{name}</summary><pre>{}</pre></details>\n", escaped(&pretty)));
    }
}
