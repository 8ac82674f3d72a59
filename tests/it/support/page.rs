//! Pages, read by another program.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// Reads a page as XML; prints its tags, its attributes, and its text.
const READ: &str = r#"
import json, sys, xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
name = lambda full: full.split("}")[-1]
tags, attributes, links = set(), set(), []
for element in root.iter():
    tags.add(name(element.tag))
    for key, value in element.attrib.items():
        attributes.add(name(key))
words = lambda e: " ".join("".join(e.itertext()).split())
print(json.dumps({
    "tags": sorted(tags), "attributes": sorted(attributes), "text": " ".join(" ".join(root.itertext()).split()),
    "sums": [words(e) for e in root.iter() if e.tag.endswith("li") and ("agrees" in words(e) or "disagrees" in words(e))],
    "tiles": [words(e) for e in root.iter() if e.get("class") == "tile"],
    "commands": [words(e) for e in root.iter() if e.tag.endswith("pre")],
    "badge": [words(e) for e in root.iter() if (e.get("class") or "").startswith("badge")][0],
    "policy": [e.get("content") for e in root.iter() if e.get("http-equiv") == "Content-Security-Policy"][0],
}))
"#;

/// What a page holds, read by another program.
pub(crate) struct Read(pub(crate) Value);

impl Read {
    pub(crate) fn of(html: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("page.html");
        std::fs::write(&path, html).unwrap();
        let output = Command::new("python3").arg("-c").arg(READ).arg(&path).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self(serde_json::from_slice(&output.stdout).unwrap())
    }

    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        self.0[name].as_array().unwrap().iter().filter_map(Value::as_str).collect()
    }

    pub(crate) fn text(&self) -> &str {
        self.0["text"].as_str().unwrap()
    }

    pub(crate) fn badge(&self) -> &str {
        self.0["badge"].as_str().unwrap()
    }
}

/// That nothing on the page runs, and nothing is asked for.
pub(crate) fn is_self_contained(html: &str) {
    let read = Read::of(html);
    let known: BTreeSet<&str> = [
        "html", "head", "meta", "title", "style", "body", "main", "header", "footer", "section", "p", "h1", "h2", "h3",
        "b", "bdi", "span", "time", "dl", "dt", "dd", "div", "ul", "ol", "li", "pre", "code", "table", "caption",
        "thead", "tbody", "tr", "th", "td", "details", "summary", "svg", "rect", "line", "path", "text", "i",
    ]
    .into();
    let strange: Vec<&str> = read.list("tags").into_iter().filter(|tag| !known.contains(tag)).collect();
    assert!(strange.is_empty(), "{strange:?}");
    for attribute in read.list("attributes") {
        assert!(
            !attribute.starts_with("on") && !["href", "src", "style", "action", "srcset"].contains(&attribute),
            "{attribute}"
        );
    }
    let policy = read.0["policy"].as_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    let style = &html[html.find("<style>").unwrap()..html.find("</style>").unwrap()];
    assert!(!style.contains("url(") && !style.contains("@import") && style.contains("prefers-color-scheme: dark"));
    let namespaces = html.matches("http://www.w3.org/").count();
    assert_eq!(html.matches("<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">").count(), namespaces);
}
