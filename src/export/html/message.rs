//! One message on a page.

use maud::{Markup, html};
use sha2::{Digest, Sha256};

use crate::export::clock::Clock;
use crate::export::content::Content;
use crate::export::indented::indented;
use crate::export::item::Item;
use crate::model::Column;
use crate::model::record::Record;
use crate::model::reference::same_account;
use crate::page::figures::counted;

/// The most characters in a quote.
const QUOTE: usize = 140;

/// What is kept of a message that others reply to.
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

/// A message on the page in the file `page`. Messages of the account `own` are on the right. `quote` is the message it replies
/// to, if that precedes it.
pub(super) fn message(item: &Item, own: Option<&str>, quote: Option<&Quote>, page: &str, clock: &Clock) -> Markup {
    let record = &item.latest;
    let (id, time, sender) = (record.id(), record.create_time(), sender(record));
    let content = Content::of(record);
    let is_own = own.is_some_and(|own| same_account(own, sender));
    let is_tip = matches!(record.integer(Column::MessageType), Some(5 | 10));
    let colour = Sha256::digest(sender.to_lowercase())[0] % 8;
    html! {
        article.m.own[is_own].tip[is_tip].ctx[item.context] #{ "m" (id) } {
            header {
                span.who.{ "s" (colour) } { (sender) }
                time datetime=(clock.exact(time)) title={ (clock.exact(time)) " · " (id) } {
                    a href={ "#m" (id) } { (clock.time(time)) }
                }
                @if content.kind != "text" { span.tag.kind { (content.kind) } }
                (tags(item, clock))
            }
            (answers(record, quote, page, clock))
            (body(&content))
            (more(record))
            @if !item.earlier.is_empty() {
                details {
                    summary { (counted(item.earlier.len() as u64, "earlier version", "earlier versions")) }
                    @for earlier in item.earlier.iter().rev() {
                        div.was {
                            "from " (clock.second(earlier.integer(Column::ModifyTime).unwrap_or(time)))
                            (body(&Content::of(earlier)))
                        }
                    }
                }
            }
        }
    }
}

fn tags(item: &Item, clock: &Clock) -> Markup {
    let record = &item.latest;
    let editor = record.text(Column::ModifyAccountId).filter(|account| !same_account(account, sender(record)));
    let receivers = record.list(Column::ReceiverAccountIds);
    let to = if record.flag(Column::Inclusive) == Some(false) { "not to " } else { "only to " };
    html! {
        @if item.context { span.tag { "thread context" } }
        @if item.is_edited() {
            span.tag {
                "edited"
                @if let Some(time) = record.integer(Column::ModifyTime) { " " (clock.second(time)) }
                @if let Some(account) = editor { " by " (account) }
            }
        }
        @if !receivers.is_empty() { span.tag { (to) (receivers.join(", ")) } }
        @if let Some(vanished) = &item.vanished {
            span.tag.gone {
                "vanished"
                @if let Some(time) = vanished.noticed_at { ", noticed " (clock.second(time)) }
            }
        }
        @if record.flag(Column::Substituted) == Some(true) {
            span.tag { "a character that cannot be stored was replaced" }
        }
    }
}

fn answers(record: &Record, quote: Option<&Quote>, page: &str, clock: &Clock) -> Markup {
    html! {
        @if let Some(id) = record.integer(Column::ThreadReplyMessageServerId) {
            blockquote {
                @if let Some(quote) = quote {
                    a href={ @if quote.file != page { (quote.file) } "#m" (id) } { b { (quote.sender) } ": " (quote.line) }
                } @else {
                    "replies to a message by " b { (record.text(Column::ThreadReplySenderId).unwrap_or("somebody")) }
                    @if let Some(time) = record.integer(Column::ThreadReplyCreateTime) { " of " (clock.second(time)) }
                    " that is not part of this export"
                }
            }
        }
    }
}

fn body(content: &Content) -> Markup {
    html! {
        @if let Some(text) = &content.text { div.t dir="auto" { (text) } }
        @if let Some(attached) = &content.attached {
            div.f {
                @if let Some(link) = &attached.link {
                    a href=(link) rel="noopener noreferrer" { (attached.name) }
                } @else {
                    (attached.name)
                }
                " " span { (attached.facts.join(", ")) }
            }
        }
        @if let Some(place) = &content.place { div.f dir="auto" { (place) } }
        @if let Some(json) = &content.json { pre { (json) } }
    }
}

fn more(record: &Record) -> Markup {
    html! {
        @for (name, column) in [("extension", Column::Extension), ("further fields", Column::Extra)] {
            @if let Some(text) = record.text(column).filter(|text| !text.is_empty()) {
                details { summary { (name) } pre { (indented(text).as_deref().unwrap_or(text)) } }
            }
        }
    }
}
