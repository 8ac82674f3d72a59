//! The blocks that reports and certificates are built of.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, Render, html};

use super::figures::{time, zone};

/// The style sheet of these blocks and of drawings.
pub(crate) const STYLE: &str = include_str!("sheet.css");

/// The top of a page, with the result as a badge and as a sentence.
pub(crate) struct Heading<'a> {
    /// Links to other pages.
    pub(crate) links: &'a [(&'a str, &'a str)],
    /// What kind of page it is.
    pub(crate) kind: &'a str,
    /// What it is about.
    pub(crate) name: &'a str,
    /// The time that it covers.
    pub(crate) when: Markup,
    /// `good`, `warn`, `bad` or `neutral`.
    pub(crate) tone: &'a str,
    /// The result in a few words.
    pub(crate) badge: &'a str,
    /// The result in a sentence or two.
    pub(crate) sentence: &'a str,
    /// What went wrong.
    pub(crate) error: Option<&'a str>,
}

impl Render for Heading<'_> {
    fn render(&self) -> Markup {
        html! {
            header {
                (nav(self.links))
                p.over { "yunxin-archiver · " (self.kind) }
                h1 { bdi { (self.name) } " " span.badge.(self.tone) { (self.badge) } }
                p.when { (self.when) }
                p.verdict.(self.tone) { (self.sentence) }
                @if let Some(error) = self.error {
                    p.error { bdi { (error) } }
                }
            }
        }
    }
}

/// A section under its title.
pub(crate) fn section(id: &str, title: &str, body: &Markup) -> Markup {
    html! {
        section #(id) aria-labelledby={ (id) "-h" } {
            h2 id={ (id) "-h" } { (title) }
            (body)
        }
    }
}

/// Numbers side by side, each with its name and a note.
pub(crate) fn tiles(tiles: &[(&str, String, String)]) -> Markup {
    html! {
        dl.tiles {
            @for (name, number, beside) in tiles {
                div.tile { dt { (name) } dd { b { (number) } span { (beside) } } }
            }
        }
    }
}

/// Facts by name.
pub(crate) fn facts(facts: &[(&str, String)]) -> Markup {
    html! {
        dl.facts {
            @for (name, value) in facts {
                dt { (name) } dd { bdi { (value) } }
            }
        }
    }
}

/// The text of a section that has nothing to show.
pub(crate) fn none(words: &str) -> Markup {
    html! { p.none { (words) } }
}

/// A table. Each column has a name, and says whether its cells are numbers. `rows` are `tr` elements.
pub(crate) fn table(caption: &str, columns: &[(&str, bool)], rows: &Markup) -> Markup {
    html! {
        div.scroll tabindex="0" {
            table {
                caption { (caption) }
                thead {
                    tr {
                        @for (name, is_number) in columns {
                            th scope="col" class=[is_number.then_some("n")] { (name) }
                        }
                    }
                }
                tbody { (rows) }
            }
        }
    }
}

/// A block that can be folded.
pub(crate) fn details(summary: &impl Render, is_open: bool, body: &Markup) -> Markup {
    html! {
        details open=[is_open.then_some("open")] {
            summary { (summary) }
            (body)
        }
    }
}

/// The legend of a chart: colour classes and names.
pub(crate) fn legend(items: &[(&str, &str)]) -> Markup {
    html! {
        ul.legend {
            @for (class, name) in items {
                li {
                    svg.key viewBox="0 0 12 12" aria-hidden="true" { rect width="12" height="12" rx="2" class=(class) {} }
                    (name)
                }
            }
        }
    }
}

/// The end of a page. Without a time the page is the same whenever it is made.
pub(crate) fn footer(version: &str, made_at: Option<Timestamp>, timezone: &TimeZone) -> Markup {
    html! {
        footer {
            p {
                "Made by yunxin-archiver " (version)
                @if let Some(at) = made_at { " on " (time(at, timezone)) " " (zone(timezone)) }
                ". This page contains conversation and message IDs: handle it with the same care as the archive."
            }
        }
    }
}

/// Links to other pages: targets and names.
pub(crate) fn nav(links: &[(&str, &str)]) -> Markup {
    html! {
        @if !links.is_empty() {
            nav aria-label="Pages" { @for (target, name) in links { a href=(target) { (name) } } }
        }
    }
}

/// At most `most` characters of a text.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(shortened("你好你好", 2), "你好…");
        assert_eq!(shortened("ab", 2), "ab");
    }
}
