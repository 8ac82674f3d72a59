//! Relativity Short Message Format 2.0: a mail with `rsmf.zip`, which contains `rsmf_manifest.json`.
//!
//! There is one file per conversation and day, and more if a day has more events or text than review tools load well.

mod mail;

use std::collections::{BTreeSet, HashSet};
use std::io::{Cursor, Write as _};

use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use self::mail::mail;
use super::clock::{Clock, utc};
use super::content::Content;
use super::error::ExportError;
use super::item::Item;
use super::output::Output;
use super::selection::title;
use super::transcript::Transcript;
use crate::model::Column;
use crate::model::record::Record;
use crate::model::selection::sides;

const VERSION: &str = "2.0.0";
const PLATFORM: &str = "yunxin";
/// The most events per file that review tools recommend.
const EVENTS: usize = 10_000;
/// The size of events in bytes after which another file begins.
const BYTES: usize = 16 << 20;
/// The sender of a message without one.
const NOBODY: &str = "(no sender)";

/// Writes `c00001/2026-11-22.rsmf` and so on.
pub(super) struct Slices {
    clock: Clock,
    custodians: BTreeSet<String>,
    conversations: u64,
    current: Option<Slice>,
    /// The number of files of the current conversation's current day.
    parts: u32,
}

/// What becomes one file.
struct Slice {
    app_key: String,
    conversation_key: String,
    conversation_type: i64,
    day: String,
    events: Vec<Json>,
    ids: HashSet<i64>,
    bytes: usize,
    participants: BTreeSet<String>,
    transcript: String,
    first: i64,
    last: i64,
}

impl Slices {
    pub(super) fn new(clock: Clock, custodians: BTreeSet<String>) -> Self {
        Self { clock, custodians, conversations: 0, current: None, parts: 0 }
    }

    fn turn(&mut self, record: &Record, output: &mut Output) -> Result<(), ExportError> {
        let day = self.clock.date(record.create_time());
        let (mut new_conversation, mut new_day) = (true, true);
        if let Some(slice) = &self.current {
            new_conversation = slice.app_key != record.app_key() || slice.conversation_key != record.conversation_key();
            new_day = new_conversation || slice.day != day;
            if !new_day && slice.events.len() < EVENTS && slice.bytes < BYTES {
                return Ok(());
            }
            self.close(output)?;
        }
        self.conversations += u64::from(new_conversation);
        self.parts = if new_day { 1 } else { self.parts + 1 };
        let conversation_key = record.conversation_key().to_owned();
        let sides = sides(&conversation_key).map(|(one, other)| [one.to_owned(), other.to_owned()]);
        self.current = Some(Slice {
            app_key: record.app_key().to_owned(),
            conversation_type: record.conversation_type(),
            participants: sides.into_iter().flatten().collect(),
            conversation_key,
            day,
            events: Vec::new(),
            ids: HashSet::new(),
            bytes: 0,
            transcript: String::new(),
            first: record.create_time(),
            last: record.create_time(),
        });
        Ok(())
    }

    fn close(&mut self, output: &mut Output) -> Result<(), ExportError> {
        let Some(slice) = self.current.take() else { return Ok(()) };
        let part = if self.parts > 1 { format!("-{}", self.parts) } else { String::new() };
        let name = format!("c{:05}/{}{part}.rsmf", self.conversations, slice.day.replace([' ', '/'], "_"));
        let custodian = match (self.custodians.len(), self.custodians.first()) {
            (1, Some(account)) if slice.participants.contains(account) => Some(account.as_str()),
            _ => None,
        };
        let zip = slice.zip(custodian).map_err(|error| ExportError::failed(format!("writing {name}"), error))?;
        let mail = slice.mail(&self.clock, custodian, &zip);
        output.write(&name, mail.as_bytes(), slice.events.len() as u64)
    }
}

impl Transcript for Slices {
    fn write(&mut self, item: &Item, output: &mut Output) -> Result<(), ExportError> {
        self.turn(&item.latest, output)?;
        if let Some(slice) = &mut self.current {
            slice.push(item, &self.clock);
        }
        Ok(())
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), ExportError> {
        self.close(output)
    }
}

impl Slice {
    /// Adds a participant; returns its ID.
    fn participant(&mut self, account: Option<&str>) -> String {
        let account = account.filter(|account| !account.is_empty()).unwrap_or(NOBODY).to_lowercase();
        self.participants.insert(account.clone());
        account
    }

