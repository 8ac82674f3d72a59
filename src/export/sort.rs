//! An order over more messages than memory holds: sorted runs on disk, merged.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::record::{Column, Record};

/// As many runs of one level are merged into one of the next, so that a merge has few files open however many
/// messages there are.
const FAN: usize = 24;

/// A version of a message on its way to its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Whether it is thread context and was not selected itself.
    pub(super) context: bool,
    /// The version.
    pub(super) record: Record,
}

impl Entry {
    fn place(&self) -> (&str, &str, i64, i64, i64, bool) {
        let record = &self.record;
        let revision = record.integer(Column::Revision).unwrap_or_default();
        (record.app_key(), record.conversation_key(), record.create_time(), record.id(), revision, self.context)
    }
}

/// Sorts by application, conversation, time, ID and revision.
#[derive(Debug)]
pub(super) struct Sorter {
    directory: PathBuf,
    memory: usize,
    held: Vec<Entry>,
    size: usize,
    /// Runs by level.
    runs: Vec<Vec<File>>,
}

impl Sorter {
    /// A sorter that holds about so many bytes, and puts what is more into nameless files of this directory.
    pub(super) fn new(directory: PathBuf, memory: usize) -> Self {
        Self { directory, memory, held: Vec::new(), size: 0, runs: Vec::new() }
    }

    /// Takes an entry.
    pub(super) fn push(&mut self, entry: Entry) -> io::Result<()> {
        self.size += entry.record.size();
        self.held.push(entry);
        if self.size < self.memory {
            return Ok(());
        }
        self.sort_held();
        let mut run = Run::create(&self.directory)?;
        for entry in self.held.drain(..) {
            run.write(&entry)?;
        }
        self.size = 0;
        let run = run.finish()?;
        self.add(0, run)
    }

    fn sort_held(&mut self) {
        self.held.sort_unstable_by(|a, b| a.place().cmp(&b.place()));
    }

    fn add(&mut self, level: usize, run: File) -> io::Result<()> {
        if self.runs.len() <= level {
            self.runs.push(Vec::new());
        }
        self.runs[level].push(run);
        if self.runs[level].len() < FAN {
            return Ok(());
        }
        let merged = std::mem::take(&mut self.runs[level]);
        let mut run = Run::create(&self.directory)?;
        for entry in Merge::new(merged, Vec::new())? {
            run.write(&entry?)?;
        }
        let run = run.finish()?;
        self.add(level + 1, run)
    }

    /// Everything, in order.
    pub(super) fn finish(mut self) -> io::Result<Merge> {
        self.sort_held();
        Merge::new(self.runs.into_iter().flatten().collect(), self.held)
    }
}

/// A run being written. The file has no name: it is gone with the process.
struct Run {
    out: zstd::Encoder<'static, BufWriter<File>>,
}

impl Run {
    fn create(directory: &std::path::Path) -> io::Result<Self> {
        let path = directory.join(format!("{}.run", uuid::Uuid::now_v7()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(Self { out: zstd::Encoder::new(BufWriter::with_capacity(1 << 16, file), 1)? })
    }

    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, entry)?;
        self.out.write_all(b"\n")
    }

    fn finish(self) -> io::Result<File> {
        let mut file = self.out.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        Ok(file)
    }
}

enum Input {
    Run(Box<BufReader<zstd::Decoder<'static, BufReader<File>>>>),
    Held(std::vec::IntoIter<Entry>),
}

impl Input {
    fn next(&mut self) -> io::Result<Option<Entry>> {
        match self {
            Self::Held(entries) => Ok(entries.next()),
            Self::Run(lines) => {
                let mut line = Vec::new();
                if lines.read_until(b'\n', &mut line)? == 0 {
                    return Ok(None);
                }
                Ok(Some(serde_json::from_slice(&line)?))
            }
        }
    }
}

/// Several sorted runs as one.
pub(super) struct Merge {
    inputs: Vec<Input>,
    heads: BinaryHeap<Reverse<Head>>,
}

struct Head {
    entry: Entry,
    input: usize,
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.entry.place(), self.input).cmp(&(other.entry.place(), other.input))
    }
}

impl Merge {
    fn new(runs: Vec<File>, held: Vec<Entry>) -> io::Result<Self> {
        let mut inputs = Vec::with_capacity(runs.len() + 1);
        for run in runs {
            inputs.push(Input::Run(Box::new(BufReader::new(zstd::Decoder::new(run)?))));
        }
        inputs.push(Input::Held(held.into_iter()));
        let mut merge = Self { inputs, heads: BinaryHeap::new() };
        for input in 0..merge.inputs.len() {
            merge.advance(input)?;
        }
        Ok(merge)
    }

    fn advance(&mut self, input: usize) -> io::Result<()> {
        if let Some(entry) = self.inputs[input].next()? {
            self.heads.push(Reverse(Head { entry, input }));
        }
        Ok(())
    }
}

impl Iterator for Merge {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse(Head { entry, input }) = self.heads.pop()?;
        Some(self.advance(input).map(|()| entry))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::export::record::Value;

    fn entry(conversation: &str, time: i64, id: i64) -> Entry {
        let mut record = Record::new();
        record.set(Column::ConversationKey, Value::Text(conversation.to_owned()));
        record.set(Column::CreateTime, Value::Integer(time));
        record.set(Column::MessageServerId, Value::Integer(id));
        record.set(Column::Text, Value::Text(format!("text {id}\n\"中文\"")));
        Entry { context: false, record }
    }

    #[test]
    fn what_does_not_fit_into_memory_comes_out_in_order_and_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let small = entry("1|a|b", 0, 0).record.size() * 3;
        let mut sorter = Sorter::new(directory.path().to_path_buf(), small);
        let total = 3 * (FAN as i64) * (FAN as i64) / 2;
        for n in 0..total {
            let id = n * 7_919 % total;
            sorter.push(entry(if id % 3 == 0 { "1|a|b" } else { "2|7" }, id / 2, id)).unwrap();
        }
        assert!(sorter.runs.len() > 1 && sorter.runs.iter().all(|runs| runs.len() < FAN), "{:?}", sorter.runs);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        let all: Vec<Entry> = sorter.finish().unwrap().map(Result::unwrap).collect();
        assert_eq!(all.len() as i64, total);
        assert!(all.windows(2).all(|pair| pair[0].place() < pair[1].place()));
        assert!(all.iter().all(|entry| entry.record.text(Column::Text).unwrap().ends_with("\n\"中文\"")));
    }
}
