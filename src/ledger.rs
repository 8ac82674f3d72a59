//! The job's durable memory: one SQLite file.
//!
//! A reference is known from the moment that it is planned: as *pending* in a batch to be sent, *carried* to be asked
//! for once more, *archived*, or *failed*. Every change of state is one transaction, durable when the
//! call returns, and none happens in part.
//!
//! | table | holds |
//! |---|---|
//! | `pending` | batches to be sent |
//! | `carried` | references to be asked for once more, until they are cut into batches |
//! | `answered` | who was answered for a team |
//! | `linked` | what archived messages link to, until it is cut into batches or found to be known |
//! | `done` | what recent commits archived, in case a commit is lost |
//! | `intent` | the commit that a database may have made |
//! | `versions` | what the archive holds of messages that are asked for again |
//! | `known` | every ID, in sorted blocks |
//! | `failures` | what did not become a message: open, dismissed and closed |
//! | `runs`, `run_failures`, `timelines`, `commits`, `files`, `manifests` | history |
//!
//! The process that writes holds the job's [`JobLock`]. Reading takes no lock, and works while another process writes.
//!
//! [`Ledger`] is declared in `database`, with the two ways to use it: a query, and a transaction. Each other file adds one
//! capability to it.

mod adoption;
mod answered;
mod beginning;
mod bloom;
mod carried;
mod commit;
mod commits;
mod connection;
mod cut;
mod database;
mod disk;
mod encoding;
mod error;
mod failures;
mod files;
mod history;
mod identity;
mod known;
mod links;
mod lock;
mod manifests;
mod pending;
mod planning;
mod record;
mod refetch;
mod runs;
mod schema;
mod shares_note;
mod times;
mod totals;
mod unarchived;
mod values;

pub use adoption::{
    AdoptedManifest, AdoptedRun, Adoption, ArchiveContents, ArchivedCounts, CarriedCursor, CarriedOver, ReplacedLedger,
};
pub use beginning::{Beginning, FormerLedger, kept};
pub use carried::EarlyFollowUps;
pub use commit::{Commit, FinishedBatch};
pub use cut::{CutOutcome, CutSettings};
pub use database::Ledger;
pub use disk::kept_path;
pub use error::LedgerError;
pub use failures::record::FailedRef;
pub use failures::{Dismissed, EarlierFailure, FailureFilter, FailureRow, FailureState, RetryFilter};
pub use files::CommittedFile;
pub use history::{FailureKind, RunFailures};
pub use identity::Identity;
pub use links::{ExtrasPlanned, Link};
pub use lock::{AppLock, JobLock};
pub use manifests::{LastManifest, ManifestDue, RunNote};
pub use pending::PendingBatch;
pub use planning::{PlanReceipt, Planned, StoredCheckpoint};
pub use record::Recorded;
pub use refetch::{Reviewed, ReviewedCounts};
pub use runs::{RunCounts, RunRow, Unreported};
pub use shares_note::SharesNote;
pub use totals::{Sums, Totals};
pub use unarchived::NotArchived;
