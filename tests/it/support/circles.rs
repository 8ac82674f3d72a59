//! Finds files that import each other in a loop.

use std::collections::{BTreeMap, BTreeSet};

use super::house::{Code, Sources, absolute};

type Arrows = BTreeMap<String, BTreeSet<String>>;

/// Every circle, as the files that are in it. A file and those of the folder that bears its name are no circle: it declares
/// them and hands on their names, and they use what it declares.
pub(crate) fn circles(sources: &Sources) -> Vec<Vec<String>> {
    let codes: BTreeMap<String, Code> = sources
        .iter()
        .filter(|(file, _)| {
            !matches!(file.as_str(), "lib.rs" | "main.rs" | "fuzzing.rs") && !file.ends_with("tests.rs")
        })
        .map(|(file, source)| (module_of(file), Code::read(source)))
        .collect();
    let arrows: Arrows = codes
        .iter()
        .map(|(module, code)| {
            let segments: Vec<&str> = module.split("::").collect();
            let named = code.paths.iter().filter_map(|path| definer(&absolute(path, &segments), &codes));
            (module.clone(), named.filter(|other| !is_related(module, other)).collect())
        })
        .collect();
    let reach: Arrows = arrows.keys().map(|module| (module.clone(), reachable(module, &arrows))).collect();
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for (module, reached) in reach.iter().filter(|(module, reached)| reached.contains(*module)) {
        if seen.insert(module.clone()) {
            let circle: Vec<String> = reached.iter().filter(|other| reach[*other].contains(module)).cloned().collect();
            seen.extend(circle.iter().cloned());
            found.push(circle);
        }
    }
    found
}

fn module_of(file: &str) -> String {
    file.trim_end_matches(".rs").replace('/', "::")
}

/// Whether one of two modules is inside the other.
fn is_related(a: &str, b: &str) -> bool {
    a == b || a.starts_with(&format!("{b}::")) || b.starts_with(&format!("{a}::"))
}

/// The module that defines what a path names, through those that only hand its name on.
fn definer(path: &str, codes: &BTreeMap<String, Code>) -> Option<String> {
    let path = path.strip_prefix("crate::")?;
    let ends = path.match_indices("::").map(|(at, _)| at).chain([path.len()]);
    let module = ends.map(|end| &path[..end]).filter(|module| codes.contains_key(*module)).last()?;
    let name = path[module.len()..].trim_start_matches("::").split("::").next().unwrap_or_default();
    let segments: Vec<&str> = module.split("::").collect();
    let handed_on = codes[module].paths.iter().find_map(|exported| {
        let inside = format!("{module}::{exported}");
        let inner = exported.rsplit_once("::").filter(|(_, last)| !name.is_empty() && *last == name)?.0;
        let first = inner.split("::").next()?;
        let child = format!("{module}::{first}");
        codes.contains_key(&child).then(|| format!("crate::{inside}")).or_else(|| {
            let whole = absolute(exported, &segments);
            whole.starts_with(&format!("crate::{module}::")).then_some(whole)
        })
    });
    match handed_on {
        Some(inner) if inner != format!("crate::{path}") => definer(&inner, codes),
        _ => Some(module.to_owned()),
    }
}

fn reachable(from: &str, arrows: &Arrows) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&String> = arrows[from].iter().collect();
    while let Some(module) = next.pop() {
        if reached.insert(module.clone()) {
            next.extend(&arrows[module]);
        }
    }
    reached
}
