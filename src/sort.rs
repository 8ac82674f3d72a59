//! Sorting more than memory holds: sorted runs on disk, merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// How many runs of one level are merged into one of the next: a merge then has few files open, however much there is to
/// sort.
const FAN: usize = 24;

/// What can be sorted.
pub(crate) trait Sortable: Ord + Sized {
    /// About how many bytes of memory it occupies.
    fn size(&self) -> usize;

    /// Writes it.
    fn write(&self, out: &mut impl Write) -> io::Result<()>;

    /// Reads the next one that was written; `None` at the end.
    fn read(input: &mut impl BufRead) -> io::Result<Option<Self>>;
}

/// Sorts entries.
#[derive(Debug)]
pub(crate) struct Sorter<E> {
    directory: PathBuf,
    memory: usize,
    in_memory: Vec<E>,
    size: usize,
    /// Runs by level.
    runs: Vec<Vec<File>>,
}

impl<E: Sortable> Sorter<E> {
    /// A sorter that keeps about so many bytes in memory, and the rest in nameless files of this directory.
    pub(crate) fn new(directory: PathBuf, memory: usize) -> Self {
        Self { directory, memory, in_memory: Vec::new(), size: 0, runs: Vec::new() }
    }

    /// Takes an entry.
    pub(crate) fn push(&mut self, entry: E) -> io::Result<()> {
        self.size += entry.size();
        self.in_memory.push(entry);
        if self.size < self.memory {
            return Ok(());
        }
        self.size = 0;
        self.in_memory.sort_unstable();
        let run = write_run(&self.directory, self.in_memory.drain(..).map(Ok))?;
        self.add(0, run)
    }

    fn add(&mut self, level: usize, run: File) -> io::Result<()> {
        if self.runs.len() <= level {
            self.runs.push(Vec::new());
        }
        self.runs[level].push(run);
        if self.runs[level].len() < FAN {
            return Ok(());
        }
        let merged = Merge::<E>::new(std::mem::take(&mut self.runs[level]), Vec::new())?;
        let run = write_run(&self.directory, merged)?;
        self.add(level + 1, run)
    }

    /// Everything, in order.
    pub(crate) fn finish(mut self) -> io::Result<Merge<E>> {
        self.in_memory.sort_unstable();
        Merge::new(self.runs.into_iter().flatten().collect(), self.in_memory)
    }
}

/// Writes sorted entries into a file that has no name: it is gone with the process.
fn write_run<E: Sortable>(directory: &Path, entries: impl Iterator<Item = io::Result<E>>) -> io::Result<File> {
    let path = directory.join(format!("{}.run", uuid::Uuid::now_v7()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    let mut out = zstd::Encoder::new(BufWriter::with_capacity(1 << 16, file), 1)?;
    for entry in entries {
        entry?.write(&mut out)?;
    }
    let mut file = out.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    Ok(file)
}

enum Input<E> {
    Run(Box<BufReader<zstd::Decoder<'static, BufReader<File>>>>),
    Memory(std::vec::IntoIter<E>),
}

impl<E: Sortable> Input<E> {
    fn next(&mut self) -> io::Result<Option<E>> {
        match self {
            Self::Memory(entries) => Ok(entries.next()),
            Self::Run(run) => E::read(run.as_mut()),
        }
    }
}

/// Several sorted runs as one.
pub(crate) struct Merge<E> {
    inputs: Vec<Input<E>>,
    /// The next entry of each input, and which input that is.
    next: BinaryHeap<Reverse<(E, usize)>>,
}

impl<E: Sortable> Merge<E> {
    fn new(runs: Vec<File>, in_memory: Vec<E>) -> io::Result<Self> {
        let mut inputs = Vec::with_capacity(runs.len() + 1);
        for run in runs {
            inputs.push(Input::Run(Box::new(BufReader::new(zstd::Decoder::new(run)?))));
        }
        inputs.push(Input::Memory(in_memory.into_iter()));
        let mut merge = Self { inputs, next: BinaryHeap::new() };
        for input in 0..merge.inputs.len() {
            merge.advance(input)?;
        }
        Ok(merge)
    }

    fn advance(&mut self, input: usize) -> io::Result<()> {
        if let Some(entry) = self.inputs[input].next()? {
            self.next.push(Reverse((entry, input)));
        }
        Ok(())
    }
}

impl<E: Sortable> Iterator for Merge<E> {
    type Item = io::Result<E>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((entry, input)) = self.next.pop()?;
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
