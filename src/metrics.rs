//! The metrics of jobs: values in, the text format of Prometheus out.
//!
//! [`FAMILIES`] is the one list of them. The text, what is sent over OTLP, and the table in docs/metrics.md follow from it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;

use crate::model::failure::Class;
use crate::model::summary::{Bytes, JobSummary, References, Requests};
use crate::model::trace::Trace;

/// The shortest time that the quota counts in: a second, and as much more as keeps a late request from falling into it.
const WINDOW_SECONDS: f64 = 1.009;

/// What is told of a job whose run has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct JobMetrics {
    /// The job.
    pub job: String,
    /// When the run ended.
    pub ended: Timestamp,
    /// When a run of the job last ended with exit 0, if that is known.
    pub last_success: Option<Timestamp>,
    /// How long the run took.
    pub duration_seconds: f64,
    /// Its exit code.
    pub exit_code: u8,
    /// Its references.
    pub references: References,
    /// Its requests.
    pub requests: Requests,
    /// Its bytes.
    pub bytes: Bytes,
    /// Requests sent, as a share of those that the limit allowed while the run was fetching; 0 to 1.
    pub quota_used: f64,
    /// What the ledger holds; none if there is no ledger that can be read.
    pub standing: Option<Standing>,
}

/// What the ledger of a job holds after a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Standing {
    /// References that still have to be asked for.
    pub pending: u64,
    /// Open failures by class.
    pub open_failures: BTreeMap<Class, u64>,
    /// How old the newest reference is that the cursor has passed; none if the cursor is no time.
    pub cursor_lag_seconds: Option<f64>,
    /// Time until the oldest pending reference leaves the vendor's retention; none if nothing is pending or the retention
    /// is not known.
    pub oldest_pending_retention_seconds: Option<f64>,
    /// Pending references that will be gone before the job gets to them; none if the retention is not known.
    pub expiring: Option<u64>,
}

impl JobMetrics {
    /// What a run says of itself, with a limit of so many requests a second.
    pub fn of_run(summary: &JobSummary, trace: &Trace, limit: u32) -> Self {
        let seconds = trace.fetching.as_secs_f64().max(WINDOW_SECONDS);
        Self {
            job: summary.job.clone(),
            ended: summary.finished_at,
            last_success: None,
            duration_seconds: summary.finished_at.duration_since(summary.started_at).as_secs_f64().max(0.0),
            exit_code: summary.exit_code,
            references: summary.references,
            requests: summary.requests,
            bytes: summary.bytes,
            quota_used: (summary.requests.sent as f64 / (seconds * f64::from(limit.max(1)))).min(1.0),
            standing: None,
        }
    }

    /// Every sample.
    pub fn samples(&self) -> Vec<Sample> {
        let of = |family: &'static Family| {
            let sample = move |(label, value)| Sample { family, label: family.label.zip(label), value };
            (family.values)(self).into_iter().map(sample)
        };
        FAMILIES.iter().flat_map(of).collect()
    }
}

/// One number of a job.
#[derive(Debug, Clone)]
pub struct Sample {
    /// What it is a number of.
    pub family: &'static Family,
    /// The name and value of a label beside the job's.
    pub label: Option<(&'static str, String)>,
    /// The number.
    pub value: f64,
}

/// A metric.
#[derive(Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// The unit, as OpenTelemetry writes it.
    pub unit: &'static str,
    /// The label beside `job`.
    pub label: Option<&'static str>,
    /// What it means.
    pub help: &'static str,
    values: fn(&JobMetrics) -> Values,
}

/// Numbers with the values of the label, if there is one.
type Values = Vec<(Option<String>, f64)>;

fn one(value: impl Into<Option<f64>>) -> Values {
    value.into().map(|value| (None, value)).into_iter().collect()
}

fn each<const N: usize>(values: [(&str, u64); N]) -> Values {
    values.map(|(label, value)| (Some(label.to_owned()), value as f64)).into()
}

