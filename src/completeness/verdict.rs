//! The result in one sentence.

use super::findings::Findings;
use crate::page::figures::{count, counted};

/// The result of an examination in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Its colour: `good`, `warn` or `bad`.
    pub tone: &'static str,
    /// In a few words.
    pub badge: &'static str,
    /// In a sentence.
    pub sentence: String,
}

/// What the findings amount to. `knows_failures` says whether there was a record of failures.
pub fn verdict(findings: &Findings, knows_failures: bool) -> Verdict {
    let total = &findings.total;
    let all = count(total.referenced);
    let say = |tone, badge, sentence| Verdict { tone, badge, sentence };
    if total.absent > 0 {
        let absent = if total.absent == total.referenced {
            format!("None of the {} that the references name", counted(total.referenced, "message", "messages"))
        } else if total.absent == 1 {
            format!("One of the {all} messages that the references name")
        } else {
            format!("{} of the {all} messages that the references name", count(total.absent))
        };
        let none = total.absent == total.referenced;
        let sentence = match (none, knows_failures) {
            (true, true) => format!("{absent} is in the archive, recorded as failed, or pending: they are absent."),
            (false, true) if total.absent == 1 => {
                format!("{absent} is absent: it is neither in the archive, nor recorded as failed, nor pending.")
            }
            (false, true) => {
                format!("{absent} are absent: they are neither in the archive, nor recorded as failed, nor pending.")
            }
            (true, false) => format!(
                "{absent} is in the archive. Failures and pending references were not available; they may explain some of this."
            ),
            (false, false) => format!(
                "{absent} {} not in the archive. Failures and pending references were not available; they may explain some of this.",
                if total.absent == 1 { "is" } else { "are" }
            ),
        };
        return say("bad", "incomplete", sentence);
    }
    if !findings.problems.is_empty() {
        let files = counted(findings.problems.len() as u64, "file", "files");
        return say("bad", "archive damaged", format!("Nothing is absent, and {files} of the archive cannot be read."));
    }
    if total.referenced == 0 {
        return say("warn", "nothing referenced", "The references name no message, so this shows nothing.".to_owned());
    }
    if total.archived == total.referenced {
        let sentence = match total.referenced {
            1 => "The one message that the references name is in the archive.".to_owned(),
            2 => "Both messages that the references name are in the archive.".to_owned(),
            _ => format!("All {all} messages that the references name are in the archive."),
        };
        return say("good", "complete", sentence);
    }
    let mut sentence = format!(
        "Nothing is absent: of {} that the references name, {} in the archive",
        counted(total.referenced, "message", "messages"),
        is(total.archived)
    );
    if total.failed > 0 {
        sentence.push_str(&format!(", {} recorded as failed with the reason", is(total.failed)));
    }
    if total.dismissed > 0 {
        sentence.push_str(&format!(", {} recorded as failed and dismissed by an operator", is(total.dismissed)));
    }
    if total.pending > 0 {
        sentence.push_str(&format!(", {} still to be fetched", is(total.pending)));
    }
    sentence.push('.');
    let badge = if total.pending > 0 { "nothing absent, some pending" } else { "complete, with failures" };
    say("warn", badge, sentence)
}

fn is(number: u64) -> String {
    format!("{} {}", count(number), if number == 1 { "is" } else { "are" })
}
