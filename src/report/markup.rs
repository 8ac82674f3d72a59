//! Text as markup.

use std::fmt::Write as _;

/// Text of any origin, safe between tags and in quoted attributes. Characters that could hide or reorder what is
/// written (controls, bidirectional marks) are shown by their numbers.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(' '),
            c if c.is_control() || is_hidden(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

fn is_hidden(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}' | '\u{e0000}'..='\u{e007f}')
}

/// Escaped text of so many characters at most.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", escape(&text[..end])),
        None => escape(text),
    }
}

/// A table: header cells and rows of cells that are markup already; the columns marked are numbers.
pub(crate) fn table(caption: &str, header: &[(&str, bool)], rows: &[Vec<String>]) -> String {
    let mut out =
        format!("<div class=\"scroll\" tabindex=\"0\"><table><caption>{}</caption><thead><tr>", escape(caption));
    for (name, number) in header {
        let _ = write!(out, "<th scope=\"col\"{}>{}</th>", class(*number), escape(name));
    }
    out.push_str("</tr></thead><tbody>");
    for row in rows {
        out.push_str("<tr>");
        for (cell, (_, number)) in row.iter().zip(header) {
            let _ = write!(out, "<td{}>{cell}</td>", class(*number));
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
    out
}

fn class(number: bool) -> &'static str {
    if number { " class=\"n\"" } else { "" }
}

/// What a section is opened to see.
pub(crate) fn details(summary: &str, open: bool, body: &str) -> String {
    format!("<details{}><summary>{summary}</summary>{body}</details>", if open { " open=\"open\"" } else { "" })
}

/// A legend of a chart: colour class and name.
pub(crate) fn legend(items: &[(&str, &str)]) -> String {
    let items = items
        .iter()
        .map(|(class, name)| {
            format!(
                "<li><svg class=\"key\" viewBox=\"0 0 12 12\" aria-hidden=\"true\">\
                 <rect width=\"12\" height=\"12\" rx=\"2\" class=\"{class}\"/></svg>{}</li>",
                escape(name)
            )
        })
        .collect::<Vec<_>>()
        .concat();
    format!("<ul class=\"legend\">{items}</ul>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_markup_and_none_hides() {
        assert_eq!(escape("<b a='1' c=\"2\">&amp;"), "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;amp;");
        assert_eq!(escape("a\u{0}b\u{1b}[31m\u{202e}c\u{feff}\nd"), "a\\u{0}b\\u{1b}[31m\\u{202e}c\\u{feff} d");
        assert_eq!(escape("你好 😀 é"), "你好 😀 é");
        assert_eq!(shortened("<<<<", 2), "&lt;&lt;…");
        assert_eq!(shortened("ab", 2), "ab");
    }
}