fn seconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1000.0
}

/// When the last success was. Runs that do not succeed keep the value of those before them.
const LAST_SUCCESS: &str = "yunxin_archiver_last_success_timestamp_seconds";

/// Every metric. All are gauges with the label `job`.
pub static FAMILIES: [Family; 14] = [
    Family {
        name: "yunxin_archiver_build_info",
        unit: "",
        label: Some("version"),
        help: "The version of the program that ran; the value is 1.",
        values: |_| each([(env!("CARGO_PKG_VERSION"), 1)]),
    },
    Family {
        name: "yunxin_archiver_last_run_timestamp_seconds",
        unit: "s",
        label: None,
        help: "When the last run ended, in seconds since the epoch.",
        values: |job| one(seconds(job.ended)),
    },
    Family {
        name: LAST_SUCCESS,
        unit: "s",
        label: None,
        help: "When the command run last ended with exit 0 for the job, in seconds since the epoch.",
        values: |job| one(job.last_success.map(seconds)),
    },
    Family {
        name: "yunxin_archiver_last_run_duration_seconds",
        unit: "s",
        label: None,
        help: "How long the last run took.",
        values: |job| one(job.duration_seconds),
    },
    Family {
        name: "yunxin_archiver_last_run_exit_code",
        unit: "",
        label: None,
        help: "The exit code of the job in the last run.",
        values: |job| one(f64::from(job.exit_code)),
    },
    Family {
        name: "yunxin_archiver_last_run_references",
        unit: "{reference}",
        label: Some("outcome"),
        help: "References of the last run by where they ended; together all that it read, resumed or retried.",
        values: |job| {
            let References { skipped, invalid, duplicate, archived, failed, pending, .. } = job.references;
            each([
                ("archived", archived),
                ("failed", failed),
                ("pending", pending),
                ("duplicate", duplicate),
                ("invalid", invalid),
                ("skipped", skipped),
            ])
        },
    },
    Family {
        name: "yunxin_archiver_last_run_requests",
        unit: "{request}",
        label: Some("result"),
        help: "Requests of the last run: ok, throttled (416 or 429) and failed (every other answer, or none) are together \
               all that were sent; those of them that were not the first try are counted as retried too.",
        values: |job| {
            let Requests { sent, ok, retried, throttled, .. } = job.requests;
            let failed = sent.saturating_sub(ok + throttled);
            each([("ok", ok), ("throttled", throttled), ("failed", failed), ("retried", retried)])
        },
    },
    Family {
        name: "yunxin_archiver_last_run_bytes",
        unit: "By",
        label: Some("kind"),
        help: "Bytes of the last run: answers received, decompressed; and what was written to the archive.",
        values: |job| each([("received", job.bytes.received), ("written", job.bytes.written)]),
    },
    Family {
        name: "yunxin_archiver_last_run_quota_used_ratio",
        unit: "1",
        label: None,
        help: "Requests of the last run as a share of those that the limit allowed while it was fetching, 0 to 1.",
        values: |job| one(job.quota_used),
    },
    Family {
        name: "yunxin_archiver_pending_references",
        unit: "{reference}",
        label: None,
        help: "References that the next run still has to ask for.",
        values: |job| one(job.standing.as_ref().map(|standing| standing.pending as f64)),
    },
    Family {
        name: "yunxin_archiver_open_failures",
        unit: "{failure}",
        label: Some("class"),
        help: "Failures that are open, by class.",
        values: |job| {
            let Some(standing) = &job.standing else { return Values::new() };
            let open = |class: Class| standing.open_failures.get(&class).copied().unwrap_or_default();
            each(Class::ALL.map(|class| (class.as_str(), open(class))))
        },
    },
    Family {
        name: "yunxin_archiver_cursor_lag_seconds",
        unit: "s",
        label: None,
        help: "How old the newest reference was, when the last run ended, that the cursor has passed; absent if the cursor \
               is no time.",
        values: |job| one(job.standing.as_ref().and_then(|standing| standing.cursor_lag_seconds)),
    },
    Family {
        name: "yunxin_archiver_oldest_pending_retention_seconds",
        unit: "s",
        label: None,
        help: "Time, when the last run ended, until the oldest pending reference leaves the vendor's retention; negative if \
               it has; absent if nothing is pending or the retention is not set.",
        values: |job| one(job.standing.as_ref().and_then(|standing| standing.oldest_pending_retention_seconds)),
    },
    Family {
        name: "yunxin_archiver_expiring_references",
        unit: "{reference}",
        label: None,
        help: "Pending references that will leave the vendor's retention before the job gets to them; absent if the \
               retention is not set.",
        values: |job| one(job.standing.as_ref().and_then(|standing| standing.expiring).map(|n| n as f64)),
    },
];

