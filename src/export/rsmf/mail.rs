//! A mail with a text and an attachment (RFC 5322, MIME).

use base64::prelude::{BASE64_STANDARD, Engine as _};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The most characters of a line.
const LINE: usize = 76;
/// The bytes of text that fit into one encoded word of at most 75 characters.
const WORD: usize = 45;

/// A mail with a time in milliseconds since the epoch, further headers, a text and an attachment. The same values give
/// the same bytes.
pub(super) fn mail(id: &str, time: i64, headers: &[(&str, &str)], text: &str, name: &str, attachment: &[u8]) -> String {
    let id: String = id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '.' }).collect();
    let date = Timestamp::from_millisecond(time).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::UTC);
    let date = date.strftime("%a, %d %b %Y %H:%M:%S +0000");
    let mut boundary = format!("=_{id}");
    boundary.truncate(70);
    let mut out = String::with_capacity((text.len() + attachment.len()) * 3 / 2 + 4096);
    out.push_str(&format!(
        "From: yunxin-archiver <export@yunxin-archiver.invalid>\r\nTo: undisclosed-recipients:;\r\nDate: {date}\r\n\
         Message-ID: <{id}@yunxin-archiver.invalid>\r\nMIME-Version: 1.0\r\n"
    ));
    for (name, value) in headers {
        push_header(&mut out, name, value);
    }
    out.push_str(&format!(
        "Content-Type: multipart/mixed;\r\n boundary=\"{boundary}\"\r\n\r\n--{boundary}\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    ));
    push_lines(&mut out, text.as_bytes());
    out.push_str(&format!(
        "--{boundary}\r\nContent-Type: application/octet-stream;\r\n name=\"{name}\"\r\n\
         Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment;\r\n filename=\"{name}\"\r\n\r\n"
    ));
    push_lines(&mut out, attachment);
    out.push_str(&format!("--{boundary}--\r\n"));
    out
}

/// Appends a header. Text that is not plain ASCII becomes encoded words, and long values are folded.
fn push_header(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push(':');
    let mut width = name.len() + 1;
    let is_plain = value.bytes().all(|byte| (b' '..0x7f).contains(&byte)) && !value.contains("=?");
    let words = if is_plain && value.split(' ').all(|word| word.len() < 200 && !word.is_empty()) {
        value.split(' ').map(ToOwned::to_owned).collect()
    } else {
        encoded_words(value)
    };
    for word in words {
        if width + 1 + word.len() > LINE && width > name.len() + 1 {
            out.push_str("\r\n");
            width = 0;
        }
        out.push(' ');
        out.push_str(&word);
        width += 1 + word.len();
    }
    out.push_str("\r\n");
}

fn encoded_words(mut value: &str) -> Vec<String> {
    let mut words = Vec::new();
    while !value.is_empty() {
        let (word, rest) = value.split_at(value.floor_char_boundary(WORD));
        words.push(format!("=?utf-8?B?{}?=", BASE64_STANDARD.encode(word)));
        value = rest;
    }
    words
}

fn push_lines(out: &mut String, bytes: &[u8]) {
    for line in bytes.chunks(LINE / 4 * 3) {
        BASE64_STANDARD.encode_string(line, out);
        out.push_str("\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_ascii_and_folded_and_cannot_begin_another() {
        let headers =
            [("Subject", &*"李雷, ".repeat(40)), ("X-Plain", &*"word ".repeat(40)), ("X-Evil", "a\r\nBcc: b")];
        let mail = mail("a", 0, &headers, "", "a.zip", b"");
        assert!(mail.is_ascii() && mail.lines().all(|line| line.len() <= 100), "{mail}");
        assert!(!mail.contains("\nBcc"), "{mail}");
        assert!(mail.starts_with("From: ") && mail.contains("Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n"), "{mail}");
    }
}
