//! Decodes the bytes of an answer into message rows and verdicts, in one pass.

use std::borrow::Cow;

use super::code::{Meaning, Remedy, remedy};
use super::item::{Item, ItemReader};
use super::json::{Broken, Json, Scanner};
use super::question::Question;
use crate::model::message::MessageRows;

/// The most of an undecodable item's text that is kept, in bytes.
const KEPT_TEXT: usize = 2048;
/// The most of a message of the API's that is kept, in bytes.
const KEPT_MESSAGE: usize = 1024;
/// An answer with more invalid sequences than this is no text.
const MOST_REPLACED: usize = 1 << 20;

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

impl Verdict {
    /// What a code of the list of failures means for its message. Without a code nothing is known.
    fn unavailable(code: Option<i64>, message: String) -> Self {
        let remedy = code.map_or(Remedy::Nothing, remedy);
        let (other_owner_may_help, retryable) = (remedy == Remedy::OtherOwner, remedy == Remedy::Later);
        Self::Unavailable { code, message, other_owner_may_help, retryable }
    }
}

/// An answer with code 200.
#[derive(Debug)]
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
    let asked = Asked::new(question, &replaced, body.len());
    let mut scanner = Scanner::new(&text);
    let (mut code, mut message, mut lists) = (None, None, Lists::NONE);
    scanner.object(|scanner| {
        match scanner.key()?.content().as_deref() {
            Some("code") => code = scanner.value()?.integer_or_digits(),
            Some("msg") => message = Some(scanner.value()?),
            Some("data") => lists = Lists::read(scanner, &asked)?,
            _ => drop(scanner.value()?),
        }
        Ok(())
    })?;
    scanner.end()?;
    match code {
        Some(code) if Meaning::of(code) == Meaning::Success => lists.finish(&asked).map(Reply::Answer),
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

/// A text of the API's for people to read: a string's content, of anything else its JSON.
fn said(value: Json<'_>) -> String {
    let text = if value.is_null() { Cow::Borrowed("") } else { value.content().unwrap_or(Cow::Borrowed(value.text)) };
    cut(&text, KEPT_MESSAGE).to_owned()
}

/// The beginning of `text`, at most `most` bytes.
fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// What was asked, at hand while an answer is read.
struct Asked<'q> {
    question: &'q Question<'q>,
    /// Where in the answer's text invalid UTF-8 was replaced.
    replaced: &'q [usize],
    /// The answer's size in bytes.
    size: usize,
    /// The IDs asked for with the indexes of their references, sorted.
    index: Vec<(i64, usize)>,
}

impl<'q> Asked<'q> {
    fn new(question: &'q Question<'q>, replaced: &'q [usize], size: usize) -> Self {
        let mut index: Vec<_> = question.refs.iter().enumerate().map(|(at, (id, _))| (*id, at)).collect();
        index.sort_unstable();
        Self { question, replaced, size, index }
    }

    /// The index of the reference to this message.
    fn find(&self, id: i64) -> Option<usize> {
        self.index.binary_search_by_key(&id, |(id, _)| *id).ok().map(|at| self.index[at].1)
    }

    /// Whether invalid UTF-8 was replaced in the message.
    fn was_replaced(&self, item: &Item<'_>) -> bool {
        let next = self.replaced.partition_point(|at| *at < item.start);
        self.replaced.get(next).is_some_and(|at| *at < item.start + item.text.len())
    }
}

/// An entry of a list that names no usable ID.
#[derive(Debug)]
struct Stray {
    create_time: Option<i64>,
    verdict: Verdict,
}

/// The list of messages.
struct Items<'q, 't> {
    asked: &'q Asked<'q>,
    reader: ItemReader<'q, 't>,
    archived: Vec<u32>,
    has_row: Vec<bool>,
    unrequested: u32,
    repeated: u32,
    strays: Vec<Stray>,
}

impl<'q, 't> Items<'q, 't> {
    fn new(asked: &'q Asked<'q>) -> Self {
        let count = asked.question.refs.len();
        Self {
            asked,
            reader: ItemReader::new(asked.question, asked.size),
            archived: Vec::with_capacity(count),
            has_row: vec![false; count],
            unrequested: 0,
            repeated: 0,
            strays: Vec::new(),
        }
    }

    fn read(&mut self, scanner: &mut Scanner<'t>) -> Result<(), Broken> {
        let item = self.reader.read(scanner)?;
        let id = match item.id {
            Ok(id) => id,
            Err(message) => {
                if self.strays.len() < self.has_row.len() {
                    let text = cut(item.text, KEPT_TEXT).to_owned();
                    let verdict = Verdict::Undecodable { message: message.to_owned(), text };
                    self.strays.push(Stray { create_time: item.create_time, verdict });
                }
                return Ok(());
            }
        };
        match self.asked.find(id) {
            None => self.unrequested += 1,
            Some(index) if self.has_row[index] => self.repeated += 1,
            Some(index) => {
                self.has_row[index] = true;
                self.archived.push(index as u32);
                let create_time = item.create_time.unwrap_or(self.asked.question.refs[index].1);
                self.reader.keep(&item, create_time, self.asked.was_replaced(&item));
            }
        }
        Ok(())
    }
}

/// The list of failures.
struct Failures<'q> {
    asked: &'q Asked<'q>,
    verdicts: Vec<Option<Verdict>>,
    strays: Vec<Stray>,
}