/// The text format of Prometheus, for these jobs and for others that an earlier text tells of.
pub fn text(jobs: &[JobMetrics], former: &str, is_kept: impl Fn(&str) -> bool) -> String {
    let samples: Vec<(&str, Sample)> =
        jobs.iter().flat_map(|job| job.samples().into_iter().map(|sample| (job.job.as_str(), sample))).collect();
    let is_new = |name: &str| jobs.iter().any(|job| job.job == name);
    let mut text = String::new();
    for family in &FAMILIES {
        let kept = lines(former, family.name).filter(|(job, ..)| !is_new(job) && is_kept(job));
        let mut found: Vec<(&str, String)> = kept.map(|(job, line, _)| (job, line.to_owned())).collect();
        let new = samples.iter().filter(|(_, sample)| std::ptr::eq(sample.family, family));
        found.extend(new.map(|(job, sample)| (*job, line(job, sample))));
        found.sort_by_key(|(job, _)| *job);
        if !found.is_empty() {
            let Family { name, help, .. } = family;
            text += &format!("# HELP {name} {help}\n# TYPE {name} gauge\n");
            for (_, line) in found {
                text += &format!("{line}\n");
            }
        }
    }
    text
}

/// When a job last succeeded, as an earlier text has it.
pub fn last_success(former: &str, job: &str) -> Option<Timestamp> {
    let (.., seconds) = lines(former, LAST_SUCCESS).find(|(name, ..)| *name == job)?;
    Timestamp::from_millisecond((seconds * 1000.0).round() as i64).ok()
}

fn line(job: &str, sample: &Sample) -> String {
    let mut line = format!("{}{{job=\"{}\"", sample.family.name, escaped(job));
    if let Some((name, value)) = &sample.label {
        let _ = write!(line, ",{name}=\"{}\"", escaped(value));
    }
    line + &format!("}} {}", sample.value)
}

/// The lines of a metric in a text that [`text`] made: job, line, value. Whatever else there is, is passed over.
fn lines<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, &'a str, f64)> {
    text.lines().filter_map(move |line| {
        let (job, rest) = line.strip_prefix(name)?.strip_prefix("{job=\"")?.split_once('"')?;
        let (_, value) = rest.rsplit_once("} ")?;
        Some((job, line, value.parse().ok()?))
    })
}

/// The value of a label between quotes.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The table of docs/metrics.md: one row for each metric.
pub fn table() -> String {
    let row = |Family { name, unit, label, help, .. }: &Family| {
        let label = label.map(|label| format!("`{label}`")).unwrap_or_default();
        let unit = match *unit {
            "s" => "seconds",
            "By" => "bytes",
            "1" => "ratio",
            unit => unit.trim_matches(['{', '}']),
        };
        format!("| `{name}` | {label} | {unit} | {help} |\n")
    };
    FAMILIES.iter().map(row).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp)]
mod tests {
    use jiff::SignedDuration;
    use proptest::prelude::*;

    use super::*;
    use crate::model::summary::{Rates, ThreadExtras};

