//! Which messages are there twice: keys in sorted runs on disk, merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// So many runs are merged into one, so that few files are open.
const FAN: usize = 64;
const BUFFER: usize = 1 << 16;

/// A version of a message, and the file that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) id: i64,
    pub(super) app: u32,
    pub(super) revision: i32,
    pub(super) file: u32,
}

impl Key {
    fn is_same(&self, other: &Self) -> bool {
        (self.id, self.app, self.revision) == (other.id, other.app, other.revision)
    }
}

/// Keys in any order, of which memory holds a bounded number.
pub(super) struct Keys {
    held: Vec<Key>,
    most: usize,
    directory: PathBuf,
    runs: Vec<File>,
}

impl Keys {
    /// Keys that take so many bytes of memory. What is more lies in nameless files of this directory.
    pub(super) fn new(memory: usize, directory: &Path) -> Self {
        let most = (memory / size_of::<Key>()).max(1);
        Self { held: Vec::new(), most, directory: directory.to_path_buf(), runs: Vec::new() }
    }

    pub(super) fn push(&mut self, key: Key) -> io::Result<()> {
        self.held.push(key);
        if self.held.len() < self.most {
            return Ok(());
        }
        self.held.sort_unstable();
        let mut run = Run::create(&self.directory)?;
        for key in self.held.drain(..) {
            run.write(key)?;
        }
        self.runs.push(run.finish()?);
        if self.runs.len() == FAN {
            let mut merge = Merge::new(self.runs.drain(..).map(Input::of).collect())?;
            let mut run = Run::create(&self.directory)?;
            while let Some(key) = merge.next()? {
                run.write(key)?;
            }
            self.runs.push(run.finish()?);
        }
        Ok(())
    }
}

/// Merges all keys and tells of each that is there several times, with every place where it is.
pub(super) fn several(all: Vec<Keys>, mut tell: impl FnMut(&[Key])) -> io::Result<()> {
    let mut inputs = Vec::new();
    for mut keys in all {
        keys.held.sort_unstable();
        inputs.extend(keys.runs.into_iter().map(Input::of));
        inputs.push(Input::Held(keys.held.into_iter()));
    }
    let mut merge = Merge::new(inputs)?;
    let mut same: Vec<Key> = Vec::new();
    while let Some(key) = merge.next()? {
        if same.first().is_some_and(|first| !first.is_same(&key)) {
            if same.len() > 1 {
                tell(&same);
            }
            same.clear();
        }
        same.push(key);
    }
    if same.len() > 1 {
        tell(&same);
    }
    Ok(())
}

/// A run being written, about seven bytes a key. The file has no name: it is gone with the process.
struct Run {
    out: BufWriter<File>,
    before: i64,
}

impl Run {
    fn create(directory: &Path) -> io::Result<Self> {
        let path = directory.join(format!("{}.run", uuid::Uuid::now_v7()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(Self { out: BufWriter::with_capacity(BUFFER, file), before: 0 })
    }

    /// The step from the ID before, and whether application and revision are the usual ones, then those if not.
    fn write(&mut self, key: Key) -> io::Result<()> {
        let usual = key.app == 0 && key.revision == 0;
        let step = key.id.wrapping_sub(self.before) as u64;
        self.before = key.id;
        self.varint(u128::from(step) << 1 | u128::from(!usual))?;
        if !usual {
            self.varint(key.app.into())?;
            self.varint(u128::from(key.revision as u32))?;
        }
        self.varint(key.file.into())
    }

    fn varint(&mut self, mut value: u128) -> io::Result<()> {
        while value >= 0x80 {
            self.out.write_all(&[value as u8 | 0x80])?;
            value >>= 7;
        }
        self.out.write_all(&[value as u8])
    }

    fn finish(self) -> io::Result<File> {
        let mut file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        Ok(file)
    }
}

enum Input {
    Held(std::vec::IntoIter<Key>),
    Run(Reader),
}

struct Reader {
    from: BufReader<File>,
    before: i64,
}

impl Input {
    fn of(run: File) -> Self {
        Self::Run(Reader { from: BufReader::with_capacity(BUFFER, run), before: 0 })
    }

    fn next(&mut self) -> io::Result<Option<Key>> {
        match self {
            Self::Held(keys) => Ok(keys.next()),
            Self::Run(run) => run.next(),
        }
    }
}

impl Reader {
    fn next(&mut self) -> io::Result<Option<Key>> {
        let Some(first) = self.varint()? else { return Ok(None) };
        let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
        self.before = self.before.wrapping_add((first >> 1) as u64 as i64);
        let (mut app, mut revision) = (0, 0);
        if first & 1 == 1 {
            app = self.varint()?.ok_or_else(cut)? as u32;
            revision = self.varint()?.ok_or_else(cut)? as u32 as i32;
        }
        let file = self.varint()?.ok_or_else(cut)? as u32;
        Ok(Some(Key { id: self.before, app, revision, file }))
    }

    /// Nothing at the end.
    fn varint(&mut self) -> io::Result<Option<u128>> {
        let (mut value, mut shift) = (0, 0);
        loop {
            let mut byte = [0];
            if self.from.read(&mut byte)? == 0 {
                return if shift == 0 { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            value |= u128::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                return Ok(Some(value));
            }
            shift += 7;
        }
    }
}

struct Merge {
    inputs: Vec<Input>,
    heads: BinaryHeap<Reverse<(Key, usize)>>,
}

impl Merge {
    fn new(inputs: Vec<Input>) -> io::Result<Self> {
        let mut merge = Self { heads: BinaryHeap::with_capacity(inputs.len()), inputs };
        for input in 0..merge.inputs.len() {
            merge.advance(input)?;
        }
        Ok(merge)
    }

    fn advance(&mut self, input: usize) -> io::Result<()> {
        if let Some(key) = self.inputs[input].next()? {
            self.heads.push(Reverse((key, input)));
        }
        Ok(())
    }

    fn next(&mut self) -> io::Result<Option<Key>> {
        let Some(Reverse((key, input))) = self.heads.pop() else { return Ok(None) };
        self.advance(input)?;
        Ok(Some(key))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_several_times_is_found_however_little_memory_there_is() {
        let directory = tempfile::tempdir().unwrap();
        let key = |id: i64, file| Key { id, app: u32::from(id % 3 == 0), revision: -i32::from(id % 5 == 0), file };
        for memory in [usize::MAX / 4, 24 * 10, 24] {
            let mut all = Vec::new();
            for file in 0..3_u32 {
                let mut keys = Keys::new(memory, directory.path());
                for n in 0..500_i64 {
                    let id = (n * 7919 % 500) * 3 + i64::from(file);
                    keys.push(key(if id % 2 == 0 { -id } else { id } * (i64::MAX / 2_000), file)).unwrap();
                }
                keys.push(key(i64::MIN, file)).unwrap();
                all.push(keys);
            }
            all[2].push(key(3, 9)).unwrap();
            all[0].push(key(3, 4)).unwrap();
            // The same ID in another revision is another version.
            all[1].push(Key { revision: 7, ..key(3, 4) }).unwrap();
            let mut told = Vec::new();
            several(all, |same| told.push((same[0].id, same.iter().map(|key| key.file).collect::<Vec<_>>()))).unwrap();
            // 0 is the same, negative or not, only in file 0; the lowest number is in all of them.
            assert_eq!(told, [(i64::MIN, vec![0, 1, 2]), (3, vec![4, 9])], "{memory}");
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        }
    }
}
