//! Notes until when the workers of a fleet may use shares of an app's quota, so that a run without workers waits as long.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

/// The longest that a note can ask to wait. One of a clock that was ahead says more.
const LONGEST: Duration = Duration::from_mins(1);
/// A note is written for this much longer than is asked, so that it is seldom written.
const SPARE: Duration = Duration::from_secs(3);

/// The note of one app, a file beside its lock. Only the holder of the lock writes it.
#[derive(Debug, Clone)]
pub struct SharesNote {
    path: PathBuf,
    /// What was written last.
    until: Arc<Mutex<Timestamp>>,
}

impl SharesNote {
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, until: Arc::new(Mutex::new(Timestamp::MIN)) }
    }

    /// Notes that shares may be in use for this long from now. Writes only if the last note ends before that.
    pub fn extend(&self, time: Duration) -> io::Result<()> {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Timestamp::now();
        if now.checked_add(time).is_ok_and(|end| end <= *until) {
            return Ok(());
        }
        let end = now.checked_add(time + SPARE).map_err(io::Error::other)?;
        let written = self.path.with_extension("shares.tmp");
        std::fs::write(&written, format!("{end}\n"))?;
        std::fs::rename(&written, &self.path)?;
        *until = end;
        Ok(())
    }

    /// For how long shares may be in use. `None` if none was ever granted here.
    pub fn left(&self) -> Option<Duration> {
        let text = std::fs::read_to_string(&self.path).ok()?;
        let Ok(until) = text.trim().parse::<Timestamp>() else { return Some(LONGEST) };
        let left = until.duration_since(Timestamp::now());
        Some(Duration::try_from(left).unwrap_or_default().min(LONGEST))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_note_holds_for_as_long_as_was_asked_and_is_seldom_written() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("main.app.shares");
        let note = || SharesNote::at(path.clone());
        let (own, seconds) = (note(), Duration::from_secs);
        assert_eq!(note().left(), None);
        own.extend(seconds(10)).unwrap();
        let left = note().left().unwrap();
        assert!(left > seconds(10) && left <= seconds(10) + SPARE, "{left:?}");
        std::fs::remove_file(&path).unwrap();
        own.extend(seconds(10)).unwrap();
        assert_eq!(note().left(), None, "the note was good, and was not written again");
        own.extend(seconds(25)).unwrap();
        assert!(note().left() > Some(seconds(25)));
        std::fs::write(&path, "2199-01-01T00:00:00Z").unwrap();
        assert_eq!(note().left(), Some(LONGEST));
        std::fs::write(&path, "2026-01-01T00:00:00Z").unwrap();
        assert_eq!(note().left(), Some(Duration::ZERO));
    }
}