    fn job(name: &str, succeeded: Option<i64>) -> JobMetrics {
        JobMetrics {
            job: name.to_owned(),
            ended: Timestamp::from_second(1_790_000_000).unwrap(),
            last_success: succeeded.map(|at| Timestamp::from_millisecond(at).unwrap()),
            duration_seconds: 0.25,
            exit_code: 3,
            references: References { archived: 7, ..References::default() },
            requests: Requests { sent: 9, ok: 5, throttled: 1, retried: 2, ..Requests::default() },
            bytes: Bytes::default(),
            quota_used: 0.5,
            standing: Some(Standing { pending: 4, expiring: Some(1), ..Standing::default() }),
        }
    }

    #[test]
    fn a_job_that_did_not_run_keeps_its_lines_and_one_that_is_gone_does_not() {
        let former = text(&[job("a", Some(1_500)), job("gone", None)], "", |_| true);
        let now = text(&[job("b", None)], &former, |name| name != "gone");
        assert_eq!(last_success(&now, "a"), Some(Timestamp::from_millisecond(1_500).unwrap()));
        assert_eq!(last_success(&now, "b"), None);
        assert!(!now.contains("gone"), "{now}");
        let references: Vec<&str> = now.lines().filter(|line| line.contains("last_run_references{")).collect();
        assert_eq!(references.len(), 12, "{now}");
        assert_eq!(references[0], "yunxin_archiver_last_run_references{job=\"a\",outcome=\"archived\"} 7");
        assert!(now.contains("yunxin_archiver_last_run_requests{job=\"b\",result=\"failed\"} 3\n"), "{now}");
        assert_eq!(text(&[job("b", None)], &now, |_| true), now, "the same again changes nothing");
    }

    #[test]
    fn the_quota_is_used_as_far_as_requests_could_be_sent_while_fetching() {
        let mut summary: JobSummary = serde_json::from_value(serde_json::json!({
            "job": "a", "run_id": null, "outcome": "complete", "exit_code": 0, "error": null, "codes": {}, "failures": {},
            "started_at": "2026-01-31T00:00:00Z", "finished_at": "2026-01-31T01:00:00Z", "files": [],
            "references": References::default(), "thread_extras": ThreadExtras::default(), "bytes": Bytes::default(),
            "requests": Requests::default(), "rates": Rates::default(),
        }))
        .unwrap();
        let used = |sent, millis, summary: &mut JobSummary| {
            summary.requests.sent = sent;
            let trace = Trace { fetching: SignedDuration::from_millis(millis), ..Trace::default() };
            (JobMetrics::of_run(summary, &trace, 100).quota_used * 1_000.0).round()
        };
        assert_eq!(used(150, 3_000, &mut summary), 500.0);
        assert_eq!(used(0, 0, &mut summary), 0.0);
        assert_eq!(used(100, 1, &mut summary), 991.0);
        assert_eq!(used(1_000, 1, &mut summary), 1_000.0);
    }

    proptest! {
        #[test]
        fn no_label_ends_its_quotes_or_its_line(value in "\\PC*|[\"\\\\\n}a]{0,9}") {
            let quoted = escaped(&value);
            prop_assert!(!quoted.contains('\n'));
            let mut read = String::new();
            let mut rest = quoted.chars();
            while let Some(character) = rest.next() {
                prop_assert_ne!(character, '"');
                read.push(match (character, character == '\\') {
                    (_, true) => match rest.next() { Some('n') => '\n', Some(other) => other, None => '?' },
                    (plain, false) => plain,
                });
            }
            prop_assert_eq!(read, value);
        }

        #[test]
        fn no_former_text_is_misread(former in "\\PC*|(yunxin_archiver_build_info\\{job=\"[a\"]?\\}? ?1?\n?){0,3}") {
            let now = text(&[job("b", Some(2_000))], &former, |_| true);
            prop_assert_eq!(last_success(&now, "b"), Some(Timestamp::from_millisecond(2_000).unwrap()));
        }
    }
}
