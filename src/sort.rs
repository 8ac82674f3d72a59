//! An order over more than memory holds: sorted runs on disk, merged.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// As many runs of one level are merged into one of the next, so that a merge has few files open however much there
/// is to sort.
const FAN: usize = 24;

/// What can be put in order.
pub(crate) trait Sortable: Sized {
    /// Where it stands in relation to another.
    fn place(&self, other: &Self) -> Ordering;

    /// The bytes of memory that it occupies, about.
    fn size(&self) -> usize;

    /// Writes it.
    fn write(&self, out: &mut impl Write) -> io::Result<()>;

    /// Reads the next one that was written; `None` at the end.
    fn read(input: &mut impl BufRead) -> io::Result<Option<Self>>;
}

/// Puts entries in order.
#[derive(Debug)]
pub(crate) struct Sorter<E> {
    directory: PathBuf,
    memory: usize,
    held: Vec<E>,
    size: usize,
    /// Runs by level.
    runs: Vec<Vec<File>>,
}

impl<E: Sortable> Sorter<E> {
    /// A sorter that holds about so many bytes, and puts what is more into nameless files of this directory.
    pub(crate) fn new(directory: PathBuf, memory: usize) -> Self {
        Self { directory, memory, held: Vec::new(), size: 0, runs: Vec::new() }
    }

    /// Takes an entry.
    pub(crate) fn push(&mut self, entry: E) -> io::Result<()> {
        self.size += entry.size();
        self.held.push(entry);
        if self.size < self.memory {
            return Ok(());
        }
        self.sort_held();
        let mut run = Run::create(&self.directory)?;
        for entry in self.held.drain(..) {
            entry.write(&mut run.out)?;
        }
        self.size = 0;
        let run = run.finish()?;
        self.add(0, run)
    }

    fn sort_held(&mut self) {
        self.held.sort_unstable_by(E::place);
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
        for entry in Merge::<E>::new(merged, Vec::new())? {
            entry?.write(&mut run.out)?;
        }
        let run = run.finish()?;
        self.add(level + 1, run)
    }

    /// Everything, in order.
    pub(crate) fn finish(mut self) -> io::Result<Merge<E>> {
        self.sort_held();
        Merge::new(self.runs.into_iter().flatten().collect(), self.held)
    }
}

/// A run being written. The file has no name: it is gone with the process.
struct Run {
    out: zstd::Encoder<'static, BufWriter<File>>,
}

impl Run {
    fn create(directory: &Path) -> io::Result<Self> {
        let path = directory.join(format!("{}.run", uuid::Uuid::now_v7()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(Self { out: zstd::Encoder::new(BufWriter::with_capacity(1 << 16, file), 1)? })
    }

    fn finish(self) -> io::Result<File> {
        let mut file = self.out.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        Ok(file)
    }
}

enum Input<E> {
    Run(Box<BufReader<zstd::Decoder<'static, BufReader<File>>>>),
    Held(std::vec::IntoIter<E>),
}

impl<E: Sortable> Input<E> {
    fn next(&mut self) -> io::Result<Option<E>> {
        match self {
            Self::Held(entries) => Ok(entries.next()),
            Self::Run(run) => E::read(run.as_mut()),
        }
    }
}

/// Several sorted runs as one.
pub(crate) struct Merge<E> {
    inputs: Vec<Input<E>>,
    heads: BinaryHeap<Reverse<Head<E>>>,
}

struct Head<E> {
    entry: E,
    input: usize,
}

impl<E: Sortable> PartialEq for Head<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E: Sortable> Eq for Head<E> {}

impl<E: Sortable> PartialOrd for Head<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E: Sortable> Ord for Head<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.entry.place(&other.entry).then(self.input.cmp(&other.input))
    }
}

impl<E: Sortable> Merge<E> {
    fn new(runs: Vec<File>, held: Vec<E>) -> io::Result<Self> {
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

impl<E: Sortable> Iterator for Merge<E> {
    type Item = io::Result<E>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse(Head { entry, input }) = self.heads.pop()?;
        Some(self.advance(input).map(|()| entry))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
    struct Number(u64);

    impl Sortable for Number {
        fn place(&self, other: &Self) -> Ordering {
            self.cmp(other)
        }

        fn size(&self) -> usize {
            size_of::<Self>()
        }

        fn write(&self, out: &mut impl Write) -> io::Result<()> {
            writeln!(out, "{}", self.0)
        }

        fn read(input: &mut impl BufRead) -> io::Result<Option<Self>> {
            let mut line = String::new();
            input.read_line(&mut line)?;
            Ok(line.trim_end().parse().ok().map(Self))
        }
    }

    #[test]
    fn what_does_not_fit_into_memory_comes_out_in_order_and_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::new(directory.path().to_path_buf(), 3 * size_of::<Number>());
        let total = 3 * (FAN as u64) * (FAN as u64) / 2;
        for n in 0..total {
            sorter.push(Number(n * 7_919 % total)).unwrap();
        }
        assert!(sorter.runs.len() > 1 && sorter.runs.iter().all(|runs| runs.len() < FAN), "{:?}", sorter.runs);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        let all: Vec<u64> = sorter.finish().unwrap().map(|number| number.unwrap().0).collect();
        assert_eq!(all, (0..total).collect::<Vec<_>>());
    }
}
