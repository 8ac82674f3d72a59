//! Dependencies: where they come from, their licences, and which are banned. The rules are those of `deny.toml`, which
//! cargo-deny checks too, together with known vulnerabilities.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The quoted strings of a list in `deny.toml`.
fn list(name: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml")).unwrap();
    let list = text.split(&format!("\n{name} = [")).nth(1).unwrap().split(']').next().unwrap();
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

fn packages() -> Vec<Value> {
    let host = Command::new("rustc").arg("-vV").output().unwrap().stdout;
    let host = String::from_utf8(host).unwrap();
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", &host])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Whether the allowed licences satisfy an expression: `A OR (B AND C)`, or `A/B` in the old form.
fn allowed(expression: &str, allow: &BTreeSet<String>) -> bool {
    let expression = expression.trim();
    let (mut depth, mut parts, mut start) = (0, vec![], 0);
    for operator in [" OR ", "/", " AND "] {
        for (at, character) in expression.char_indices() {
            match character {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ if depth == 0 && at >= start && expression[at..].starts_with(operator) => {
                    parts.push(&expression[start..at]);
                    start = at + operator.len();
                }
                _ => {}
            }
        }
        if !parts.is_empty() {
            parts.push(&expression[start..]);
            let mut parts = parts.into_iter().map(|part| allowed(part, allow));
            return if operator == " AND " { parts.all(|part| part) } else { parts.any(|part| part) };
        }
    }
    match expression.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        Some(inner) => allowed(inner, allow),
        None => allow.contains(expression),
    }
}

#[test]
fn every_dependency_comes_from_the_registry_under_an_allowed_licence() {
    let (allow, banned) = (list("allow"), list("deny"));
    let packages = packages();
    assert!(packages.len() > 100 && allow.len() > 5 && banned.len() > 3);
    for package in &packages {
        let (name, licence) = (package["name"].as_str().unwrap(), package["license"].as_str().unwrap_or("none"));
        assert!(allowed(licence, &allow), "{name} is under {licence}, which deny.toml does not allow");
        assert!(!banned.contains(name), "{name} is banned by deny.toml");
        match package["source"].as_str() {
            None => assert_eq!(name, "yunxin-archiver"),
            Some(source) => assert_eq!(source, "registry+https://github.com/rust-lang/crates.io-index", "{name}"),
        }
    }
}

#[test]
fn no_crate_is_there_in_two_versions_unless_deny_toml_lists_it() {
    let skipped = list("skip");
    // Unlike the metadata, the tree leaves out what no feature needs.
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--duplicates", "--depth", "0", "--prefix", "none"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success() && skipped.len() > 3, "{}", String::from_utf8_lossy(&output.stderr));
    for line in String::from_utf8(output.stdout).unwrap().lines().filter(|line| !line.is_empty()) {
        let name = line.split(' ').next().unwrap();
        assert!(skipped.contains(name), "{line} is one of several versions, and deny.toml does not list it");
    }
}

#[test]
fn licence_expressions_are_understood() {
    let allow = BTreeSet::from(["MIT", "BSD-3-Clause", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned));
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0-only", false),
        ("GPL-3.0-only OR MIT", true),
        ("GPL-3.0-only/MIT", true),
        ("MIT AND GPL-3.0-only", false),
        ("(MIT OR Apache-2.0) AND BSD-3-Clause", true),
        ("(GPL-2.0-only OR Apache-2.0) AND BSD-3-Clause", false),
        ("Apache-2.0 WITH LLVM-exception OR GPL-2.0-only", true),
        ("MIT OR (GPL-2.0-only AND BSD-3-Clause)", true),
    ] {
        assert_eq!(allowed(expression, &allow), expected, "{expression}");
    }
}
