//! What looks wrong about a run as a whole. It is reported whatever the job tolerates.

use std::collections::BTreeMap;

use crate::ledger::Unreported;
use crate::model::failure::Class;
use crate::model::summary::References;
use crate::yunxin::Meaning;

/// The fewest rows or references to judge by.
const ENOUGH: u64 = 100;
/// The share, in percent, that counts as nearly all.
const NEARLY_ALL: u64 = 95;

/// Why messages that are referenced may not exist, for people.
pub(crate) const WHY_ABSENT: &str = "their times may be in another unit or time zone than the job says, or have lost \
    their milliseconds; their conversations may be spelled otherwise; or they may be another app's or account's";

/// What looks wrong about a run with these counts and new failures, each in a sentence that names the likely cause. If
/// nothing does, earlier runs whose failures were not reported are counted as well: a night may take several runs.
pub(super) fn suspicions(
    references: &References,
    new: &BTreeMap<(Class, Option<i64>), u64>,
    untold: &Unreported,
) -> Vec<String> {
    let found = found(references, new);
    if !found.is_empty() || untold.failures.is_empty() {
        return found;
    }
    let mut all = new.clone();
    for (kind, n) in &untold.failures {
        *all.entry(*kind).or_default() += n;
    }
    let accepted = references.accepted + untold.ended;
    self::found(&References { accepted, ..*references }, &all)
}

fn found(references: &References, new: &BTreeMap<(Class, Option<i64>), u64>) -> Vec<String> {
    let rows = references.read - references.skipped;
    // What an earlier run left pending is new as well. Failures that are asked again are not.
    let asked = (references.accepted + references.resumed).saturating_sub(references.pending);
    let count = |counts: fn(Class, Option<i64>) -> bool| -> u64 {
        new.iter().filter(|((class, code), _)| counts(*class, *code)).map(|(_, n)| n).sum()
    };
    let (absent, failed) = (count(is_absent), count(|class, _| class != Class::Invalid));
    let mut found = Vec::new();
    if nearly_all(references.invalid, rows) {
        found.push(format!(
            "{} of {rows} rows are no references: is the file or the query the right one, and do its columns, `format`, \
             `time_unit` and `timezone` fit? `check --connect` shows how rows are understood",
            references.invalid
        ));
    }
    if nearly_all(absent, asked) {
        found.push(format!(
            "{} of {asked} new references do not exist, the API says: {WHY_ABSENT}. `check --connect` shows how rows are \
             understood",
            absent.min(asked)
        ));
    } else if nearly_all(failed, asked) {
        found.push(format!("{} of {asked} new references failed: `failures` says why", failed.min(asked)));
    }
    found
}

fn nearly_all(some: u64, all: u64) -> bool {
    all >= ENOUGH && some * 100 >= all * NEARLY_ALL
}

/// Whether a failure says that the message, or its conversation, does not exist.
pub(super) fn is_absent(class: Class, code: Option<i64>) -> bool {
    match class {
        Class::Unanswered => true,
        Class::Unavailable => code.is_some_and(|code| Meaning::of(code).is_absence()),
        Class::Refused | Class::Transport | Class::Undecodable | Class::Invalid => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(references: References, new: &[(Class, Option<i64>, u64)]) -> Vec<String> {
        found(&references, &new.iter().map(|(class, code, n)| ((*class, *code), *n)).collect())
    }

    fn asked(accepted: u64) -> References {
        References { read: accepted, accepted, ..References::default() }
    }

    #[test]
    fn a_night_in_which_nothing_exists_is_told_from_one_in_which_something_does() {
        let gone = |n| (Class::Unavailable, Some(107_404), n);
        assert_eq!(of(asked(99), &[gone(99)]), [""; 0], "too few to judge by");
        assert_eq!(of(asked(1000), &[gone(949)]), [""; 0]);
        let kinds = [gone(900), (Class::Unavailable, Some(108_404), 30), (Class::Unanswered, None, 20)];
        let found = of(asked(1000), &kinds);
        assert!(found[0].starts_with("950 of 1000 new references do not exist"), "{found:?}");
        let resumed = References { resumed: 100, pending: 20, ..References::default() };
        assert_eq!(of(resumed, &[gone(76)]), [""; 0], "80 have ended");
        assert_eq!(of(References { pending: 0, ..resumed }, &[gone(95)]).len(), 1);
        let retried = References { retried: 1000, ..References::default() };
        assert_eq!(of(retried, &[gone(1000)]), [""; 0], "known failures are no news");
    }

    #[test]
    fn a_night_in_which_everything_fails_otherwise_is_told_as_well() {
        let found = of(asked(100), &[(Class::Transport, None, 90), (Class::Refused, Some(414), 5)]);
        assert_eq!(found, ["95 of 100 new references failed: `failures` says why"]);
        assert_eq!(of(asked(100), &[(Class::Transport, None, 90), (Class::Invalid, None, 100)]), [""; 0]);
    }

    #[test]
    fn rows_that_are_about_something_else_are_not_held_against_a_source() {
        let read = |read, skipped, invalid| References { read, skipped, invalid, ..References::default() };
        assert_eq!(of(read(100, 0, 94), &[]), [""; 0]);
        assert_eq!(of(read(1000, 950, 50), &[]), [""; 0], "too few to judge by");
        let found = of(read(1000, 900, 95), &[]);
        assert!(found[0].starts_with("95 of 100 rows are no references"), "{found:?}");
    }
}
