//! Which messages exist, who sees them, and how each reference is answered.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::conversation::Conversation;
use super::faults::unit;
use super::generated::{Dialogue, mix};
use super::line::Entry;
use super::message::{Echo, Fate, Message, quoted};
use super::quirk::Quirk;

/// Which messages exist beside those that were inserted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Every message that [`write_references`](super::write_references) makes from the same seed.
    #[default]
    Generated,
    /// Every message, whatever its ID and time.
    Any,
    /// None.
    Explicit,
}

/// Which messages exist, who sees them, and how each reference is answered.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// Which messages exist beside those that were inserted.
    pub kind: Kind,
    /// What generated messages and their IDs derive from.
    pub seed: u64,
    /// Share of the messages not inserted, 0 to 1, that are listed as failed with 107404.
    pub missing: f64,
    /// Share of the messages not inserted, 0 to 1, that are in neither list.
    pub unanswered: f64,
    /// Share of the messages not inserted, 0 to 1, that have a [`Quirk`]; never [`Quirk::Undecodable`].
    pub odd: f64,
    /// Milliseconds after which a message no longer exists, inserted or not; 0 for never.
    pub retention_ms: u64,
    /// Messages that were created later exist, as far as retention goes.
    forgotten: Option<i64>,
    messages: HashMap<i64, Vec<Message>>,
    refusals: HashMap<String, i64>,
}

/// What an answer says, and how much of it there is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// The body's code: 200, or the request's refusal.
    pub(super) code: i64,
    /// The body.
    pub(super) body: String,
    /// Messages in it.
    pub(super) messages: u64,
    /// References it lists as failed.
    pub(super) failed: u64,
}

impl World {
    /// A world of inserted messages only.
    pub fn explicit() -> Self {
        Self { kind: Kind::Explicit, ..Self::default() }
    }

    /// The world that holds every reference which [`write_references`](super::write_references) makes from `seed`.
    pub fn generated(seed: u64) -> Self {
        Self { kind: Kind::Generated, seed, ..Self::default() }
    }

    /// The world that holds every reference.
    pub fn any() -> Self {
        Self { kind: Kind::Any, ..Self::default() }
    }

    /// Adds a message, in place of one with the same conversation and ID.
    pub fn insert(&mut self, message: Message) {
        let versions = self.messages.entry(message.id).or_default();
        versions.retain(|other| other.conversation.key != message.conversation.key);
        versions.push(message);
    }

    /// Adds messages.
    pub fn extend(&mut self, messages: impl IntoIterator<Item = Message>) {
        messages.into_iter().for_each(|message| self.insert(message));
    }

    /// Edits an inserted message as its sender would, at the time `modify_time`.
    ///
    /// # Panics
    ///
    /// When no message of this ID was inserted.
    pub fn edit(&mut self, id: i64, text: &str, modify_time: i64) {
        for message in self.inserted_mut(id) {
            message.set("text", quoted(text));
            message.set("modify_time", modify_time.to_string());
            message.set("modify_account_id", quoted(&message.conversation.owner.clone()));
        }
    }

    /// Recalls an inserted message: from now on it does not exist, whoever asks.
    ///
    /// # Panics
    ///
    /// When no message of this ID was inserted.
    pub fn recall(&mut self, id: i64) {
        for message in self.inserted_mut(id) {
            *message = message.clone().fate(Fate::Missing).seen_by([], Fate::Missing);
        }
    }

    fn inserted_mut(&mut self, id: i64) -> &mut [Message] {
        self.messages.get_mut(&id).unwrap_or_else(|| panic!("no message {id} was inserted"))
    }

    /// Answers every request for this conversation, in the name of the owner that `conversation_id` begins with, with
    /// `code`: 109404 for an owner who left the team, 102404 for an account that is gone.
    ///
    /// # Panics
    ///
    /// When `conversation_id` is not of the form `owner|type|other`.
    pub fn refuse(&mut self, conversation_id: &str, code: i64) {
        let conversation = Conversation::parse(conversation_id)
            .unwrap_or_else(|| panic!("{conversation_id:?} is not of the form owner|type|other"));
        self.refuse_to(&conversation, code);
    }

    fn refuse_to(&mut self, conversation: &Conversation, code: i64) {
        self.refusals.insert(as_owner_sees(conversation), code);
    }

