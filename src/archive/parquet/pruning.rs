//! What of an archive need not be read: partitions and row groups that cannot hold what is wanted. Pure.

use ::parquet::file::metadata::RowGroupMetaData;
use ::parquet::file::statistics::Statistics;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::data_file::overlaps;
use crate::archive::read::Wanted;
use crate::model::selection::{Scope, Selection};

/// The date of a partition is that of some time zone: it may begin more than half a day before or after that of UTC.
const DATE_MARGIN: i64 = 26 * 3_600_000;
const DAY_MS: i64 = 86_400_000;

/// Whether the partitions in a path allow something that is wanted.
pub(super) fn directory_may_hold(path: &str, wanted: &Wanted) -> bool {
    path.split('/').all(|level| match level.split_once('=') {
        Some(("date", date)) => date.parse::<Date>().ok().is_none_or(|date| days_may_hold(date, 1, wanted)),
        Some(("month", month)) => {
            let first = format!("{month}-01").parse::<Date>();
            first.ok().is_none_or(|first| days_may_hold(first, first.days_in_month().into(), wanted))
        }
        Some(("conversation_type", kind)) => match wanted {
            Wanted::Selected(Selection { scope: Scope::Conversations(keys), .. }) => {
                keys.iter().any(|key| key.split('|').next() == Some(kind))
            }
            _ => true,
        },
        _ => true,
    })
}

fn days_may_hold(first: Date, days: i64, wanted: &Wanted) -> bool {
    let start = first.to_zoned(TimeZone::UTC).map_or(i64::MIN / 2, |zoned| zoned.timestamp().as_millisecond());
    let (earliest, latest) = wanted.range();
    start - DATE_MARGIN <= latest && earliest < start.saturating_add(days * DAY_MS + DATE_MARGIN)
}

/// Whether the statistics of a row group allow something that is wanted.
pub(super) fn group_may_hold(group: &RowGroupMetaData, wanted: &Wanted) -> bool {
    let (first, last) = wanted.range();
    group.columns().iter().all(|column| match (column.column_path().string().as_str(), column.statistics(), wanted) {
        ("create_time", Some(Statistics::Int64(range)), _) => overlaps(range, first, last),
        ("message_server_id", Some(Statistics::Int64(range)), Wanted::Ids { ids, .. }) => {
            match (range.min_opt(), range.max_opt()) {
                (Some(min), Some(max)) => ids.range(*min..=*max).next().is_some(),
                _ => true,
            }
        }
        (
            "conversation_key",
            Some(Statistics::ByteArray(range)),
            Wanted::Selected(Selection { scope: Scope::Conversations(keys), .. }),
        ) => match (range.min_opt(), range.max_opt()) {
            (Some(min), Some(max)) => keys.iter().any(|key| (min.data()..=max.data()).contains(&key.as_bytes())),
            _ => true,
        },
        _ => true,
    })
}
