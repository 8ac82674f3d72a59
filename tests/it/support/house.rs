//! Reads Rust sources for the paths they name, and says where they break the rules of the house.

use std::collections::{BTreeMap, BTreeSet};

/// Sources by their path below `src/`, with `/`.
pub(crate) type Sources = BTreeMap<String, String>;

/// Rooms that are pure values.
const PURE: [&str; 5] = ["model", "plan", "sql", "page", "metrics"];
/// What a pure room may not name: I/O, clocks, randomness, asynchrony.
const IMPURE: [&str; 24] = [
    "arrow",
    "async_trait",
    "axum",
    "csv",
    "flate2",
    "futures_util",
    "glob",
    "parquet",
    "rand",
    "reqwest",
    "rustix",
    "rustls",
    "sqlx",
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "std::time",
    "tokio",
    "tokio_util",
    "walkdir",
    "zstd",
];
/// Rooms that do not know each other.
const STRANGERS: [&str; 4] = ["source", "yunxin", "archive", "ledger"];
/// Names that say nothing of what is inside.
const EMPTY_NAMES: [&str; 7] = ["util", "utils", "helper", "helpers", "common", "types", "misc"];
/// The most lines of a file.
const LINES: usize = 450;

/// Every breach of a rule, each a sentence that begins with the file.
pub(crate) fn breaches(sources: &Sources) -> Vec<String> {
    let mut found = Vec::new();
    for (file, source) in sources {
        let mut breach = |rule: String| found.push(format!("{file} {rule}"));
        let module: Vec<&str> = file.trim_end_matches(".rs").split('/').collect();
        if let Some(name) = module.iter().find(|name| EMPTY_NAMES.contains(name)) {
            breach(format!("has a name that says nothing: {name}"));
        }
        let lines = source.lines().count();
        if lines > LINES {
            breach(format!("has {lines} lines, more than {LINES}"));
        }
        if module.last() == Some(&"tests") {
            continue;
        }
        let code = Code::read(source);
        let room = module[0];
        let speaks = matches!(room, "cli" | "main");
        for name in &code.macros {
            if matches!(name.as_str(), "print" | "println" | "eprint" | "eprintln") && !speaks {
                breach(format!("prints with {name}!, which only cli and main do"));
            }
        }
        if PURE.contains(&room) && code.is_async {
            breach("is asynchronous, but its room is pure".to_owned());
        }
        for path in code.paths.iter().map(|path| absolute(path, &module)) {
            let names = |prefix: &str| path == prefix || path.starts_with(&format!("{prefix}::"));
            let other = path.strip_prefix("crate::").and_then(|rest| rest.split("::").next());
            if PURE.contains(&room) {
                if let Some(impure) = IMPURE.iter().find(|impure| names(impure)) {
                    breach(format!("names {impure}, but its room is pure"));
                }
                if let Some(other) = other.filter(|other| !PURE.contains(other)) {
                    breach(format!("names {other}, but its room is pure"));
                }
            }
            if STRANGERS.contains(&room) && other.is_some_and(|other| other != room && STRANGERS.contains(&other)) {
                breach(format!("names {path}, but {} do not know each other", STRANGERS.join(", ")));
            }
            if room == "config" && other.is_some_and(|other| other != "config" && !PURE.contains(&other)) {
                breach(format!("names {path}, but config knows only pure rooms"));
            }
            let reads_values = STRANGERS.contains(&room) || ["run", "export"].contains(&room);
            if reads_values && names("crate::config::Config") {
                breach(format!("names {path}, but rooms take values of the configuration, and cli reads the file"));
            }
            if room == "report" {
                if let Some(impure) = IMPURE.iter().find(|impure| names(impure)) {
                    breach(format!("names {impure}, but a report is made of values"));
                }
                if other.is_some_and(|other| !["report", "page", "model"].contains(&other)) {
                    breach(format!("names {path}, but a report is made of values"));
                }
            }
            if names("maud::PreEscaped") && file != "page.rs" {
                breach("names maud::PreEscaped, but only page.rs writes what is not escaped".to_owned());
            }
            if room == "run" {
                for kind in ["source", "archive"] {
                    let item = path.strip_prefix(&format!("crate::{kind}::")).and_then(|rest| rest.split("::").next());
                    if item.is_some_and(|item| !declared(sources, kind).contains(item)) {
                        breach(format!("names {path}, but run knows sources and archives by their traits"));
                    }
                }
            }
            if room == "export" && other.is_some_and(|other| matches!(other, "source" | "yunxin" | "ledger" | "run")) {
                breach(format!("names {path}, but export knows archives alone"));
            }
            if room == "completeness" {
                if other.is_some_and(|other| matches!(other, "yunxin" | "run" | "config")) {
                    breach(format!("names {path}, but completeness knows references, ledger and archive"));
                }
                let item = path.strip_prefix("crate::source::").and_then(|rest| rest.split("::").next());
                if item.is_some_and(|item| !declared(sources, "source").contains(item)) {
                    breach(format!("names {path}, but completeness knows sources by their trait"));
                }
            }
            if !matches!(room, "archive" | "run") && file != "cli/assemble.rs" {
                let schema = ["archive::parquet::schema", "archive::postgres::script"].map(|of| format!("crate::{of}"));
                let kinds = ["crate::archive::parquet", "crate::archive::postgres"];
                if kinds.iter().any(|kind| names(kind)) && !schema.iter().any(|schema| names(schema)) {
                    breach(format!("names {path}, but only cli/assemble.rs knows the kinds of archives"));
                }
            }
            if room == "cli"
                && file != "cli/assemble.rs"
                && ["Sink::Parquet", "Sink::Postgres", "SinkKind::Parquet", "SinkKind::Postgres"]
                    .iter()
                    .any(|kind| path.ends_with(kind))
            {
                breach(format!("names {path}, but only cli/assemble.rs matches on sinks"));
            }
            let tells = ["notify", "config", "metrics", "model", "locked", "panics", "replacement", "retry"];
            if room == "notify" && other.is_some_and(|other| !tells.contains(&other)) {
                breach(format!("names {path}, but who is told of a run knows values alone"));
            }
            if room == "storage" && other.is_some_and(|other| matches!(other, "archive" | "config" | "run" | "cli")) {
                breach(format!("names {path}, but a storage knows files and not what is in them"));
            }
            if room == "sort" && other.is_some() {
                breach(format!("names {path}, but sorting knows nobody"));
            }
            if room == "simulator" && other.is_some_and(|other| other != "simulator") {
                breach(format!("names {path}, but the simulator shares nothing"));
            }
            if room == "yunxin" && other == Some("simulator") {
                breach(format!("names {path}, but yunxin and the simulator share nothing"));
            }
            if !speaks && ["clap", "clap_complete"].iter().any(|name| names(name)) {
                breach(format!("names {path}, but only cli and main know clap"));
            }
            if !speaks && ["std::process::exit", "std::process::ExitCode"].iter().any(|name| names(name)) {
                breach(format!("names {path}, but only cli and main exit"));
            }
            if file != "fleet/nats.rs" && names("async_nats") {
                breach("names async_nats, which only fleet/nats.rs does".to_owned());
            }
            if room == "run" && other == Some("fleet") {
                breach(format!("names {path}, but run knows those who ask for its batches by their trait"));
            }
            if file != "progress.rs" && names("indicatif") {
                breach("names indicatif, which only progress.rs does".to_owned());
            }
        }
    }
    found
}

