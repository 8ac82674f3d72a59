//! What is fed with bytes that others wrote: the entry points of the fuzz targets in `fuzz/`, and, as tests, a short
//! run of each over the corpus and over what comes of it by chance.
//!
//! An entry point panics when something that must hold does not.

use std::path::Path;

use crate::config::{Config, JsonlSource, Source};
use crate::model::reference::{ConversationId, ConversationKey, same_account};
use crate::source::{Files, Format, Rows, Settings, open_with_stdin};

/// An answer of the API: every reference ends in a row or with one verdict.
pub fn decoder(bytes: &[u8]) {
    crate::yunxin::decode_any(bytes);
}

/// A conversation ID: what is accepted is written as it was read, and both sides of a dialogue have one key.
pub fn conversation_id(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(id) = ConversationId::parse(text) else { return };
    assert_eq!(ConversationId::parse(&id.to_string()).as_ref(), Ok(&id), "it is written as it is read");
    let key = id.key();
    assert_eq!(ConversationKey::from_stored(key.as_str().to_owned()), key);
    assert_eq!(key.seen_by(&id.owner).key(), key, "the owner sees the same dialogue");
    if let Some(other) = key.other_side(&id.owner) {
        let seen = key.seen_by(&other);
        assert_eq!(seen.key(), key, "the other side sees the same dialogue");
        assert!(same_account(&seen.owner, &other));
    }
}

/// Rows of copy events: each ends as a reference, as invalid, or as skipped.
pub fn copy_event(bytes: &[u8]) {
    let files = Files { path: "-".to_owned(), skip_consumed: false };
    let rows = Rows { format: Format::CopyEvent, ..Rows::default() };
    let settings = Settings::new(Source::Jsonl(JsonlSource { files, rows }));
    let input = Box::new(std::io::Cursor::new(bytes.to_vec()));
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let rows = runtime.expect("a runtime without threads starts").block_on(async {
        let mut rows = 0;
        let Ok(mut source) = open_with_stdin(settings, None, input).await else { return 0 };
        while let Ok(Some(chunk)) = source.next().await {
            assert_eq!(chunk.read(), chunk.len() as u64 + chunk.invalid.len() as u64 + chunk.skipped());
            assert!(chunk.iter().all(|reference| reference.message_server_id > 0));
            rows += chunk.read();
        }
        rows
    });
    let length = bytes.len();
    assert!(rows <= length as u64, "{rows} rows of {length} bytes");
}

/// A configuration: refused with words, or understood; a secret that it writes out is in neither.
pub fn configuration(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Config::parse(text, Path::new("jobs.yaml"), Path::new("/base"), |_| None) {
        Ok(config) => {
            assert!(
                config
                    .jobs
                    .iter()
                    .all(|job| config.job(&job.name).is_some() && config.apps.iter().any(|app| app.name == job.app))
            );
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use proptest::test_runner::{Config as Running, RngAlgorithm, TestRng, TestRunner};

    use super::*;

    /// Inputs of the corpus as they stand, then each of them changed in a few places: the same ones every time.
    fn run(target: &str, entry: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let mut inputs: Vec<_> = std::fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
        inputs.sort();
        let inputs: Vec<Vec<u8>> = inputs.iter().map(|path| std::fs::read(path).unwrap()).collect();
        assert!(inputs.len() >= 3, "the corpus of {target} is missing");
        for input in &inputs {
            entry(input);
        }
        let edit = (any::<prop::sample::Index>(), any::<u8>(), 0_u8..5, any::<prop::sample::Index>());
        let edits = prop::collection::vec(edit, 1..8);
        let input = (prop::sample::select(inputs), edits).prop_map(|(mut input, edits)| {
            for (at, byte, kind, to) in edits {
                if input.is_empty() {
                    break;
                }
                let (at, to) = (at.index(input.len()), to.index(input.len()));
                match kind {
                    0 => input[at] = byte,
                    1 => input.insert(at, byte),
                    2 => drop(input.remove(at)),
                    3 => input.truncate(at),
                    _ => {
                        let piece = input[at.min(to)..at.max(to)].to_vec();
                        input.splice(at..at, piece);
                    }
                }
            }
            input
        });
        let config = Running { cases: 1_000, failure_persistence: None, ..Running::default() };
        let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        runner
            .run(&input, |input| {
                entry(&input);
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn answers_are_decoded_whatever_they_hold() {
        run("decoder", decoder);
    }

    #[test]
    fn conversation_ids_are_read_whatever_they_hold() {
        run("conversation_id", conversation_id);
    }

    #[test]
    fn copy_events_are_read_whatever_they_hold() {
        run("copy_event", copy_event);
    }

    #[test]
    fn configurations_are_read_whatever_they_hold() {
        run("configuration", configuration);
    }
}
