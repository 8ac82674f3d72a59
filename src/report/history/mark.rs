//! The marks of endings: each has a form of its own, so that no one needs to tell colours.

use maud::{Markup, html};

use super::Ending;

/// How a run ended. Those that need a look most come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// It completed, but looks wrong as a whole.
    LooksWrong,
    /// It could not go on.
    Failed,
    /// Its process ended without saying how.
    Died,
    /// It completed, with new failures that the job does not tolerate.
    WithFailures,
    /// A deadline or signal stopped it.
    Stopped,
    /// It has not ended yet.
    Running,
    /// It completed.
    Complete,
}

impl Mark {
    /// Every mark, in the order of a legend.
    pub(super) const ALL: [Self; 7] =
        [Self::Complete, Self::WithFailures, Self::LooksWrong, Self::Failed, Self::Died, Self::Stopped, Self::Running];

    /// The mark of an ending. A run that completed and has an error looks wrong.
    pub fn of(ending: Ending, has_error: bool) -> Self {
        match ending {
            Ending::Complete => Self::Complete,
            Ending::Partial if has_error => Self::LooksWrong,
            Ending::Partial => Self::WithFailures,
            Ending::Stopped => Self::Stopped,
            Ending::Failed => Self::Failed,
            Ending::Died => Self::Died,
            Ending::Running => Self::Running,
        }
    }

    /// The ending in words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::WithFailures => "complete, with failures",
            Self::LooksWrong => "complete, but looks wrong",
            Self::Failed => "failed",
            Self::Died => "died",
            Self::Stopped => "stopped",
            Self::Running => "running",
        }
    }

    /// How grave it is.
    pub(super) fn tone(self) -> &'static str {
        match self {
            Self::Complete => "good",
            Self::WithFailures | Self::Stopped => "warn",
            Self::LooksWrong | Self::Failed | Self::Died => "bad",
            Self::Running => "neutral",
        }
    }

    fn id(self) -> &'static str {
        match self {
            Self::Complete => "m-complete",
            Self::WithFailures => "m-failures",
            Self::LooksWrong => "m-wrong",
            Self::Failed => "m-failed",
            Self::Died => "m-died",
            Self::Stopped => "m-stopped",
            Self::Running => "m-running",
        }
    }

    /// The mark. The words stand beside it.
    pub(super) fn draw(self) -> Markup {
        drawn(self.id())
    }
}

const NO_RUN: &str = "m-none";

/// The mark of a day without a run.
pub(super) fn no_run() -> Markup {
    drawn(NO_RUN)
}

fn drawn(id: &str) -> Markup {
    html! { svg.mark.(id) viewBox="0 0 16 16" aria-hidden="true" { use href={ "#" (id) } {} } }
}

/// The forms of all marks, once a page.
pub(super) fn forms() -> Markup {
    let forms = [
        (Mark::Complete.id(), "M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 1 0 0-13z"),
        (Mark::WithFailures.id(), "M8 1.2L15.4 14.4H0.6z"),
        // A lozenge with a stroke and a point cut out.
        (Mark::LooksWrong.id(), "M8 0L16 8L8 16L0 8zM7 3.8V9H9V3.8zM7 10.4V12.4H9V10.4z"),
        (
            Mark::Failed.id(),
            "M3.6 1.5L8 5.9L12.4 1.5L14.5 3.6L10.1 8L14.5 12.4L12.4 14.5L8 10.1L3.6 14.5L1.5 12.4L5.9 8L1.5 3.6z",
        ),
        // A ring with a bar across.
        (
            Mark::Died.id(),
            "M8 1a7 7 0 1 0 0 14a7 7 0 1 0 0-14zM8 3a5 5 0 0 1 3 1L4 11A5 5 0 0 1 8 3zM12 5A5 5 0 0 1 5 12L12 5z",
        ),
        (Mark::Stopped.id(), "M2.5 2.5H13.5V13.5H2.5z"),
        (Mark::Running.id(), "M3.5 1.5L14 8L3.5 14.5z"),
        (NO_RUN, "M5 7.2H11V8.8H5z"),
    ];
    html! {
        svg.forms width="0" height="0" aria-hidden="true" {
            @for (id, path) in forms { symbol #(id) viewBox="0 0 16 16" { path d=(path) fill-rule="evenodd" {} } }
        }
    }
}

/// What the marks mean.
pub(super) fn legend() -> Markup {
    html! {
        ul.legend {
            @for mark in Mark::ALL { li { (mark.draw()) (mark.words()) } }
            li { (no_run()) "no run" }
        }
    }
}
