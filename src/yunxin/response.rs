//! From the bytes of an answer to message rows and verdicts, in one pass.

use std::borrow::Cow;

use super::code::{Said, said_of_message};
use super::item::{ItemReader, NoId};
use super::json::{Broken, Scanner, Text, Value};
use crate::model::message::MessageRows;

/// The most of an undecodable item's text that is kept, in bytes.
const KEPT_TEXT: usize = 2048;
/// The most of a message of the API's that is kept, in bytes.
const KEPT_MESSAGE: usize = 1024;
/// An answer with more invalid sequences than this is no text.
const MOST_REPLACED: usize = 1 << 20;

/// What was asked, as far as decoding needs it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    /// The dialogue.
    pub(super) key: &'a str,
    /// The conversation as asked.
    pub(super) conversation: &'a str,
    /// 1, 2 or 3.
    pub(super) conversation_type: i32,
    /// ID and create time (milliseconds) of what was asked for. The IDs are distinct.
    pub(super) refs: &'a [(i64, i64)],
    /// When it was asked, milliseconds since the epoch.
    pub(super) fetched_at: i64,
    /// Whether items keep their JSON text.
    pub(super) raw: bool,
}

/// Why a reference did not become a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The API's list of failures names it.
    Unavailable {
        /// The API's code, when it gave one.
        code: Option<i64>,
        /// The API's text.
        message: String,
        /// Another owner may still see the message.
        other_owner_may_help: bool,
        /// Asking again later may help.
        retryable: bool,
    },
    /// It is in neither list.
    Unanswered,
    /// An item without a usable ID must be its.
    Undecodable {
        /// What is wrong with the item.
        message: String,
        /// The item's text, cut at 2 KiB.
        text: String,
    },
}

/// An answer with code 200.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    /// The messages, each asked for, each once.
    pub(super) rows: MessageRows,
    /// For each row the index of its reference.
    pub(super) archived: Vec<u32>,
    /// For each other reference its index and verdict, in the order of the references.
    pub(super) verdicts: Vec<(usize, Verdict)>,
    /// Messages that were not asked for, dropped.
    pub(super) unrequested: u32,
    /// Messages that the answer repeats, dropped.
    pub(super) repeated: u32,
}

/// What the API said.
#[derive(Debug)]
pub(super) enum Reply {
    /// Code 200.
    Answer(Decoded),
    /// Any other code, with the API's text.
    Code(i64, String),
}

/// Decodes an answer's body. An error means that it is no answer of the API's: cut short, garbage, or of another shape.
///
/// Of an object's equal keys the last one counts. Every reference ends either in a row or with one verdict.
pub(super) fn decode(body: &[u8], question: &Question<'_>) -> Result<Reply, Broken> {
    let (text, replaced) = readable(body)?;
    let mut scanner = Scanner::new(&text);
    let mut lists = Lists::new(question, &replaced, body.len());
    let (mut code, mut message, mut misshapen) = (None, None, None);
    let mut first = true;
    scanner.enter_object()?;
    while let Some(key) = scanner.key(&mut first)? {
        match &*name(key) {
            "code" => code = scanner.value()?.integer_or_digits(),
            "msg" => message = Some(scanner.value_text()?),
            "data" => misshapen = lists.read_data(&mut scanner)?,
            _ => drop(scanner.value()?),
        }
    }
    scanner.end()?;
    match code {
        Some(200) => match misshapen {
            Some(broken) => Err(broken),
            None => Ok(Reply::Answer(lists.finish())),
        },
        Some(code) => Ok(Reply::Code(code, message.map_or_else(String::new, said))),
        None => Err(Broken { what: "the answer has no code", at: text.len() }),
    }
}

/// The body as text, and where in it invalid UTF-8 was replaced.
fn readable(body: &[u8]) -> Result<(Cow<'_, str>, Vec<usize>), Broken> {
    if let Ok(text) = simdutf8::basic::from_utf8(body) {
        return Ok((Cow::Borrowed(text), Vec::new()));
    }
    let mut text = String::with_capacity(body.len() + 64);
    let mut replaced = Vec::new();
    for chunk in body.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            if replaced.len() == MOST_REPLACED {
                return Err(Broken { what: "the answer is no UTF-8", at: text.len() });
            }
            replaced.push(text.len());
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    Ok((Cow::Owned(text), replaced))
}

/// A key with its escapes resolved.
pub(super) fn name(key: Text<'_>) -> Cow<'_, str> {
    if !key.escaped {
        return Cow::Borrowed(key.raw);
    }
    let mut name = String::with_capacity(key.raw.len());
    key.resolve_into(&mut name);
    Cow::Owned(name)
}

/// A text of the API's for people to read: a string's content, of anything else its JSON.
fn said((value, json, _): (Value<'_>, &str, super::json::Traits)) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => {
            let mut resolved = String::new();
            Text { raw: cut_escaped(text.raw), ..text }.resolve_into(&mut resolved);
            resolved
        }
        _ => cut(json, KEPT_MESSAGE).to_owned(),
    }
}

