//! Where the time of a run went: its stages, such as the reading of the source and each commit.

use jiff::{SignedDuration, Timestamp};

/// The stages of a run, in the order in which they ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// At most as many as are kept.
    pub stages: Vec<Stage>,
    /// Further stages, of which nothing is known.
    pub dropped: u64,
    /// Time from the first request to the last answer.
    pub fetching: SignedDuration,
}

/// A stretch of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// What was done.
    pub kind: StageKind,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// What was counted meanwhile, by name.
    pub counts: Vec<(&'static str, u64)>,
}

/// What was done in a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageKind {
    /// The source was read into the ledger.
    Intake,
    /// What was planned was asked for.
    Fetch,
    /// What one owner did not get was asked for under another.
    FollowUps,
    /// What was refused for now was waited for and asked for once more.
    Wave,
    /// What archived messages link to was asked for.
    Links,
    /// Archived messages were asked for again.
    Refetch,
    /// Messages became part of the archive.
    Commit,
    /// The manifest was written.
    Manifest,
}

impl StageKind {
    /// Its name in a trace.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Fetch => "fetch",
            Self::FollowUps => "follow-up asks",
            Self::Wave => "wave",
            Self::Links => "thread links",
            Self::Refetch => "refetch",
            Self::Commit => "commit",
            Self::Manifest => "manifest",
        }
    }
}
