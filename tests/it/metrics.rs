//! What monitoring is told: metrics in a file, by a Pushgateway and over OTLP; pings; hooks.

#![allow(clippy::float_cmp, reason = "a sample is to be exactly what it was made of")]

mod file;
mod hooks;
mod otlp;
mod pings;
mod pushgateway;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;
use yunxin_archiver::metrics::table;
use yunxin_archiver::simulator::Fate;

use crate::support::server::find_program;
use crate::support::site::{Site, csv, dialogue, message, reference};

/// Samples by name and labels, without the name's prefix and the label `job`.
type Samples = BTreeMap<String, f64>;

/// The samples of a job in a text. `promtool` must find nothing to complain about in it.
fn samples(text: &str, job: &str) -> Samples {
    let mut promtool = Command::new(find_program("promtool", &[]))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && said.is_empty(), "{said}\nof\n{text}");
    let of_job = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        let series = series.strip_prefix("yunxin_archiver_")?;
        let (name, labels) = series.split_once('{')?;
        let labels = labels.strip_prefix(&format!("job=\"{job}\""))?.trim_start_matches(',').trim_end_matches('}');
        let series = if labels.is_empty() { name.to_owned() } else { format!("{name} {labels}") };
        Some((series, value.parse().unwrap()))
    };
    text.lines().filter_map(of_job).collect()
}

/// A site with one message that is there, and one that is not yet.
fn site() -> Site {
    let (refs, mut world) = dialogue("alice|1|bob", 0..1);
    world.insert(message("alice|1|bob", 1).fate(Fate::Missing));
    let site = Site::new(world);
    site.write("refs.csv", csv(&refs));
    site
}

/// Adds keys to the top of `jobs.yaml`.
fn tell(site: &Site, keys: &str) {
    site.write("jobs.yaml", site.read("jobs.yaml").replace("state: state\n", &format!("state: state\n{keys}\n")));
}

/// Adds the message that is not there to the references.
fn spoil(site: &Site) {
    site.write("refs.csv", csv(&[reference("alice|1|bob", 0), reference("alice|1|bob", 1)]));
}

#[test]
fn the_documentation_has_every_metric() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let docs = std::fs::read_to_string(path).unwrap();
    let head = "| metric | label | unit | meaning |\n|---|---|---|---|\n";
    let start = docs.find(head).unwrap() + head.len();
    let end = start + docs[start..].find("\n\n").unwrap() + 1;
    let mut right = docs.clone();
    right.replace_range(start..end, &table());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, right).unwrap();
    } else {
        assert!(docs == right, "docs/metrics.md is not what UPDATE_DOCS=1 makes of it");
    }
}

/// A time of a summary, in seconds.
fn seconds(summary: &Value, key: &str) -> f64 {
    summary[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond() as f64 / 1000.0
}