    /// Undoes [`Self::refuse`].
    pub fn allow(&mut self, conversation_id: &str) {
        if let Some(conversation) = Conversation::parse(conversation_id) {
            self.refusals.remove(&as_owner_sees(&conversation));
        }
    }

    /// Adds the messages and refusals of a file, one JSON object a line; empty lines are passed over.
    ///
    /// A message: `conversation_id`, `message_server_id`, `create_time`, and optionally `item` (the object to answer,
    /// exactly), `fate` (`found`, `missing`, `{"failed": 398}`, `unanswered`, `poison`, `{"refused": 404}`), `seen_by`
    /// (accounts), `hidden_as` (a fate), `at_first` (`[{"failed": 503}, 2]`: the fate of the first two asks), `echo` (`twice`, `stranger`, `both_lists`), `quirks` (see [`Quirk`]).
    /// A refusal: `conversation_id` and `refuse`, a code.
    ///
    /// # Errors
    ///
    /// The line's number and what is wrong with it.
    pub fn extend_from_json_lines(&mut self, text: &str) -> Result<(), String> {
        for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            match Entry::read(line).map_err(|error| format!("line {}: {error}", n + 1))? {
                Entry::Message(message) => self.insert(*message),
                Entry::Refusal { conversation, code } => self.refuse_to(&conversation, code),
            }
        }
        Ok(())
    }

    /// Whether every request for this conversation in this owner's name is refused.
    fn refusal(&self, conversation: &Conversation) -> Option<i64> {
        if self.refusals.is_empty() {
            return None;
        }
        self.refusals.get(&as_owner_sees(conversation)).copied()
    }

    fn inserted(&self, conversation: &Conversation, id: i64) -> Option<&Message> {
        self.messages.get(&id)?.iter().find(|message| message.conversation.key == conversation.key)
    }

    /// What becomes of a reference, and the inserted message that it names.
    fn fate(&self, dialogue: &Dialogue<'_>, id: i64, create_time: i64) -> (Fate, Option<&Message>) {
        if self.forgotten.is_some_and(|forgotten| create_time <= forgotten) {
            return (Fate::Missing, None);
        }
        if let Some(message) = self.inserted(dialogue.conversation, id) {
            let fate = message.fate_for(&dialogue.conversation.owner);
            // A wrong time finds nothing, but does not make a request that may not be made.
            if message.create_time != create_time && !matches!(fate, Fate::Poison | Fate::Refused(_)) {
                return (Fate::Missing, None);
            }
            return (fate, Some(message));
        }
        let exists = match self.kind {
            Kind::Generated => dialogue.holds(id, create_time),
            Kind::Any => true,
            Kind::Explicit => false,
        };
        let draw = unit(mix(self.seed ^ mix(id as u64) ^ 0xb));
        let fate = if !exists || draw < self.missing {
            Fate::Missing
        } else if draw < self.missing + self.unanswered {
            Fate::Unanswered
        } else {
            Fate::Found
        };
        (fate, None)
    }

    /// Answers a well-formed request at this time, in milliseconds since the epoch.
    pub(super) fn answer(
        &mut self,
        conversation: &Conversation,
        references: &[(i64, i64)],
        unordered: bool,
        now: i64,
    ) -> Answer {
        self.forgotten = (self.retention_ms > 0).then(|| now.saturating_sub_unsigned(self.retention_ms));
        let answer = self.look_up(conversation, references, unordered);
        for (id, _) in references {
            for message in self.messages.get_mut(id).into_iter().flatten() {
                if message.conversation.key == conversation.key {
                    message.at_first.1 = message.at_first.1.saturating_sub(1);
                }
            }
        }
        answer
    }

    fn look_up(&self, conversation: &Conversation, references: &[(i64, i64)], unordered: bool) -> Answer {
        if let Some(code) = self.refusal(conversation) {
            return refused(code, "the owner may not see this conversation");
        }
        let dialogue = Dialogue::new(self.seed, conversation);
        if !self.messages.is_empty() {
            for &(id, create_time) in references {
                match self.fate(&dialogue, id, create_time).0 {
                    Fate::Poison => return refused(414, "parameter error"),
                    Fate::Refused(code) => return refused(code, "refused because of one reference"),
                    _ => {}
                }
            }
        }
        let mut answer =
            Answer { code: 200, body: String::with_capacity(128 + 704 * references.len()), ..Answer::default() };
        let mut failed = String::new();
        answer.body.push_str("{\"code\":200,\"msg\":\"success\",\"data\":{\"success_list\":[");
        let empty = answer.body.len();
        let mut order = Cow::Borrowed(references);
        if unordered {
            order.to_mut().sort_unstable_by_key(|&(id, _)| mix(id as u64));
            if order.as_ref() == references {
                order.to_mut().reverse();
            }
        }
        for &reference in order.iter() {
            self.push(&dialogue, reference, &mut answer, &mut failed);
        }
        // An empty list may be absent, null or present: readers must not care.
        let form = references.first().map_or(0, |&(id, _)| id % 3);
        if answer.body.len() > empty {
            answer.body.pop();
            answer.body.push(']');
        } else {
            answer.body.truncate(empty - 1);
            answer.body.push_str(if form == 0 { "[]" } else { "null" });
        }
        failed.pop();
        if answer.failed > 0 || form == 2 {
            answer.body.push_str(",\"failed_list\":[");
            answer.body.push_str(&failed);
            answer.body.push(']');
        } else if form == 1 {
            answer.body.push_str(",\"failed_list\":null");
        }
        answer.body.push_str("}}");
        answer
    }

    /// Appends the answer to one reference, each piece followed by a comma.
    fn push(&self, dialogue: &Dialogue<'_>, (id, create_time): (i64, i64), answer: &mut Answer, failed: &mut String) {
        let (fate, message) = self.fate(dialogue, id, create_time);
        let mut fail = |code: i64, reason: &str| {
            failed.push_str(&format!(
                r#"{{"message_server_id":{id},"create_time":{create_time},"error_code":{code},"error_msg":"{reason}"}},"#
            ));
            answer.failed += 1;
        };
        match fate {
            Fate::Missing => return fail(107_404, "message not exist"),
            Fate::Failed(code) => return fail(code, "message not available"),
            Fate::Unanswered | Fate::Poison | Fate::Refused(_) => return,
            Fate::Found => {}
        }
        if message.is_some_and(|message| message.echo == Some(Echo::BothLists)) {
            fail(107_404, "message not exist");
        }
        let Some(message) = message else {
            self.push_generated(dialogue, id, create_time, &mut answer.body);
            answer.messages += 1;
            answer.body.push(',');
            return;
        };
        message.push_item(&mut answer.body);
        answer.body.push(',');
        answer.messages += 1;
        match message.echo {
            Some(Echo::Twice) => message.push_item(&mut answer.body),
            Some(Echo::Stranger) => answer.body.push_str(&dialogue.item(id + 1, create_time + 1)),
            Some(Echo::BothLists) | None => return,
        }
        answer.body.push(',');
        answer.messages += 1;
    }

    fn push_generated(&self, dialogue: &Dialogue<'_>, id: i64, create_time: i64, out: &mut String) {
        let draw = mix(self.seed ^ mix(id as u64) ^ 0xc);
        if self.odd == 0.0 || unit(draw) >= self.odd {
            return out.push_str(&dialogue.item(id, create_time));
        }
        let quirks = Quirk::ALL.len() - 1;
        let conversation_id = as_owner_sees(dialogue.conversation);
        let message = Message::generated_from(self.seed, &conversation_id, id, create_time);
        message.quirk(Quirk::ALL[mix(draw) as usize % quirks]).push_item(out);
    }

    /// How many messages were inserted, by fate under their own owner. For tests and reports.
    pub fn inserted_by_fate(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for message in self.messages.values().flatten() {
            *counts.entry(format!("{:?}", message.fate_for(&message.conversation.owner))).or_default() += 1;
        }
        counts
    }
}

fn as_owner_sees(conversation: &Conversation) -> String {
    format!("{}|{}|{}", conversation.owner, conversation.kind, conversation.other)
}

/// The answer that refuses a request.
pub(super) fn refused(code: i64, reason: &str) -> Answer {
    Answer { code, body: format!("{{\"code\":{code},\"msg\":\"{reason}\",\"data\":{{}}}}"), ..Answer::default() }
}