impl<'q> Failures<'q> {
    fn new(asked: &'q Asked<'q>) -> Self {
        Self { asked, verdicts: vec![None; asked.question.refs.len()], strays: Vec::new() }
    }

    fn read(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Broken> {
        if scanner.peek() != b'{' {
            return scanner.value().map(drop);
        }
        let (mut id, mut create_time, mut code, mut message) = (None, None, None, None);
        scanner.object(|scanner| {
            let (key, value) = (scanner.key()?, scanner.value()?);
            match key.content().as_deref() {
                Some("message_server_id") => id = value.integer_or_digits(),
                Some("create_time") => create_time = value.integer_or_digits(),
                Some("error_code") => code = value.integer_or_digits(),
                Some("error_msg") => message = Some(value),
                _ => {}
            }
            Ok(())
        })?;
        let verdict = Verdict::unavailable(code, message.map_or_else(String::new, said));
        match id.map(|id| self.asked.find(id)) {
            Some(Some(index)) => drop(self.verdicts[index].get_or_insert(verdict)),
            None if self.strays.len() < self.verdicts.len() => self.strays.push(Stray { create_time, verdict }),
            // Nobody asked for it, or more entries lack an ID than references were asked for.
            Some(None) | None => {}
        }
        Ok(())
    }
}

/// The two lists of an answer, or why one of them is none.
struct Lists<'q, 't> {
    items: Result<Option<Items<'q, 't>>, Broken>,
    failures: Result<Option<Failures<'q>>, Broken>,
}

impl<'q, 't> Lists<'q, 't> {
    const NONE: Self = Self { items: Ok(None), failures: Ok(None) };

    /// Reads the object that holds them; null holds none.
    fn read(scanner: &mut Scanner<'t>, asked: &'q Asked<'q>) -> Result<Self, Broken> {
        let mut lists = Self::NONE;
        if scanner.peek() != b'{' {
            return Ok(Self { items: or_null(scanner, "data is no object")?, ..Self::NONE });
        }
        scanner.object(|scanner| {
            match scanner.key()?.content().as_deref() {
                Some("success_list") => {
                    lists.items = read_list(scanner, || Items::new(asked), "success_list is no list", Items::read)?;
                }
                Some("failed_list") => {
                    lists.failures =
                        read_list(scanner, || Failures::new(asked), "failed_list is no list", Failures::read)?;
                }
                _ => drop(scanner.value()?),
            }
            Ok(())
        })?;
        Ok(lists)
    }

    fn finish(self, asked: &'q Asked<'q>) -> Result<Decoded, Broken> {
        let items = self.items?.unwrap_or_else(|| Items::new(asked));
        let failures = self.failures?.unwrap_or_else(|| Failures::new(asked));
        let (has_row, mut verdicts) = (items.has_row, failures.verdicts);
        let strays = items.strays.into_iter().chain(failures.strays).collect();
        attribute(strays, asked.question.refs, &has_row, &mut verdicts);
        let verdicts = verdicts.into_iter().enumerate().filter(|(index, _)| !has_row[*index]);
        Ok(Decoded {
            rows: items.reader.finish(),
            archived: items.archived,
            verdicts: verdicts.map(|(index, verdict)| (index, verdict.unwrap_or(Verdict::Unanswered))).collect(),
            unrequested: items.unrequested,
            repeated: items.repeated,
        })
    }
}

/// Reads a list; null is none.
fn read_list<'t, L>(
    scanner: &mut Scanner<'t>,
    new: impl FnOnce() -> L,
    what: &'static str,
    read: impl Fn(&mut L, &mut Scanner<'t>) -> Result<(), Broken>,
) -> Result<Result<Option<L>, Broken>, Broken> {
    if scanner.peek() != b'[' {
        return or_null(scanner, what);
    }
    let mut list = new();
    scanner.array(|scanner| read(&mut list, scanner))?;
    Ok(Ok(Some(list)))
}

/// Takes a value of another shape than expected: null stands for nothing, and anything else is `what`.
fn or_null<L>(scanner: &mut Scanner<'_>, what: &'static str) -> Result<Result<Option<L>, Broken>, Broken> {
    let at = scanner.position();
    Ok(if scanner.value()?.is_null() { Ok(None) } else { Err(Broken { what, at }) })
}

/// Gives entries without a usable ID to the references that they must belong to, where that is certain: first to the only
/// open reference of the same time, then to the only one that is still open.
fn attribute(strays: Vec<Stray>, refs: &[(i64, i64)], has_row: &[bool], verdicts: &mut [Option<Verdict>]) {
    let only_open = |verdicts: &[Option<Verdict>], time: Option<i64>| {
        let is_open = |at: &usize| !has_row[*at] && verdicts[*at].is_none();
        let mut open = (0..refs.len()).filter(is_open).filter(|at| time.is_none_or(|time| refs[*at].1 == time));
        open.next().filter(|_| open.next().is_none())
    };
    let mut rest = Vec::new();
    for stray in strays {
        match stray.create_time.and_then(|time| only_open(verdicts, Some(time))) {
            Some(index) => verdicts[index] = Some(stray.verdict),
            None => rest.push(stray),
        }
    }
    for stray in rest {
        if let Some(index) = only_open(verdicts, None) {
            verdicts[index] = Some(stray.verdict);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
