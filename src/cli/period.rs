//! The options `--from`, `--to` and `--timezone`, which `export` and `verify --against` have in common.

use jiff::tz::TimeZone;

use super::Exit;
use crate::export::selection::{End, moment};

/// The time zone of this name.
pub(super) fn timezone(name: &str) -> Result<TimeZone, Exit> {
    TimeZone::get(name)
        .map_err(|_| Exit::words(format!("--timezone {name:?} is not a time zone; use one such as Asia/Shanghai")))
}

/// The range between `--from` and `--to`, in milliseconds since the epoch.
pub(super) fn range(
    from: Option<&String>,
    to: Option<&String>,
    zone: &TimeZone,
) -> Result<(Option<i64>, Option<i64>), Exit> {
    let time = |option: &str, text: Option<&String>, end| {
        let time = text.map(|text| moment(text, zone, end)).transpose();
        time.map_err(|error| Exit::words(format!("{option}: {error}")))
    };
    let (from, to) = (time("--from", from, End::From)?, time("--to", to, End::To)?);
    if let (Some(from), Some(to)) = (from, to)
        && from >= to
    {
        return Err(Exit::words("--from is not before --to: no message can be between them"));
    }
    Ok((from, to))
}
