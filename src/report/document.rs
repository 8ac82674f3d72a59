//! What every page has: its head, which lets it load and run nothing, its sections, and its foot.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};

use super::figures::{time, zone};
use super::markup::escape;

const STYLE: &str = include_str!("page.css");

/// A page up to where its content begins. `style` is added to the style of all pages.
pub(crate) fn opening(title: &str, version: &str, style: &str) -> String {
    let style = format!("{STYLE}{style}");
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\"><head><meta charset=\"utf-8\"/>\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'\"/>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/><meta name=\"color-scheme\" content=\"light dark\"/>\
         <meta name=\"robots\" content=\"noindex\"/><meta name=\"generator\" content=\"yunxin-archiver {}\"/>\
         <title>{}</title><style>{style}</style></head><body><main>",
        base64(&Sha256::digest(style.as_bytes())),
        escape(version),
        escape(title)
    )
}

/// A section under its title.
pub(crate) fn section(out: &mut String, id: &str, title: &str, body: &str) {
    out.push_str(&format!(
        "<section id=\"{id}\" aria-labelledby=\"{id}-h\"><h2 id=\"{id}-h\">{title}</h2>{body}</section>"
    ));
}

/// Numbers side by side: what each is, the number, and what is said below it.
pub(crate) fn tiles(tiles: &[(&str, String, String)]) -> String {
    let tiles = tiles
        .iter()
        .map(|(name, number, beside)| {
            format!("<div class=\"tile\"><dt>{name}</dt><dd><b>{number}</b><span>{}</span></dd></div>", escape(beside))
        })
        .collect::<Vec<_>>()
        .concat();
    format!("<dl class=\"tiles\">{tiles}</dl>")
}

/// Facts by name.
pub(crate) fn facts(facts: &[(&str, String)]) -> String {
    let facts = facts
        .iter()
        .map(|(name, value)| format!("<dt>{name}</dt><dd><bdi>{}</bdi></dd>", escape(value)))
        .collect::<Vec<_>>()
        .concat();
    format!("<dl class=\"facts\">{facts}</dl>")
}

/// The end of a page.
pub(crate) fn closing(version: &str, made_at: Timestamp, timezone: &TimeZone) -> String {
    format!(
        "</main><footer><p>Made by yunxin-archiver {} on {} {}. This page holds conversation and message IDs: handle it like the archive.</p></footer></body></html>\n",
        escape(version),
        time(made_at, timezone),
        escape(zone(timezone))
    )
}

/// Base64, as a content security policy names hashes.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            if place > three.len() {
                out.push('=');
            } else {
                out.push(char::from(DIGITS[(bits >> (18 - 6 * place)) as usize & 63]));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads_as_it_must() {
        assert_eq!(base64(b""), "");
        assert_eq!(base64(b"f"), "Zg==");
        assert_eq!(base64(b"fo"), "Zm8=");
        assert_eq!(base64(b"foo"), "Zm9v");
        assert_eq!(base64(b"foob"), "Zm9vYg==");
    }

    #[test]
    fn the_style_sheet_asks_for_nothing_and_is_no_markup() {
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import") && !STYLE.contains(['<', '&']));
    }
}
