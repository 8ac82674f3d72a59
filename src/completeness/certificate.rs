//! The certificate of completeness: the findings as a page to hand over.
//!
//! It is pure: [`Examined`] and [`Findings`](super::findings::Findings) go in, and [`Examined::page`] returns text. Whatever
//! they hold is text on the page, never markup. The page runs nothing and loads nothing.

mod page;
mod tables;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::archive::read::Origin;
use crate::page::figures::{time, zone};

/// Where failures and pending references were looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KnownFailures {
    /// In the job's ledger.
    Ledger,
    /// In a file, by its name. It knows failures, but not what is pending.
    File(String),
    /// Nowhere.
    Nowhere,
}

impl KnownFailures {
    /// Whether a message that failed can be told from one that is absent.
    pub fn is_known(&self) -> bool {
        *self != Self::Nowhere
    }
}

/// What is known of the archive's own integrity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integrity {
    /// It was not examined.
    Unexamined,
    /// It was examined just before without finding a fault.
    Sound,
    /// It was examined just before, and it is damaged.
    Broken,
}

/// What was examined.
#[derive(Debug, Clone)]
pub struct Examined {
    /// This program's version.
    pub version: String,
    /// When the examination began.
    pub started_at: Timestamp,
    /// When the page was made.
    pub made_at: Timestamp,
    /// The zone of days and times.
    pub timezone: TimeZone,
    /// The job, if the archive is that of a job.
    pub job: Option<String>,
    /// The archive.
    pub archive: Origin,
    /// The `AppKey`.
    pub app_key: String,
    /// Where the references were read from.
    pub references: String,
    /// References from this time on, in milliseconds since the epoch.
    pub from: Option<i64>,
    /// References before this time.
    pub to: Option<i64>,
    /// Where failures were looked up.
    pub failures: KnownFailures,
    /// What is known of the archive's own integrity.
    pub integrity: Integrity,
    /// Who examined it.
    pub operator: Option<String>,
    /// For what purpose.
    pub purpose: Option<String>,
    /// The file that lists every absent reference.
    pub absent_file: Option<String>,
}

impl Examined {
    /// The archive in one line.
    pub fn place(&self) -> String {
        match &self.archive {
            Origin::Parquet { path, .. } => path.clone(),
            Origin::Postgres { place, table, .. } => format!("{place}, {table}"),
        }
    }

    /// The range of time in words.
    pub fn range(&self) -> String {
        let zone = zone(&self.timezone);
        match (self.from, self.to) {
            (None, None) => "all times".to_owned(),
            (Some(from), None) => format!("created from {} {zone} on", self.time(from)),
            (None, Some(to)) => format!("created before {} {zone}", self.time(to)),
            (Some(from), Some(to)) => {
                format!("created from {} on and before {} {zone}", self.time(from), self.time(to))
            }
        }
    }

    /// A time in milliseconds since the epoch, in the zone of the page.
    fn time(&self, millis: i64) -> String {
        // A time beyond all calendars may still be in the archive.
        Timestamp::from_millisecond(millis).map_or_else(|_| format!("{millis} ms"), |at| time(at, &self.timezone))
    }

    /// What absent messages are called.
    pub(crate) fn missing(&self) -> &'static str {
        if self.failures.is_known() { "absent" } else { "absent or failed" }
    }
}