    fn push(&mut self, item: &Item, clock: &Clock) {
        let record = &item.latest;
        let content = Content::of(record);
        let body = content.plain();
        let sender = self.participant(record.text(Column::SenderId));
        let mut event = json!({
            "id": record.id().to_string(),
            "type": "message",
            "participant": sender,
            "conversation": self.conversation_key,
            "timestamp": utc(record.create_time()),
            "body": body,
        });
        let mut custom = vec![("Type", content.kind.clone())];
        let root = record.integer(Column::ThreadRootMessageServerId);
        let reply = record.integer(Column::ThreadReplyMessageServerId);
        // A parent must be an event of the same file.
        if let Some(parent) = [root, reply].into_iter().flatten().find(|id| self.ids.contains(id)) {
            event["parent"] = Json::from(parent.to_string());
        }
        custom.extend(root.map(|id| ("Thread", id.to_string())));
        custom.extend(reply.map(|id| ("Answers", id.to_string())));
        custom.extend(content.attached.as_ref().map(|attached| ("File", attached.plain())));
        if item.context {
            custom.push(("Thread context", "not selected itself".to_owned()));
        }
        if let Some(vanished) = &item.vanished {
            event["deleted"] = Json::from(true);
            custom.extend(vanished.noticed_at.map(|time| ("Vanished, noticed", utc(time))));
        }
        custom.extend(record.text(Column::Extension).map(|extension| ("Extension", extension.to_owned())));
        let edits = self.edits(item, &body);
        if !edits.is_empty() {
            event["edits"] = Json::from(edits);
        }
        let custom = custom.into_iter().filter(|(_, value)| !value.is_empty());
        event["custom"] = custom.map(|(name, value)| json!({ "name": name, "value": value })).collect();
        self.transcript.push_str(&format!("[{}] {sender}: {body}\r\n", clock.exact(record.create_time())));
        self.bytes += event.to_string().len();
        self.events.push(event);
        self.ids.insert(record.id());
        self.first = self.first.min(record.create_time());
        self.last = self.last.max(record.create_time());
    }

    /// What every version changed.
    fn edits(&mut self, item: &Item, body: &str) -> Vec<Json> {
        let mut edits = Vec::new();
        let mut versions: Vec<&Record> = item.earlier.iter().collect();
        versions.push(&item.latest);
        let mut previous: Option<String> = None;
        for (n, version) in versions.iter().enumerate() {
            let last = n + 1 == versions.len();
            let new = if last { body.to_owned() } else { Content::of(version).plain() };
            let edited_at = version.integer(Column::ModifyTime);
            if n > 0 || edited_at.is_some() {
                let editor = version.text(Column::ModifyAccountId).or(version.text(Column::SenderId));
                let mut edit = json!({ "participant": self.participant(editor), "new": new });
                if let Some(time) = edited_at {
                    edit["timestamp"] = Json::from(utc(time));
                }
                if let Some(previous) = previous.take() {
                    edit["previous"] = Json::from(previous);
                }
                edits.push(edit);
            }
            previous = Some(new);
        }
        edits
    }

    /// The same for all files of a conversation.
    fn collection(&self) -> String {
        let digest = Sha256::digest(format!("{}\n{}", self.app_key, self.conversation_key));
        hex::encode(&digest[..16])
    }

    fn manifest(&self, custodian: Option<&str>) -> Json {
        let accounts: Vec<&String> = self.participants.iter().collect();
        let participants: Vec<Json> = accounts
            .iter()
            .map(|account| json!({ "id": account, "display": account, "account_id": account }))
            .collect();
        let mut conversation = json!({
            "id": self.conversation_key,
            "display": title(&self.conversation_key),
            "platform": PLATFORM,
            "type": if self.conversation_type == 1 { "direct" } else { "channel" },
            "participants": accounts,
            "custom": [{ "name": "AppKey", "value": self.app_key }],
        });
        if let Some(custodian) = custodian {
            conversation["custodian"] = Json::from(custodian);
        }
        json!({
            "version": VERSION,
            "participants": participants,
            "conversations": [conversation],
            "events": self.events,
            "eventcollectionid": self.collection(),
        })
    }

    fn zip(&self, custodian: Option<&str>) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        // A fixed time: the same messages make the same file.
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(DateTime::default());
        zip.start_file("rsmf_manifest.json", options)?;
        zip.write_all(&serde_json::to_vec(&self.manifest(custodian))?)?;
        Ok(zip.finish()?.into_inner())
    }

    fn mail(&self, clock: &Clock, custodian: Option<&str>, zip: &[u8]) -> String {
        let collection = self.collection();
        let accounts: Vec<&str> = self.participants.iter().map(String::as_str).collect();
        let (subject, accounts) =
            (format!("{}, {} ({})", title(&self.conversation_key), self.day, clock.name()), accounts.join(", "));
        let (begin, end, events) = (utc(self.first), utc(self.last), self.events.len().to_string());
        let mut headers = vec![
            ("Subject", &*subject),
            ("X-RSMF-Version", VERSION),
            ("X-RSMF-Generator", concat!("yunxin-archiver ", env!("CARGO_PKG_VERSION"))),
            ("X-RSMF-BeginDate", &begin),
            ("X-RSMF-EndDate", &end),
            ("X-RSMF-EventCount", &events),
            ("X-RSMF-Application", "NetEase Yunxin"),
        ];
        headers.extend(custodian.map(|custodian| ("X-RSMF-Custodian", custodian)));
        headers.extend([
            ("X-RSMF-Participants", &*accounts),
            ("X-RSMF-AttachmentCount", "0"),
            ("X-RSMF-EventCollectionID", &*collection),
        ]);
        let id = format!("{collection}-{}-{}", self.day, self.first);
        mail(&id, self.first, &headers, &self.transcript, "rsmf.zip", zip)
    }
}
