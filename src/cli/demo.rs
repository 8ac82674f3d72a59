//! `demo [DIR]`: runs a whole job against a simulated API, then says what to look at.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

use super::arguments::{Demo, Run, RunOptions};
use super::{Context, Exit, assemble, output, run, signals};
use crate::config::Config;
use crate::model::summary::Summary;
use crate::run::Stop;
use crate::simulator::{self, APP_KEY, APP_SECRET, DemoWorld};

/// The demo's last day ends here: 2026-11-01T00:00:00Z. Fixed, so that every demo is the same.
const END: i64 = 1_793_491_200_000;
const SEED: u64 = 20_261_101;

pub(super) async fn demo(context: &Context, arguments: Demo) -> Result<u8, Exit> {
    let stop = Stop::default();
    signals::watch(&stop)?;
    let directory = &arguments.directory;
    let cannot = |error: std::io::Error| Exit::words(format!("{} cannot be used: {error}", directory.display()));
    let again = directory.join("jobs.yaml").exists();
    if !again && directory.exists() && fs::read_dir(directory).map_err(cannot)?.next().is_some() {
        return Err(Exit::words(format!(
            "{} is not empty and not a demo: name another directory",
            directory.display()
        )));
    }
    let world = DemoWorld::new(SEED, END);
    let service = simulator::start_with(simulator::Settings::default(), world.world()).map_err(cannot)?;
    fs::create_dir_all(directory).map_err(cannot)?;
    world
        .write_references(BufWriter::new(File::create(directory.join("refs.csv")).map_err(cannot)?))
        .map_err(cannot)?;
    output::replace(&directory.join("secret"), APP_SECRET.as_bytes()).map_err(cannot)?;
    let config = directory.join("jobs.yaml");
    output::replace(&config, configuration(&service.url()).as_bytes()).map_err(cannot)?;
    output::say(&format!(
        "demo: {} in {}; a simulated API at {}, 100 requests per second\n",
        output::counted(world.expected().read, "reference", "references"),
        directory.join("refs.csv").display(),
        service.url()
    ));
    let summary_path = directory.join("summary.json");
    let order =
        Run { options: RunOptions { summary: Some(summary_path.clone()), ..RunOptions::default() }, ..Run::default() };
    let context = Context { config: config.clone(), screen: context.screen.clone(), sums_up: false, ..*context };
    let config = Config::load(&config).map_err(Exit::usage)?;
    let jobs = assemble::selected(&config, &order.jobs)?;
    let code = run::run(&context, &config, &jobs, order, stop).await?;
    let stats = service.stats();
    service.stop();
    let summary: Summary = serde_json::from_slice(&fs::read(&summary_path).map_err(cannot)?)?;
    if let Some(job) = summary.jobs.first() {
        show(job, directory, &stats)?;
    }
    // The demo shows a night with a few failures, so exit 3 means success.
    Ok(if code == 3 { 0 } else { code })
}

fn configuration(url: &str) -> String {
    format!(
        "\
version: 1
apps:
  main:
    app_key: {APP_KEY}
    app_secret: file:secret
    endpoints: [\"{url}\"]
jobs:
  demo:
    app: main
    source:
      csv: {{ path: refs.csv }}
    sink:
      parquet: {{ path: archive }}
"
    )
}

fn show(job: &crate::model::summary::JobSummary, directory: &Path, stats: &simulator::Stats) -> Result<(), Exit> {
    let references = &job.references;
    let seconds = job.finished_at.duration_since(job.started_at).as_secs_f64();
    let failures = |class: &str| job.failures.get(class).copied().unwrap_or(0);
    let mut lines = vec![
        String::new(),
        format!("  read        {:>9}   rows of refs.csv", output::count(references.read)),
        format!("  invalid     {:>9}   rows that are not references", output::count(references.invalid)),
        format!("  duplicate   {:>9}   known already", output::count(references.duplicate)),
        format!("  accepted    {:>9}   = read − invalid − duplicate", output::count(references.accepted)),
        format!(
            "  archived    {:>9}   messages in {}",
            output::count(references.archived),
            output::counted(job.files.len() as u64, "file", "files")
        ),
        format!(
            "  failed      {:>9}   {} unavailable, {} unanswered",
            output::count(references.failed),
            output::count(failures("unavailable")),
            output::count(failures("unanswered"))
        ),
        format!("  pending     {:>9}", output::count(references.pending)),
        String::new(),
        format!(
            "  {} (at least {} are needed; {} asked under another owner) in {seconds:.1} s: {} messages per second",
            output::counted(job.requests.sent, "request", "requests"),
            output::count(job.requests.minimum),
            output::count(job.requests.other_owner),
            output::count((references.archived as f64 / seconds.max(0.001)) as u64)
        ),
        format!(
            "  at most {} in any second, of 100 allowed; {} answered with 416",
            output::counted(stats.busiest_second.into(), "request", "requests"),
            stats.throttled
        ),
    ];
    let written: u64 = job.files.iter().map(|file| file.bytes).sum();
    if let (Some(first), Some(last)) = (job.files.first(), job.files.last()) {
        lines.push(format!("  {} in {}", output::bytes(written), directory.join("archive").display()));
        lines.push(format!("    {}", first.path));
        if job.files.len() > 1 {
            lines.push(format!("    … {}", last.path));
        }
    }
    let config = directory.join("jobs.yaml");
    let config = config.display();
    lines.extend([String::new(), "next:".to_owned()]);
    let next = [
        (format!("-c {config} failures demo"), "what was not archived, and why"),
        (format!("-c {config} report demo"), "this run as a page: report.html"),
        (format!("-c {config} status"), "past runs, cursor, pending references"),
        (format!("-c {config} files demo"), "the files to load"),
        (format!("demo {}", directory.display()), "run it again: nothing is sent twice"),
        ("init".to_owned(), "a jobs.yaml of your own"),
    ];
    let width = next.iter().map(|(command, _)| command.chars().count()).max().unwrap_or_default();
    lines.extend(next.iter().map(|(command, what)| format!("  yunxin-archiver {command:<width$}   {what}")));
    lines.push(format!(
        "  duckdb -c \"select date, count(*) from '{}/archive/date=*/*.parquet' group by date order by date\"",
        directory.display()
    ));
    for line in lines {
        output::line(&line)?;
    }
    Ok(())
}
