//! Links between the pages of the documentation lead somewhere.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page, by its path from the root, without what stands in code blocks.
pub(crate) fn pages() -> BTreeMap<PathBuf, String> {
    let mut pages = BTreeMap::new();
    for directory in ["", "docs", "fuzz"] {
        for entry in std::fs::read_dir(root().join(directory)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let text = std::fs::read_to_string(&path).unwrap();
                // Every other piece between fences is code.
                let prose = format!("\n{text}").split("\n```").step_by(2).collect::<Vec<_>>().join("\n");
                pages.insert(path.strip_prefix(root()).unwrap().to_owned(), prose);
            }
        }
    }
    pages
}

/// The anchors of a page's headings, as GitHub makes them.
pub(crate) fn anchors(prose: &str) -> Vec<String> {
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        kept.chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .collect::<String>()
            .replace(' ', "-")
    };
    headings.map(anchor).collect()
}

/// The targets of a page's links and images.
fn targets(prose: &str) -> Vec<&str> {
    prose.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0)).collect()
}

/// A path without `..`.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut sum, part| {
        match part {
            Component::ParentDir => drop(sum.pop()),
            part => sum.push(part),
        }
        sum
    })
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let pages = pages();
    let mut seen = 0;
    for (page, prose) in &pages {
        for target in targets(prose).into_iter().filter(|target| !target.starts_with("http")) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = match file {
                "" => page.clone(),
                file => normal(&page.parent().unwrap().join(file)),
            };
            assert!(root().join(&path).exists(), "{}: there is no {target}", page.display());
            if !anchor.is_empty() {
                let there = anchors(&pages[&path]);
                assert!(there.iter().any(|known| known == anchor), "{}: {target} names no heading", page.display());
            }
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn every_page_is_reachable_from_the_readme() {
    let pages = pages();
    let (mut reached, mut next) = (Vec::new(), vec![PathBuf::from("README.md")]);
    while let Some(page) = next.pop() {
        if !reached.contains(&page) {
            let directory = page.parent().unwrap();
            let files = targets(&pages[&page]).into_iter().filter_map(|target| target.split('#').next());
            next.extend(files.map(|file| normal(&directory.join(file))).filter(|path| pages.contains_key(path)));
            reached.push(page);
        }
    }
    let lost: Vec<_> = pages.keys().filter(|page| !reached.contains(page)).collect();
    assert!(lost.is_empty(), "{lost:?}");
}
