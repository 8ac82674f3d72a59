//! What was found: counts that add up, by failure, day and account.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};

use crate::model::failure::Class;
use crate::model::reference::Invalid;

/// The rows of the references.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Read {
    /// Rows read.
    pub rows: u64,
    /// Rows about something other than a conversation's message.
    pub skipped: u64,
    /// Rows that are no reference.
    pub invalid: u64,
    /// References outside the range of time.
    pub outside: u64,
    /// References to a message that an earlier reference names.
    pub duplicates: u64,
}

/// Referenced messages by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All of them.
    pub referenced: u64,
    /// Those in the archive.
    pub archived: u64,
    /// Those that are not, but are recorded as failed.
    pub failed: u64,
    /// Those that are not, but are recorded as a failure that an operator dismissed.
    pub dismissed: u64,
    /// Those still to be fetched.
    pub pending: u64,
    /// None of these.
    pub absent: u64,
}

/// A message's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Archived,
    Failed { class: Class, code: Option<i64> },
    Dismissed,
    Pending,
    Absent,
}

impl Counts {
    fn count(&mut self, state: State) {
        self.referenced += 1;
        *match state {
            State::Archived => &mut self.archived,
            State::Failed { .. } => &mut self.failed,
            State::Dismissed => &mut self.dismissed,
            State::Pending => &mut self.pending,
            State::Absent => &mut self.absent,
        } += 1;
    }

    /// Adds others to these.
    pub fn add(&mut self, other: &Self) {
        self.referenced += other.referenced;
        self.archived += other.archived;
        self.failed += other.failed;
        self.dismissed += other.dismissed;
        self.pending += other.pending;
        self.absent += other.absent;
    }
}

/// A reference whose message is not archived, failed, dismissed or pending. As JSON it is a reference of the default form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AbsentReference {
    /// The conversation, spelled as in the reference.
    pub conversation_id: String,
    /// The message's ID. It is text in JSON, because many programs round JSON's numbers.
    #[serde(serialize_with = "as_text")]
    pub message_server_id: i64,
    /// When the message was created, in milliseconds since the epoch.
    pub create_time: i64,
    /// The day of the create time; `None` beyond all calendars.
    #[serde(skip)]
    pub day: Option<Date>,
    /// The account that sees the message, as the reference names it but lower-cased.
    #[serde(skip)]
    pub account: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde hands over")]
fn as_text<S: Serializer>(id: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// The rows of the references.
    pub read: Read,
    /// The messages that they name, each counted once.
    pub total: Counts,
    /// The failed ones by class and code.
    pub failures: BTreeMap<(Class, Option<i64>), u64>,
    /// By day; `None` is for times beyond all calendars.
    pub days: BTreeMap<Option<Date>, Counts>,
    /// By account, lower-cased.
    pub accounts: HashMap<String, Counts>,
    /// The first absent references in order of ID, at most 100.
    pub absent: Vec<AbsentReference>,
    /// The first invalid rows, at most 100.
    pub invalid: Vec<Invalid>,
    /// What is wrong with each file of the archive that cannot be read.
    pub problems: Vec<String>,
    /// The SHA-256 of a line `ID,time,conversation ID` for every referenced message, in order of ID. Of several references
    /// to a message, the first by time and then by conversation ID counts.
    pub references_sha256: String,
}

impl Findings {
    pub(super) fn new(read: Read, invalid: Vec<Invalid>, problems: Vec<String>) -> Self {
        Self {
            read,
            total: Counts::default(),
            failures: BTreeMap::new(),
            days: BTreeMap::new(),
            accounts: HashMap::new(),
            absent: Vec::new(),
            invalid,
            problems,
            references_sha256: String::new(),
        }
    }

    pub(super) fn count(&mut self, state: State, day: Option<Date>, account: &str) {
        self.total.count(state);
        self.days.entry(day).or_default().count(state);
        match self.accounts.get_mut(account) {
            Some(counts) => counts.count(state),
            None => self.accounts.entry(account.to_owned()).or_default().count(state),
        }
        if let State::Failed { class, code } = state {
            *self.failures.entry((class, code)).or_default() += 1;
        }
    }

    /// Whether every row is accounted for.
    pub(super) fn adds_up(&self) -> bool {
        let Read { rows, skipped, invalid, outside, duplicates } = self.read;
        let Counts { referenced, archived, failed, dismissed, pending, absent } = self.total;
        rows == skipped + invalid + outside + duplicates + referenced
            && referenced == archived + failed + dismissed + pending + absent
    }

    /// Whether nothing is absent, and every file of the archive could be read.
    pub fn is_complete(&self) -> bool {
        self.total.absent == 0 && self.problems.is_empty()
    }

    /// Accounts, ordered by absent messages, then by referenced ones, most first.
    pub fn accounts_by_weight(&self) -> Vec<(&str, &Counts)> {
        let mut accounts: Vec<(&str, &Counts)> =
            self.accounts.iter().map(|(name, counts)| (name.as_str(), counts)).collect();
        accounts.sort_unstable_by(|(a, x), (b, y)| {
            (y.absent, y.referenced).cmp(&(x.absent, x.referenced)).then_with(|| a.cmp(b))
        });
        accounts
    }
}

/// The day of a time in milliseconds since the epoch; `None` beyond all calendars.
pub(super) fn day(time: i64, zone: &TimeZone) -> Option<Date> {
    Timestamp::from_millisecond(time).ok().map(|time| zone.to_datetime(time).date())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_that_of_the_zone_also_where_clocks_are_turned() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        for (time, expected) in [
            ("2026-10-24T21:59:59.999Z", "2026-10-24"),
            ("2026-10-24T22:00:00Z", "2026-10-25"),
            ("2026-10-25T22:59:59.999Z", "2026-10-25"),
            ("2026-10-25T23:00:00Z", "2026-10-26"),
            ("2026-10-24T22:00:00.001Z", "2026-10-25"),
        ] {
            let time = time.parse::<Timestamp>().unwrap().as_millisecond();
            assert_eq!(day(time, &berlin).unwrap().to_string(), expected);
        }
        assert_eq!(day(i64::MAX, &berlin), None);
    }
}