/// The traits, structs and enums by which others may know a room: those of its own file, its errors and its checkpoints.
fn declared(sources: &Sources, room: &str) -> BTreeSet<String> {
    let files = [format!("{room}.rs"), format!("{room}/error.rs"), format!("{room}/checkpoint.rs")];
    files.iter().filter_map(|file| sources.get(file)).flat_map(|source| Code::read(source).declared).collect()
}

/// A path with `self` and `super` resolved against the module it stands in.
pub(super) fn absolute(path: &str, module: &[&str]) -> String {
    let path = path.strip_prefix("yunxin_archiver::").map_or_else(|| path.to_owned(), |rest| format!("crate::{rest}"));
    let mut base = module.to_vec();
    let mut rest = path.as_str();
    let mut relative = false;
    loop {
        if let Some(tail) = rest.strip_prefix("super::") {
            base.pop();
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix("self::") {
            rest = tail;
        } else {
            break;
        }
        relative = true;
    }
    match (relative, base.is_empty()) {
        (false, _) => path,
        (true, true) => format!("crate::{rest}"),
        (true, false) => format!("crate::{}::{rest}", base.join("::")),
    }
}

/// What a source names, comments, texts and its tests left out.
#[derive(Debug, Default)]
pub(super) struct Code {
    pub(super) paths: BTreeSet<String>,
    macros: BTreeSet<String>,
    declared: BTreeSet<String>,
    is_async: bool,
}

impl Code {
    pub(super) fn read(source: &str) -> Self {
        let tokens = tokens(without_tests(source));
        let mut code = Self::default();
        let mut at = 0;
        while at < tokens.len() {
            let token = tokens[at].as_str();
            let next = tokens.get(at + 1).map_or("", String::as_str);
            match token {
                "use" => {
                    at += 1;
                    code.tree("", &tokens, &mut at);
                    continue;
                }
                "async" => code.is_async = true,
                "trait" | "struct" | "enum" => {
                    code.declared.insert(next.to_owned());
                }
                _ if is_name(token) && next == "!" => {
                    code.macros.insert(token.to_owned());
                }
                _ if is_name(token) && next == "::" => {
                    code.tree("", &tokens, &mut at);
                    if tokens.get(at).is_some_and(|token| token == "!") {
                        code.macros.insert(tokens[at - 1].clone());
                    }
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
        code
    }

    /// Reads a path, or the tree of paths of a `use`.
    fn tree(&mut self, prefix: &str, tokens: &[String], at: &mut usize) {
        let mut path = prefix.to_owned();
        while let Some(token) = tokens.get(*at) {
            match token.as_str() {
                "::" => *at += 1,
                "{" if path.is_empty() || tokens[*at - 1] == "::" => {
                    *at += 1;
                    while tokens.get(*at).is_some_and(|token| token != "}") {
                        self.tree(&path, tokens, at);
                        if tokens.get(*at).is_some_and(|token| token != "}") {
                            *at += 1;
                        }
                    }
                    *at += 1;
                    return;
                }
                name if (is_name(name) || name == "*") && (path == prefix || tokens[*at - 1] == "::") => {
                    if !path.is_empty() {
                        path.push_str("::");
                    }
                    path.push_str(name);
                    *at += 1;
                }
                _ => break,
            }
        }
        if path == prefix {
            *at += 1;
        } else {
            if tokens.get(*at).is_some_and(|token| token == "as") {
                *at += 2;
            }
            self.paths.insert(path);
        }
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// A file's tests stand at its end, in a module of that name.
fn without_tests(source: &str) -> &str {
    let tests = source.match_indices("\n#[cfg(test)]\n").find(|(at, attribute)| {
        let mut rest = source[at + attribute.len()..].lines();
        rest.find(|line| !line.starts_with("#[")).is_some_and(|line| line.starts_with("mod "))
    });
    tests.map_or(source, |(at, _)| &source[..at])
}

/// Names and punctuation, without comments and without what stands in quotes.
fn tokens(source: &str) -> Vec<String> {
    let chars: Vec<char> = source.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        match rest {
            ['/', '/', ..] => at += rest.iter().position(|&c| c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => {
                at += rest.windows(2).position(|pair| pair == ['*', '/']).map_or(rest.len(), |end| end + 2);
            }
            ['"', ..] => at += quoted(rest),
            ['r', '"' | '#', ..] | ['b', 'r', ..] if raw(rest).is_some() => at += raw(rest).unwrap(),
            ['b', '"', ..] => at += 1,
            ['\'', '\\', ..] => at += 3 + rest.iter().skip(3).position(|&c| c == '\'').unwrap_or(0) + 1,
            ['\'', _, '\'', ..] => at += 3,
            [':', ':', ..] => {
                tokens.push("::".to_owned());
                at += 2;
            }
            [c, ..] if c.is_alphanumeric() || *c == '_' => {
                let name: String = rest.iter().take_while(|c| c.is_alphanumeric() || **c == '_').collect();
                at += name.chars().count();
                tokens.push(name);
            }
            [c, ..] => {
                if !c.is_whitespace() {
                    tokens.push(c.to_string());
                }
                at += 1;
            }
            [] => unreachable!("the loop ends before"),
        }
    }
    tokens
}

/// The length of a text in quotes.
fn quoted(chars: &[char]) -> usize {
    let mut at = 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// The length of a raw text.
fn raw(chars: &[char]) -> Option<usize> {
    let start = chars.iter().position(|&c| c != 'b' && c != 'r')?;
    let hashes = chars[start..].iter().take_while(|&&c| c == '#').count();
    (chars.get(start + hashes) == Some(&'"')).then_some(())?;
    let body = start + hashes + 1;
    let end = (body..chars.len())
        .find(|&at| chars[at] == '"' && chars[at + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes)?;
    Some(end + 1 + hashes)
}
