//! Signals and deadlines: what tells a run to stop.

use std::time::Duration;

use jiff::civil::Time;
use jiff::{ToSpan, Zoned};
use tokio::signal::unix::{SignalKind, signal};

use super::Exit;
use crate::run::Stop;

/// Stops the run at the first SIGINT, SIGTERM or SIGHUP, and the process at the second.
///
/// This is the first thing that a command does: before it, a signal ends the process without a summary. So it has a
/// thread of its own, as the command's runtime depends on the configuration.
pub(super) fn watch(stop: &Stop) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut interrupt, mut terminate, mut hangup) = {
        let _context = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?)
    };
    let stop = stop.clone();
    let watching = async move {
        let mut signalled = false;
        loop {
            let name = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
                _ = hangup.recv() => "SIGHUP",
            };
            if signalled {
                std::process::exit(5);
            }
            signalled = true;
            tracing::warn!("{name}: finishing what is in flight, then committing; a second signal stops at once");
            stop.tell(&format!("stopped by {name}"));
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || runtime.block_on(watching))?;
    Ok(())
}

/// Stops the run after `wait`.
pub(super) fn stop_after(stop: &Stop, wait: Duration) {
    let stop = stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        tracing::warn!("deadline: finishing what is in flight, then committing");
        stop.tell("stopped by the deadline");
    });
}

/// The time from `now` to a deadline, which is a duration (`2h`) or the next such time of the clock (`05:30`).
pub(super) fn until(deadline: &str, now: &Zoned) -> Result<Duration, Exit> {
    if let Ok(duration) = humantime::parse_duration(deadline) {
        return Ok(duration);
    }
    let wrong = || Exit::words(format!("--deadline {deadline:?} is neither a duration like 2h nor a time like 05:30"));
    if deadline.len() < 4 || !deadline.contains(':') {
        return Err(wrong());
    }
    let time: Time = deadline.parse().map_err(|_| wrong())?;
    let today = now.date().to_datetime(time).to_zoned(now.time_zone().clone()).map_err(|_| wrong())?;
    let next = if &today > now {
        today
    } else {
        let tomorrow = now.date().checked_add(1.day()).map_err(|_| wrong())?;
        tomorrow.to_datetime(time).to_zoned(now.time_zone().clone()).map_err(|_| wrong())?
    };
    let seconds = next.timestamp().as_millisecond() - now.timestamp().as_millisecond();
    Ok(Duration::from_millis(seconds.max(0) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Zoned {
        text.parse().unwrap()
    }

    #[test]
    fn a_deadline_is_a_duration() {
        assert_eq!(until("2h", &at("2026-11-22T23:00[Asia/Shanghai]")).unwrap(), Duration::from_hours(2));
    }

    #[test]
    fn a_deadline_is_the_next_such_time_of_the_clock() {
        let now = at("2026-11-22T23:00[Asia/Shanghai]");
        assert_eq!(until("05:30", &now).unwrap(), Duration::from_mins(390));
        assert_eq!(until("23:30", &now).unwrap(), Duration::from_mins(30));
    }

    #[test]
    fn a_deadline_follows_the_clock_over_a_change_of_summer_time() {
        let now = at("2026-03-28T23:00[Europe/Berlin]");
        assert_eq!(until("05:30", &now).unwrap(), Duration::from_mins(330));
    }

    #[test]
    fn anything_else_is_not_a_deadline() {
        for text in ["", "soon", "25:00", "530"] {
            assert_eq!(until(text, &at("2026-11-22T23:00[UTC]")).unwrap_err().code, 2, "{text}");
        }
    }
}
