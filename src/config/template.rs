//! The file that `init` writes, and `jobs.example.yaml`.

use super::app::App;
use super::document::Document;
use super::job::Job;
use super::setting::{Key, Setting};
use super::sink::{Sink, SinkKind};
use super::source::{Source, SourceKind};

/// A commented `jobs.yaml` for a kind of source and a kind of sink. It is valid as it is; its variables and paths are to
/// be filled.
pub fn template(source: SourceKind, sink: SinkKind) -> String {
    let mut page = Page(TEMPLATE.to_owned());
    page.top(Defaults::Commented, |page| page.job("nightly", source, sink, Defaults::Commented));
    page.0
}

/// `jobs.example.yaml`: every key, with its default in force.
pub fn example() -> String {
    let mut page = Page(EXAMPLE.to_owned());
    let (first_source, first_sink) = (SourceKind::ALL[0], SinkKind::ALL[0]);
    page.top(Defaults::InForce, |page| {
        page.job("nightly", first_source, first_sink, Defaults::InForce);
        let mut sinks = SinkKind::ALL[1..].iter();
        for source in &SourceKind::ALL[1..] {
            let name = source.as_str();
            page.0 += &format!("\n  {name}:\n    app: main\n    source:\n");
            page.kind(&Source::keys(), name, Defaults::LeftOut);
            if let Some(sink) = sinks.next() {
                page.0 += "    sink:\n";
                page.kind(&Sink::keys(), sink.as_str(), Defaults::InForce);
            } else {
                page.0 += &format!("    sink: {{ parquet: {{ path: ./archive-{name} }} }}\n");
            }
        }
    });
    page.0
}

const TEMPLATE: &str = "\
# Jobs of yunxin-archiver. Every key that is commented out shows its default.
#   yunxin-archiver check            is this file right?
#   yunxin-archiver check --connect  do source, sink and credentials work?
#   yunxin-archiver run              archive
# Any value may be env:NAME or file:PATH; a secret must be.
";

const EXAMPLE: &str = "\
# Every key of jobs.yaml, each kind of source and each kind of sink. docs/configuration.md explains them all.
# What is optional has its default here, or an example. Any value may be env:NAME or file:PATH; a secret must be.
";

/// How keys are shown that have a default and need nothing else.
#[derive(Clone, Copy, PartialEq)]
enum Defaults {
    Commented,
    InForce,
    LeftOut,
}

struct Page(String);

impl Page {
    fn top(&mut self, defaults: Defaults, jobs: impl FnOnce(&mut Self)) {
        for key in Document::keys() {
            match key.spec.name {
                "apps" => {
                    self.0 += "\napps:\n  main:\n";
                    self.keys(&App::keys(), "    ", defaults);
                    self.0 += "\n";
                }
                "jobs" => self.0 += "jobs:",
                _ => self.key(&key, "", defaults),
            }
        }
        jobs(self);
    }

    fn job(&mut self, name: &str, source: SourceKind, sink: SinkKind, defaults: Defaults) {
        self.0 += &format!("\n  {name}:\n");
        for key in Job::keys() {
            let kind = match key.spec.name {
                "source" => source.as_str(),
                "sink" => sink.as_str(),
                _ => {
                    self.key(&key, "    ", defaults);
                    continue;
                }
            };
            self.line(&format!("    {}:", key.spec.name), &key);
            self.kind(&key.keys, kind, defaults);
        }
    }

    /// The one kind of source or sink.
    fn kind(&mut self, kinds: &[Key], kind: &str, defaults: Defaults) {
        let before = self.0.len();
        for key in kinds.iter().filter(|key| key.spec.name == kind) {
            self.line(&format!("      {kind}:"), key);
            self.keys(&key.keys, "        ", defaults);
        }
        // All kinds of files share one sample.
        let lines = self.0.split_off(before);
        self.0 += &lines.replace("path: refs.csv    ", &format!("path: {:<12}", format!("refs.{kind}")));
    }

    /// What must be written first, then what has a default.
    fn keys(&mut self, keys: &[Key], margin: &str, defaults: Defaults) {
        let (needed, others): (Vec<&Key>, Vec<&Key>) = keys.iter().partition(|key| key.spec.sample.is_some());
        for key in needed.into_iter().chain(others) {
            self.key(key, margin, defaults);
        }
    }

    fn key(&mut self, key: &Key, margin: &str, defaults: Defaults) {
        let name = key.spec.name;
        match (key.spec.sample, key.spec.default) {
            (Some(sample), _) => self.line(&format!("{margin}{name}: {sample}"), key),
            _ if defaults == Defaults::LeftOut => {}
            (None, default) => {
                let off = defaults == Defaults::Commented && !margin.contains('#');
                let margin = format!("{margin}{}", if off { "# " } else { "" });
                if key.keys.is_empty() {
                    self.line(&format!("{margin}{name}: {}", default.unwrap_or_default()), key);
                } else {
                    self.line(&format!("{margin}{name}:"), key);
                    self.keys(&key.keys, &format!("{margin}  "), defaults);
                }
            }
        }
    }

    /// A line with the first sentence about its key: behind it, or before it where that is too long.
    fn line(&mut self, line: &str, key: &Key) {
        let about = key.spec.summary();
        let whole = format!("{line:<36}  # {about}\n");
        if whole.chars().count() <= 120 {
            self.0 += &whole;
        } else {
            let margin = &line[..line.len() - line.trim_start_matches([' ', '#']).len()];
            let margin = margin.trim_end_matches("# ");
            self.0 += &format!("{margin}# {about}\n{line}\n");
        }
    }
}
