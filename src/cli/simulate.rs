//! `simulate`: the API as documented, on loopback.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Exit, output};
use crate::simulator::{self, Rule, Settings};

/// Arguments of `simulate`.
#[derive(Debug, Args)]
pub struct Simulate {
    /// The port on 127.0.0.1; 0 takes any free one.
    #[arg(long, default_value_t = 8787)]
    pub port: u16,

    /// Requests per second before code 416.
    #[arg(long, value_name = "N")]
    pub rate_limit: Option<u32>,

    /// The delay of every answer.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub latency: Option<Duration>,

    /// The age at which a message no longer exists, such as 7d; by default never.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub retention: Option<Duration>,

    /// The share of messages that do not exist, 0 to 1.
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    pub missing: Option<f64>,

    /// The share of requests that fail in some way, 0 to 1.
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    pub chaos: Option<f64>,

    /// A JSON file with further settings; see docs/api.md. `{"world": "any"}` answers every reference, such as those of
    /// your own CSV.
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
}

fn parse_share(text: &str) -> Result<f64, &'static str> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or("not a share: use a number from 0 to 1")
}

pub(super) async fn simulate(arguments: Simulate) -> Result<u8, Exit> {
    let settings = settings(&arguments)?;
    let (limit, key) = (settings.rate_limit, settings.apps.first().cloned());
    let service = simulator::start(settings)
        .map_err(|error| Exit::words(format!("127.0.0.1:{} cannot be served: {error}", arguments.port)))?;
    output::line(&service.url())?;
    output::say(&format!("a simulated Yunxin API at {}, {limit} requests per second; Ctrl-C stops it", service.url()));
    if let Some(app) = key {
        output::say(&format!("its app: app_key {}, app_secret {} (not real)", app.key, app.secret));
    }
    tokio::signal::ctrl_c().await?;
    let stats = service.stats();
    service.stop();
    output::say(&format!(
        "{}, {}, {} answered with 416, at most {} in any second",
        output::counted(stats.requests, "request", "requests"),
        output::counted(stats.messages, "message", "messages"),
        output::count(stats.throttled),
        output::counted(stats.busiest_second.into(), "request", "requests")
    ));
    Ok(0)
}

fn settings(arguments: &Simulate) -> Result<Settings, Exit> {
    let mut settings = match &arguments.settings {
        None => Settings::default(),
        Some(path) => {
            let wrong = |error: &dyn std::fmt::Display| Exit::words(format!("{}: {error}", path.display()));
            let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
            let read: Settings = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
            let rules = read.faults.rules.iter().map(|rule| ("probability", rule.probability));
            let mut shares = [("missing", read.missing), ("unanswered", read.unanswered), ("odd", read.odd)]
                .into_iter()
                .chain(rules);
            if let Some((name, share)) = shares.find(|(_, share)| !(0.0..=1.0).contains(share)) {
                return Err(wrong(&format_args!("{name} is {share}, but must be from 0 to 1")));
            }
            read
        }
    };
    settings.port = arguments.port;
    if let Some(limit) = arguments.rate_limit {
        settings.rate_limit = limit;
    }
    if let Some(latency) = arguments.latency {
        settings.faults.latency_ms = latency.as_millis() as u64;
    }
    if let Some(retention) = arguments.retention {
        settings.retention_ms = retention.as_millis() as u64;
    }
    if let Some(share) = arguments.missing {
        settings.missing = share;
    }
    if let Some(share) = arguments.chaos {
        // Six ways to fail, which add up to the share.
        for fault in ["500", "503", "http 502", "reset", "truncate", "garbage"] {
            let fault = fault.parse().map_err(Exit::usage)?;
            settings.faults.rules.push(Rule { fault, probability: share / 6.0, first: None, every: None, tried: 0 });
        }
    }
    Ok(settings)
}
