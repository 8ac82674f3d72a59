//! A mail with a text and an attachment, by RFC 5322 and MIME.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The most characters of a line of base64.
const LINE: usize = 76;
/// The bytes of text that fit into one encoded word of at most 75 characters.
const WORD: usize = 45;

/// A mail being written: headers, then its content.
pub(super) struct Mail {
    out: String,
    boundary: String,
}

impl Mail {
    /// A mail with an ID, from a time in milliseconds since the epoch.
    pub(super) fn new(id: &str, time: i64) -> Self {
        let id: String = id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '.' }).collect();
        let date = Timestamp::from_millisecond(time).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::UTC);
        let mut mail = Self { out: String::new(), boundary: format!("=_{id}") };
        mail.boundary.truncate(70);
        mail.out.push_str("From: yunxin-archiver <export@yunxin-archiver.invalid>\r\n");
        mail.out.push_str("To: undisclosed-recipients:;\r\n");
        mail.out.push_str(&format!("Date: {}\r\n", date.strftime("%a, %d %b %Y %H:%M:%S +0000")));
        mail.out.push_str(&format!("Message-ID: <{id}@yunxin-archiver.invalid>\r\n"));
        mail.out.push_str("MIME-Version: 1.0\r\n");
        mail
    }

    /// Adds a header. What is not plain ASCII becomes encoded words, and long values are folded.
    pub(super) fn header(&mut self, name: &str, value: &str) {
        self.out.push_str(name);
        self.out.push(':');
        let mut width = name.len() + 1;
        let plain = value.bytes().all(|byte| (b' '..0x7f).contains(&byte)) && !value.contains("=?");
        let words: Vec<String> = if plain && value.split(' ').all(|word| word.len() < 200 && !word.is_empty()) {
            value.split(' ').map(ToOwned::to_owned).collect()
        } else {
            encoded_words(value)
        };
        for word in words {
            if width + 1 + word.len() > LINE && width > name.len() + 1 {
                self.out.push_str("\r\n");
                width = 0;
            }
            self.out.push(' ');
            self.out.push_str(&word);
            width += 1 + word.len();
        }
        self.out.push_str("\r\n");
    }

    /// Adds text and attachment.
    pub(super) fn finish(mut self, text: &str, name: &str, attachment: &[u8]) -> String {
        let boundary = &self.boundary;
        let out = &mut self.out;
        out.reserve(text.len() * 3 / 2 + attachment.len() * 3 / 2 + 1024);
        out.push_str(&format!("Content-Type: multipart/mixed;\r\n boundary=\"{boundary}\"\r\n\r\n"));
        out.push_str(&format!("--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n"));
        out.push_str("Content-Transfer-Encoding: base64\r\n\r\n");
        push_lines(out, text.as_bytes());
        out.push_str(&format!("--{boundary}\r\nContent-Type: application/octet-stream;\r\n name=\"{name}\"\r\n"));
        out.push_str("Content-Transfer-Encoding: base64\r\n");
        out.push_str(&format!("Content-Disposition: attachment;\r\n filename=\"{name}\"\r\n\r\n"));
        push_lines(out, attachment);
        out.push_str(&format!("--{boundary}--\r\n"));
        self.out
    }
}

fn encoded_words(value: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut start = 0;
    while start < value.len() {
        let mut end = (start + WORD).min(value.len());
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        let mut word = String::from("=?utf-8?B?");
        BASE64_STANDARD.encode_string(&value.as_bytes()[start..end], &mut word);
        word.push_str("?=");
        words.push(word);
        start = end;
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
        let mut mail = Mail::new("a", 0);
        mail.header("Subject", &"李雷, ".repeat(40));
        mail.header("X-Plain", &"word ".repeat(40));
        mail.header("X-Evil", "a\r\nBcc: b");
        let out = mail.out;
        assert!(out.is_ascii() && out.lines().all(|line| line.len() <= 100), "{out}");
        assert!(!out.contains("\nBcc"), "{out}");
        assert!(out.starts_with("From: ") && out.contains("Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n"), "{out}");
    }
}