/// The beginning of a string's raw text, not cut inside an escape.
fn cut_escaped(raw: &str) -> &str {
    let short = cut(raw, KEPT_MESSAGE);
    if short.len() == raw.len() {
        return raw;
    }
    // Whatever escape the cut may have gone through began within its last 12 bytes; one that stands whole is given up too.
    match short.as_bytes().iter().enumerate().skip(short.len().saturating_sub(13)).find(|(_, b)| **b == b'\\') {
        Some((at, _)) => {
            let slashes = short.as_bytes()[..at].iter().rev().take_while(|b| **b == b'\\').count();
            &short[..at - slashes]
        }
        None => short,
    }
}

/// The beginning of `text`, at most `most` bytes.
pub(super) fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// An item that names no usable ID.
#[derive(Debug)]
struct Stray {
    create_time: Option<i64>,
    verdict: Verdict,
}

/// The two lists of an answer while they are read.
struct Lists<'q, 't> {
    question: &'q Question<'q>,
    replaced: &'q [usize],
    reader: ItemReader<'t>,
    base: (usize, usize),
    /// The IDs asked for with the indexes of their references, sorted.
    index: Vec<(i64, u32)>,
    /// Where in `index` the next item is, if items come by their IDs.
    likely: usize,
    has_row: Vec<bool>,
    failed: Vec<Option<Verdict>>,
    stray_items: Vec<Stray>,
    stray_failures: Vec<Stray>,
    decoded: Decoded,
}

impl<'q, 't> Lists<'q, 't> {
    fn new(question: &'q Question<'q>, replaced: &'q [usize], body: usize) -> Self {
        let count = question.refs.len();
        let mut index: Vec<_> = question.refs.iter().zip(0..).map(|((id, _), at)| (*id, at)).collect();
        index.sort_unstable();
        let mut rows = MessageRows::with_capacity(count, body);
        let reader = ItemReader::new(question, &mut rows);
        Self {
            question,
            replaced,
            reader,
            base: rows.mark(),
            index,
            likely: 0,
            has_row: vec![false; count],
            failed: vec![None; count],
            stray_items: Vec::new(),
            stray_failures: Vec::new(),
            decoded: Decoded { rows, archived: Vec::with_capacity(count), ..Decoded::default() },
        }
    }

    /// Reads `data`. `Ok(Some(_))` when it is JSON of another shape than documented.
    fn read_data(&mut self, scanner: &mut Scanner<'t>) -> Result<Option<Broken>, Broken> {
        self.forget_items();
        self.forget_failures();
        if scanner.peek() != b'{' {
            return misshapen(scanner, "data is no object");
        }
        let (mut items, mut failures) = (None, None);
        scanner.enter_object()?;
        let mut first = true;
        while let Some(key) = scanner.key(&mut first)? {
            match &*name(key) {
                "success_list" => {
                    self.forget_items();
                    items = self.read_list(scanner, "success_list is no list", Self::read_item)?;
                }
                "failed_list" => {
                    self.forget_failures();
                    failures = self.read_list(scanner, "failed_list is no list", Self::read_failure)?;
                }
                _ => drop(scanner.value()?),
            }
        }
        Ok(items.or(failures))
    }

