//! What a user may write to select messages, and how conversations are named.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use crate::model::reference::ConversationId;
use crate::model::selection::sides;

/// Which end of a time range a text names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The first moment that belongs to it.
    From,
    /// The first moment that no longer belongs to it; for a day, the end of that day.
    To,
}

/// The key of a conversation, from either spelling of its ID or from the key itself.
///
/// # Errors
///
/// What is wrong with it, and what would be right.
pub fn conversation_key(text: &str) -> Result<String, String> {
    let text = text.trim();
    if let Ok(id) = ConversationId::parse(text) {
        return Ok(id.key().as_str().to_owned());
    }
    let mut parts = text.split('|');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("1"), Some(one), Some(other), None) if !one.is_empty() && !other.is_empty() => {
            Ok(ConversationId::parse(&format!("{one}|1|{other}")).map_err(|error| error.to_string())?.key().to_string())
        }
        (Some("2" | "3"), Some(team), None, None) if !team.is_empty() => Ok(text.to_lowercase()),
        _ => Err(format!(
            "{text:?} is not a conversation: give its ID (alice|1|bob, alice|2|4400000001) or its key (1|alice|bob, \
             2|4400000001)"
        )),
    }
}

/// A moment from RFC 3339, or from a date or a local time in `zone`, in milliseconds since the epoch. A date as the end
/// of a range means the end of that day.
///
/// # Errors
///
/// What is wrong with it, and what would be right.
pub fn moment(text: &str, zone: &TimeZone, end: End) -> Result<i64, String> {
    let text = text.trim();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let wrong = || {
        format!("{text:?} is not a time: give a date such as 2026-11-22, or a time such as 2026-11-22T18:00:00+08:00")
    };
    let is_date = text.len() == 10;
    let local = if is_date {
        let date: Date = text.parse().map_err(|_| wrong())?;
        let date = if end == End::To { date.tomorrow().map_err(|_| wrong())? } else { date };
        date.at(0, 0, 0, 0)
    } else {
        text.parse::<DateTime>().map_err(|_| wrong())?
    };
    Ok(local.to_zoned(zone.clone()).map_err(|_| wrong())?.timestamp().as_millisecond())
}

/// A conversation's name, from its key.
pub(super) fn title(conversation_key: &str) -> String {
    match (sides(conversation_key), conversation_key.split_once('|')) {
        (Some((one, other)), _) => format!("{one} and {other}"),
        (None, Some(("3", team))) => format!("super team {team}"),
        (None, parts) => format!("team {}", parts.map_or(conversation_key, |(_, team)| team)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_called_by_its_sides_or_its_team() {
        for (key, name) in [("1|alice|bob", "alice and bob"), ("2|77", "team 77"), ("3|77", "super team 77")] {
            assert_eq!(title(key), name);
        }
    }

    #[test]
    fn every_spelling_of_a_conversation_is_its_key() {
        for text in ["Bob|1|alice", "alice|1|BOB", "1|alice|bob", "1|Bob|Alice"] {
            assert_eq!(conversation_key(text).unwrap(), "1|alice|bob", "{text}");
        }
        assert_eq!(conversation_key("anyone|2|77").unwrap(), "2|77");
        assert_eq!(conversation_key("3|77").unwrap(), "3|77");
        for text in ["", "alice", "alice|bob", "1|alice", "2|", "a|4|b", "a|1|b|c"] {
            assert!(conversation_key(text).unwrap_err().contains("not a conversation"), "{text}");
        }
    }

    #[test]
    fn a_date_is_one_of_the_zone_and_whole() {
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond();
        assert_eq!(moment("2026-11-22", &zone, End::From).unwrap(), at("2026-11-21T16:00:00Z"));
        assert_eq!(moment("2026-11-22", &zone, End::To).unwrap(), at("2026-11-22T16:00:00Z"));
        assert_eq!(moment("2026-11-22T10:00", &zone, End::To).unwrap(), at("2026-11-22T02:00:00Z"));
        assert_eq!(moment("2026-11-22T10:00:00Z", &zone, End::From).unwrap(), at("2026-11-22T10:00:00Z"));
        assert!(moment("yesterday", &zone, End::From).unwrap_err().contains("2026-11-22"));
    }
}
