//! The list of hashes in the form of `sha256sum`: one line for each file, with its path as seen from the archive.

/// How the name of a directory of notes ends.
const BESIDE: &str = "-vanished/";

/// One line as `sha256sum` writes it. It escapes what would end a line.
pub(super) fn line(path: &str, sha256: &str) -> String {
    if path.contains(['\\', '\n', '\r']) {
        let path = path.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
        return format!("\\{sha256}  {path}\n");
    }
    format!("{sha256}  {path}\n")
}

/// The path and the hash in a line; `None` if it is no such line.
pub(super) fn listed(line: &str) -> Option<(String, &str)> {
    let line = line.strip_suffix('\n').unwrap_or(line);
    let Some(line) = line.strip_prefix('\\') else {
        return line.split_once("  ").map(|(sha256, path)| (path.to_owned(), sha256));
    };
    let (sha256, escaped) = line.split_once("  ")?;
    let (mut path, mut left) = (String::with_capacity(escaped.len()), escaped.chars());
    while let Some(char) = left.next() {
        path.push(match char {
            '\\' => match left.next()? {
                'n' => '\n',
                'r' => '\r',
                other => other,
            },
            char => char,
        });
    }
    Some((path, sha256))
}

/// For the path of a file beside the archive: the directory, and the path in it.
pub(super) fn listed_beside(path: &str) -> Option<(&str, &str)> {
    let (before, within) = path.rsplit_once(BESIDE).filter(|_| path.starts_with("../") || path.starts_with('/'))?;
    Some((&path[..before.len() + BESIDE.len() - 1], within))
}

/// Copies a list. Files beside the archive get the name that their directory has now.
pub(super) fn carry(list: &[u8], beside: Option<&str>, out: &mut Vec<u8>) {
    for line in list.split_inclusive(|byte| *byte == b'\n') {
        let renamed = std::str::from_utf8(line).ok().and_then(|line| renamed(line, beside?));
        out.extend_from_slice(renamed.as_ref().map_or(line, String::as_bytes));
    }
}

fn renamed(one: &str, beside: &str) -> Option<String> {
    let (path, sha256) = listed(one)?;
    let (directory, path) = listed_beside(&path)?;
    (directory != beside).then(|| line(&format!("{beside}/{path}"), sha256))
}

/// The last line of a list with its line break; `None` if there is no line.
pub(super) fn last_line(list: &[u8]) -> Option<&[u8]> {
    list.split_inclusive(|byte| *byte == b'\n').next_back()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_end_a_line_are_escaped_and_read_back() {
        assert_eq!(line("a b/c", "00"), "00  a b/c\n");
        assert_eq!(line("a\\b\nc", "00"), "\\00  a\\\\b\\nc\n");
        for path in ["a b/c", "a\\b\nc", "a\\nb\r", "two  spaces"] {
            assert_eq!(listed(&line(path, "00")), Some((path.to_owned(), "00")));
        }
    }

    #[test]
    fn what_lies_beside_the_archive_is_told_by_its_path() {
        assert_eq!(listed_beside("../a-vanished/date=1/b"), Some(("../a-vanished", "date=1/b")));
        assert_eq!(listed_beside("/x-vanished/a-vanished/b"), Some(("/x-vanished/a-vanished", "b")));
        assert_eq!((listed_beside("a-vanished/b"), listed_beside("../a/b")), (None, None));
        assert_eq!(renamed("00  ../old-vanished/b\n", "../new-vanished").unwrap(), "00  ../new-vanished/b\n");
        assert_eq!(renamed("00  ../new-vanished/b\n", "../new-vanished"), None);
    }
}