    fn read_list(
        &mut self,
        scanner: &mut Scanner<'t>,
        what: &'static str,
        read: impl Fn(&mut Self, &mut Scanner<'t>) -> Result<(), Broken>,
    ) -> Result<Option<Broken>, Broken> {
        if scanner.peek() != b'[' {
            return misshapen(scanner, what);
        }
        scanner.enter_array()?;
        let mut first = true;
        while scanner.element(&mut first)? {
            read(self, scanner)?;
        }
        Ok(None)
    }

    fn forget_items(&mut self) {
        if self.decoded.archived.is_empty() && self.stray_items.is_empty() && self.decoded.unrequested == 0 {
            return;
        }
        self.decoded.rows.rewind(self.base);
        self.decoded.archived.clear();
        self.decoded.unrequested = 0;
        self.decoded.repeated = 0;
        self.has_row.fill(false);
        self.stray_items.clear();
    }

    fn forget_failures(&mut self) {
        self.failed.fill(None);
        self.stray_failures.clear();
    }

    fn find(&mut self, id: i64) -> Option<usize> {
        let here = |at: usize| self.index.get(at).filter(|(known, _)| *known == id);
        let at = match here(self.likely) {
            Some(_) => self.likely,
            None => self.index.partition_point(|(known, _)| *known < id),
        };
        let index = here(at)?.1;
        self.likely = at + 1;
        Some(index as usize)
    }

    fn read_item(&mut self, scanner: &mut Scanner<'t>) -> Result<(), Broken> {
        let mark = self.decoded.rows.mark();
        scanner.peek();
        let start = scanner.position();
        let read = self.reader.read(scanner, &mut self.decoded.rows)?;
        let end = scanner.position();
        let (id, create_time) = match read {
            Ok(message) => message,
            Err(NoId { create_time, message }) => {
                self.decoded.rows.rewind(mark);
                if self.stray_items.len() < self.question.refs.len() {
                    let text = cut(scanner.slice(start, end), KEPT_TEXT).to_owned();
                    let verdict = Verdict::Undecodable { message: message.to_owned(), text };
                    self.stray_items.push(Stray { create_time, verdict });
                }
                return Ok(());
            }
        };
        let Some(index) = self.find(id) else {
            self.decoded.unrequested += 1;
            self.decoded.rows.rewind(mark);
            return Ok(());
        };
        if self.has_row[index] {
            self.decoded.repeated += 1;
            self.decoded.rows.rewind(mark);
            return Ok(());
        }
        self.has_row[index] = true;
        let next = self.replaced.partition_point(|at| *at < start);
        let replaced = self.replaced.get(next).is_some_and(|at| *at < end);
        let json = scanner.slice(start, end);
        let create_time = create_time.unwrap_or(self.question.refs[index].1);
        self.reader.finish(create_time, replaced, json, &mut self.decoded.rows);
        self.decoded.archived.push(index as u32);
        Ok(())
    }

    fn read_failure(&mut self, scanner: &mut Scanner<'t>) -> Result<(), Broken> {
        if scanner.peek() != b'{' {
            scanner.value()?;
            return Ok(());
        }
        let (mut id, mut create_time, mut code, mut message) = (None, None, None, None);
        scanner.enter_object()?;
        let mut first = true;
        while let Some(key) = scanner.key(&mut first)? {
            match &*name(key) {
                "message_server_id" => id = scanner.value()?.integer_or_digits(),
                "create_time" => create_time = scanner.value()?.integer_or_digits(),
                "error_code" => code = scanner.value()?.integer_or_digits(),
                "error_msg" => message = Some(scanner.value_text()?),
                _ => drop(scanner.value()?),
            }
        }
        let index = id.map(|id| self.find(id));
        if index == Some(None) || index.flatten().is_some_and(|index| self.failed[index].is_some()) {
            return Ok(());
        }
        let Said { other_owner_may_help, retryable } = code.map_or(Said::UNKNOWN, said_of_message);
        let message = message.map_or_else(String::new, said);
        let verdict = Verdict::Unavailable { code, message, other_owner_may_help, retryable };
        match index.flatten() {
            Some(index) => self.failed[index] = Some(verdict),
            None if self.stray_failures.len() < self.question.refs.len() => {
                self.stray_failures.push(Stray { create_time, verdict });
            }
            None => {}
        }
        Ok(())
    }

    fn finish(mut self) -> Decoded {
        let strays = self.stray_items.drain(..).chain(self.stray_failures.drain(..)).collect();
        self.attribute(strays);
        let verdicts = self.has_row.iter().zip(self.failed).enumerate();
        self.decoded.verdicts = verdicts
            .filter(|(_, (has_row, _))| !**has_row)
            .map(|(index, (_, verdict))| (index, verdict.unwrap_or(Verdict::Unanswered)))
            .collect();
        self.decoded.rows.shrink_to_fit();
        self.decoded
    }

    /// Gives items without a usable ID to the references that they must belong to, where that is certain.
    fn attribute(&mut self, strays: Vec<Stray>) {
        let mut rest = Vec::new();
        for stray in strays {
            let time = stray.create_time;
            let same_time = |at: &usize| Some(self.question.refs[*at].1) == time;
            match only(self.open().filter(same_time)) {
                Some(index) => self.failed[index] = Some(stray.verdict),
                None => rest.push(stray),
            }
        }
        for stray in rest {
            if let Some(index) = only(self.open()) {
                self.failed[index] = Some(stray.verdict);
            }
        }
    }

    /// The references in neither list.
    fn open(&self) -> impl Iterator<Item = usize> {
        (0..self.has_row.len()).filter(|at| !self.has_row[*at] && self.failed[*at].is_none())
    }
}

/// The element of an iterator that has exactly one.
fn only(mut indexes: impl Iterator<Item = usize>) -> Option<usize> {
    let index = indexes.next()?;
    indexes.next().is_none().then_some(index)
}

/// Takes a value that should have been something else; null is nothing at all.
fn misshapen(scanner: &mut Scanner<'_>, what: &'static str) -> Result<Option<Broken>, Broken> {
    let at = scanner.position();
    Ok((scanner.value()? != Value::Null).then_some(Broken { what, at }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
