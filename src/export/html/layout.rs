//! What the pages of an export have in common.

use maud::{Markup, html};

use crate::page::{document, is_misleading};

const STYLE: &str = include_str!("style.css");

/// A whole page.
pub(super) fn page(title: &str, content: &Markup) -> String {
    let body = html! {
        div.page {
            (content)
            footer {
                "Exported by yunxin-archiver " (env!("CARGO_PKG_VERSION")) ". Files and images are not part of the archive; \
                links point to where they were."
            }
        }
    };
    // Messages are prose: joined emoji and soft hyphens stay as they are.
    document(title, STYLE, is_misleading, &body)
}

/// Links to other pages. A link without a target is shown as text.
pub(super) fn nav(links: &[(Option<String>, &str)]) -> Markup {
    html! {
        @if !links.is_empty() {
            nav aria-label="Pages" {
                @for (target, text) in links {
                    @if let Some(target) = target { a href=(target) { (text) } } @else { span.off { (text) } }
                }
            }
        }
    }
}

/// A note after other words.
pub(super) fn after(note: &str) -> Markup {
    html! { @if !note.is_empty() { " · " (note) } }
}
