//! Commands that are run when a command has ended, with the summary on standard input.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::config::Hooks;

/// How often a command is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long output is waited for once a command has ended: what it left running may keep it open.
const OUTPUT: Duration = Duration::from_secs(1);
/// How much output goes to the log: lines, and characters of a line.
const LINES: usize = 1_000;
const LINE: u64 = 4_096;

/// Runs the hooks for this exit code, one after the other. What fails is a warning.
pub(super) async fn run(hooks: &Hooks, exit_code: u8, summary: &str) {
    let by_exit = if exit_code == 0 { ("success", &hooks.success) } else { ("failure", &hooks.failure) };
    for (name, words) in [by_exit, ("always", &hooks.always)] {
        if words.is_empty() {
            continue;
        }
        let (words, input, limit) = (words.clone(), summary.to_owned(), hooks.timeout);
        let ended = tokio::task::spawn_blocking(move || execute(name, &words, input, limit)).await;
        if let Err(why) = ended.unwrap_or_else(|_| Err("it could not be run".to_owned())) {
            tracing::warn!(hook = name, "the hook failed, which changes nothing else: {why}");
        }
    }
}

/// Runs a command to its end, or to the end of its time.
fn execute(name: &'static str, words: &[String], input: String, limit: Duration) -> Result<(), String> {
    let mut child = Command::new(&words[0])
        .args(&words[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // With what it starts it is ended together, and an interrupt at the terminal does not reach it.
        .process_group(0)
        .spawn()
        .map_err(|error| format!("{}: {error}", words[0]))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command need not read it.
        thread::spawn(move || stdin.write_all(input.as_bytes()).ok());
    }
    let (ended, output) = mpsc::channel::<()>();
    let pipes: [Option<Box<dyn Read + Send>>; 2] =
        [child.stdout.take().map(|pipe| Box::new(pipe) as _), child.stderr.take().map(|pipe| Box::new(pipe) as _)];
    for pipe in pipes.into_iter().flatten() {
        let ended = ended.clone();
        thread::spawn(move || {
            log(name, pipe);
            drop(ended);
        });
    }
    drop(ended);
    let status = wait(&mut child, limit);
    // Nothing is ever sent: this waits until both have ended.
    output.recv_timeout(OUTPUT).ok();
    match status? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("{status}")),
        None => Err(format!("it took longer than {}, and was ended", humantime::format_duration(limit))),
    }
}

/// How a command ended; none if it had to be ended.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<std::process::ExitStatus>, String> {
    let began = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(Some(status)),
            Ok(None) if began.elapsed() < limit => thread::sleep(LOOK_EVERY),
            waited => {
                kill_process_group(Pid::from_child(child), Signal::KILL).ok();
                child.wait().ok();
                return waited.map(|_| None).map_err(|error| error.to_string());
            }
        }
    }
}

/// Logs the lines of a command's output. What is more than the log takes is read and dropped.
fn log(name: &'static str, pipe: Box<dyn Read + Send>) {
    let mut reader = BufReader::new(pipe);
    for n in 0.. {
        let mut line = Vec::new();
        match reader.by_ref().take(LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if n < LINES => {
                let line = String::from_utf8_lossy(&line);
                let line: String = line.trim_end().chars().filter(|c| !c.is_control()).collect();
                tracing::info!(hook = name, "{line}");
            }
            Ok(_) if n == LINES => tracing::warn!(hook = name, "it writes more than the log takes"),
            Ok(_) => {}
        }
    }
}
