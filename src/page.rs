//! HTML pages that load nothing, run nothing but a script of their own, and tell the browser so.
//!
//! maud's `html!` escapes every text that goes into a page, and nothing else in the program escapes markup. Characters
//! that could hide or reorder text are made visible in the finished page, so no text can be forgotten.

pub(crate) mod blocks;
pub(crate) mod calendar;
pub(crate) mod drawing;
pub(crate) mod figures;
pub(crate) mod trend;

use std::fmt::Write as _;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

/// Elements of every head. They are closed as XML requires, which maud does not do.
const META: &str = concat!(
    r#"<meta charset="utf-8"/><meta name="viewport" content="width=device-width, initial-scale=1"/>"#,
    r#"<meta name="color-scheme" content="light dark"/><meta name="referrer" content="no-referrer"/>"#,
    r#"<meta name="robots" content="noindex"/><meta name="generator" content="yunxin-archiver "#,
    env!("CARGO_PKG_VERSION"),
    r#""/>"#
);

/// A whole page, as HTML that is also XML. Its content security policy allows the style sheet and nothing else.
/// Characters that `is_shown` selects appear as their code points, such as `[U+202E]`.
pub(crate) fn document(title: &str, style: &str, is_shown: fn(char) -> bool, body: &Markup) -> String {
    Document { title, style, script: None, made_from: None, is_shown }.with(body)
}

/// What a page has besides its body.
pub(crate) struct Document<'a> {
    pub(crate) title: &'a str,
    pub(crate) style: &'a str,
    /// The only script that the content security policy allows.
    pub(crate) script: Option<&'a str>,
    /// The hash of what the page was made from, for [`made_from`].
    pub(crate) made_from: Option<&'a str>,
    pub(crate) is_shown: fn(char) -> bool,
}

impl Document<'_> {
    pub(crate) fn with(&self, body: &Markup) -> String {
        let parts = [self.style, self.script.unwrap_or_default()];
        debug_assert!(parts.iter().all(|part| !part.contains(['<', '&'])), "they are put into the page unescaped");
        let hash = |part| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(part)));
        let script = self.script.map(|script| format!("script-src {}; ", hash(script))).unwrap_or_default();
        let policy = format!(
            r#"<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src {}; {script}base-uri 'none'; form-action 'none'"/>"#,
            hash(self.style)
        );
        let page = html! {
            (DOCTYPE) "\n"
            html lang="en" xmlns="http://www.w3.org/1999/xhtml" data-made-from=[self.made_from] {
                head {
                    (PreEscaped(META)) (PreEscaped(policy))
                    title { (self.title) }
                    style { (PreEscaped(self.style)) }
                }
                body {
                    (body)
                    @if let Some(script) = self.script { script { (PreEscaped(script)) } }
                }
            }
            "\n"
        };
        shown(page.into_string(), self.is_shown)
    }
}

/// What a page was made from, if its beginning says so.
pub(crate) fn made_from(page: &str) -> Option<&str> {
    let (_, rest) = page.split_once(" data-made-from=\"")?;
    Some(rest.split_once('"')?.0)
}

/// A field to type words into. maud does not close it as XML requires.
pub(crate) fn search_field(id: &'static str) -> Markup {
    PreEscaped(format!(r#"<input id="{id}" type="search" autocomplete="off" spellcheck="false"/>"#))
}

fn shown(page: String, is_shown: fn(char) -> bool) -> String {
    if !page.contains(is_shown) {
        return page;
    }
    let mut out = String::with_capacity(page.len() + 64);
    for c in page.chars() {
        if is_shown(c) {
            // Writing to a string cannot fail.
            let _ = write!(out, "[U+{:04X}]", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// Whether a character is a control character, reverses the direction of writing, or is not allowed in XML. No text needs
/// these, and they could make one text look like another.
pub(crate) fn is_misleading(c: char) -> bool {
    c.is_control() && !matches!(c, '\t' | '\n' | '\r')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}')
}

/// Whether a character is misleading or invisible. Prose needs some of these, for example in emoji; IDs need none.
pub(crate) fn is_hidden(c: char) -> bool {
    is_misleading(c)
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{2029}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_text_is_markup_and_none_hides() {
        let text = "<b a='1' c=\"2\">&amp; a\u{0}b\u{1b}[31m\u{202e}c\u{feff}d\u{85}e 你好 👨\u{200d}👩 é";
        let body = |is_shown| {
            let page = document("t", "", is_shown, &html! { p title=(text) { (text) } });
            page.split_once("<p ").map(|(_, rest)| rest.to_owned()).unwrap_or_default()
        };
        let ids = "&lt;b a='1' c=&quot;2&quot;&gt;&amp;amp; a[U+0000]b[U+001B][31m[U+202E]c[U+FEFF]d[U+0085]e 你好 👨[U+200D]👩 é";
        assert_eq!(body(is_hidden), format!("title=\"{ids}\">{ids}</p></body></html>\n"));
        let prose = ids.replace("[U+FEFF]", "\u{feff}").replace("[U+200D]", "\u{200d}");
        assert_eq!(body(is_misleading), format!("title=\"{prose}\">{prose}</p></body></html>\n"));
    }

    proptest! {
        #[test]
        fn a_page_holds_nothing_that_hides(text in ".*") {
            let page = document(&text, "", is_hidden, &html! { (text) });
            prop_assert!(!page.contains(is_hidden));
            prop_assert_eq!(page.matches("<title>").count(), 1);
        }
    }
}
