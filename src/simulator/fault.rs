//! One thing that can go wrong with one answer, and how it is written in a script.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is done to one answer. Each has a spelling, for settings files and scripts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// `ok`: nothing; the proper answer. Useful in scripts.
    Ok,
    /// `416`: HTTP 200 whose body says this code, without any lasting effect.
    Code(i64),
    /// `block`: 416, and the block that exceeding the quota begins.
    Block,
    /// `http 503`, `http 429 retry-after 2`: this HTTP status, with a gateway's HTML.
    Http {
        /// The status.
        status: u16,
        /// The `Retry-After` header, in seconds.
        retry_after: Option<u32>,
    },
    /// `redirect URL`: HTTP 307 to there.
    Redirect(String),
    /// `reset`: the connection is reset before a byte of the answer.
    Reset,
    /// `reset-mid`: the connection is reset in the middle of the answer.
    ResetMid,
    /// `close`: the connection ends before a byte of the answer.
    Close,
    /// `truncate`: the connection ends in the middle of the answer.
    Truncate,
    /// `wrong-length`: the `Content-Length` is 7 bytes less than the answer has, and the connection ends.
    WrongLength,
    /// `garbage`: HTTP 200 with bytes that are no JSON and no UTF-8.
    Garbage,
    /// `not-http`: bytes that are no HTTP.
    NotHttp,
    /// `html`: HTTP 200 with a web page.
    Html,
    /// `empty`: HTTP 200 without a body.
    Empty,
    /// `stall`: no answer, ever; the connection stays open.
    Stall,
    /// `stall-mid`: half of the answer, then silence.
    StallMid,
    /// `delay 250ms`: the proper answer after 250 ms.
    Delay(Duration),
    /// `drip 16 20ms`: the proper answer, 16 bytes every 20 ms.
    Drip {
        /// Bytes at a time.
        bytes: usize,
        /// Time between.
        every: Duration,
    },
    /// `gzip`: the proper answer, compressed, whatever the client accepts.
    Gzip,
    /// `huge 300MB`: the proper answer after 300 MB of white space.
    Huge(u64),
    /// `body TEXT`: HTTP 200 with exactly this.
    Body(String),
}

/// A text that names no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no fault: one of ok, CODE, block, http STATUS [retry-after SECONDS], redirect URL, reset, reset-mid, \
     close, truncate, wrong-length, garbage, not-http, html, empty, stall, stall-mid, delay TIME, drip BYTES TIME, \
     gzip, huge SIZE, body TEXT"
)]
pub struct UnknownFault(pub String);

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        Self::read(text.trim()).ok_or_else(|| UnknownFault(text.to_owned()))
    }
}

impl Fault {
    fn read(text: &str) -> Option<Self> {
        if let Some(body) = text.strip_prefix("body ") {
            return Some(Self::Body(body.to_owned()));
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        Some(match words[..] {
            ["ok"] => Self::Ok,
            ["block"] => Self::Block,
            ["http", status] => Self::Http { status: http_status(status)?, retry_after: None },
            ["http", status, "retry-after", seconds] => {
                Self::Http { status: http_status(status)?, retry_after: Some(seconds.parse().ok()?) }
            }
            ["redirect", url] => Self::Redirect(url.to_owned()),
            ["reset"] => Self::Reset,
            ["reset-mid"] => Self::ResetMid,
            ["close"] => Self::Close,
            ["truncate"] => Self::Truncate,
            ["wrong-length"] => Self::WrongLength,
            ["garbage"] => Self::Garbage,
            ["not-http"] => Self::NotHttp,
            ["html"] => Self::Html,
            ["empty"] => Self::Empty,
            ["stall"] => Self::Stall,
            ["stall-mid"] => Self::StallMid,
            ["delay", time] => Self::Delay(humantime::parse_duration(time).ok()?),
            ["drip", bytes, every] => Self::Drip {
                bytes: bytes.parse().ok().filter(|&bytes| bytes > 0)?,
                every: humantime::parse_duration(every).ok()?,
            },
            ["gzip"] => Self::Gzip,
            ["huge", size] => Self::Huge(size_in_bytes(size)?),
            [code] => Self::Code(code.parse().ok()?),
            _ => return None,
        })
    }
}

fn http_status(text: &str) -> Option<u16> {
    text.parse().ok().filter(|status| (200..=599).contains(status))
}

fn size_in_bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" | "B" => 1,
        "KB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("ok"),
            Self::Code(code) => write!(f, "{code}"),
            Self::Block => f.write_str("block"),
            Self::Http { status, retry_after: None } => write!(f, "http {status}"),
            Self::Http { status, retry_after: Some(seconds) } => write!(f, "http {status} retry-after {seconds}"),
            Self::Redirect(url) => write!(f, "redirect {url}"),
            Self::Reset => f.write_str("reset"),
            Self::ResetMid => f.write_str("reset-mid"),
            Self::Close => f.write_str("close"),
            Self::Truncate => f.write_str("truncate"),
            Self::WrongLength => f.write_str("wrong-length"),
            Self::Garbage => f.write_str("garbage"),
            Self::NotHttp => f.write_str("not-http"),
            Self::Html => f.write_str("html"),
            Self::Empty => f.write_str("empty"),
            Self::Stall => f.write_str("stall"),
            Self::StallMid => f.write_str("stall-mid"),
            Self::Delay(time) => write!(f, "delay {}ms", time.as_millis()),
            Self::Drip { bytes, every } => write!(f, "drip {bytes} {}ms", every.as_millis()),
            Self::Gzip => f.write_str("gzip"),
            Self::Huge(bytes) => write!(f, "huge {bytes}"),
            Self::Body(text) => write!(f, "body {text}"),
        }
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_reads_back_as_itself() {
        for text in [
            "ok",
            "416",
            "block",
            "http 503",
            "http 429 retry-after 2",
            "redirect http://127.0.0.1:1/",
            "reset",
            "reset-mid",
            "close",
            "truncate",
            "wrong-length",
            "garbage",
            "not-http",
            "html",
            "empty",
            "stall",
            "stall-mid",
            "delay 250ms",
            "drip 16 20ms",
            "gzip",
            "huge 1024",
            "body {\"code\": 200}",
        ] {
            assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
        }
        assert_eq!("huge 2KB".parse(), Ok(Fault::Huge(2048)));
    }

    #[test]
    fn what_is_no_fault_is_refused_with_what_would_be_one() {
        for text in ["", "oops", "http", "http 99", "http 503 retry-after soon", "drip 0 1s", "delay long", "huge 1XB"]
        {
            let error = text.parse::<Fault>().unwrap_err();
            assert!(error.to_string().contains("reset-mid"), "{error}");
        }
    }
}
