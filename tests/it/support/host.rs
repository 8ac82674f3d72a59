//! A host under the binary: one that loses its power, or whose clock jumps. What `host.c` does is loaded into the process.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

/// The library, compiled once.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let made = tempfile::Builder::new().prefix("host-").suffix(".so").tempfile_in(directory).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/host.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .args([made.path(), &source])
            .args(["-ldl", "-lpthread"])
            .status()
            .unwrap();
        assert!(compiled.success());
        let place = directory.join("host.so");
        made.persist(&place).unwrap();
        place
    })
}

/// A clock that can be set while a process reads it.
pub(crate) struct Clock {
    place: PathBuf,
}

impl Clock {
    pub(crate) fn new(directory: &Path) -> Self {
        let clock = Self { place: directory.join("clock") };
        clock.set(0);
        clock
    }

    /// So many seconds ahead of the real time, or behind.
    pub(crate) fn set(&self, seconds: i64) {
        // In place: whoever has it mapped sees it.
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(false).open(&self.place).unwrap();
        std::io::Write::write_all(&mut file, &seconds.to_ne_bytes()).unwrap();
    }

    pub(crate) fn under<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.env("LD_PRELOAD", library()).env("HOST_CLOCK", &self.place)
    }
}

/// What of the names and contents that were never made durable is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// All of it.
    All,
    /// The contents; names and removals made it to the disk by themselves.
    Contents,
}

/// Directories as they are on a disk, at the moment from which on only what is synced is kept.
pub(crate) struct Disk {
    roots: Vec<PathBuf>,
    durable: TempDir,
    contents: BTreeMap<u64, Vec<u8>>,
    names: BTreeMap<u64, Vec<(u64, String)>>,
}

impl Disk {
    /// These directories, durable as they are. One that is not there yet may come.
    pub(crate) fn of(roots: &[PathBuf]) -> Self {
        let mut disk = Self {
            roots: roots.to_vec(),
            durable: tempfile::tempdir().unwrap(),
            contents: BTreeMap::new(),
            names: BTreeMap::new(),
        };
        for root in roots.iter().filter(|root| root.exists()) {
            disk.look(root);
        }
        disk
    }

    fn look(&mut self, path: &Path) {
        let found = std::fs::metadata(path).unwrap();
        if !found.is_dir() {
            self.contents.insert(found.ino(), std::fs::read(path).unwrap());
            return;
        }
        let names = names(path);
        for (_, name) in &names {
            self.look(&path.join(name));
        }
        self.names.insert(found.ino(), names);
    }

    pub(crate) fn under<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.env("LD_PRELOAD", library()).env("HOST_DURABLE", self.durable.path())
    }

    /// The power is gone, and the machine starts again. The roots themselves are kept.
    pub(crate) fn lose(&self, loss: Loss) {
        for root in self.roots.iter().filter(|root| root.exists()) {
            let made = root.with_extension("made-anew");
            self.make(root, std::fs::metadata(root).unwrap().ino(), &made, Some(root), loss);
            std::fs::remove_dir_all(root).unwrap();
            std::fs::rename(&made, root).unwrap();
        }
    }

    /// Makes what has this inode, and is now at `now` if it is still there, anew at `to`.
    fn make(&self, root: &Path, inode: u64, to: &Path, now: Option<&Path>, loss: Loss) {
        let kept = |kind: char| self.durable.path().join(format!("{kind}{inode}"));
        let mode = |mode: u32| std::fs::set_permissions(to, std::fs::Permissions::from_mode(mode)).unwrap();
        let is_directory = now.map_or(kept('d').exists() || self.names.contains_key(&inode), Path::is_dir);
        if !is_directory {
            let synced = std::fs::read(kept('f')).ok();
            let content = synced.or_else(|| self.contents.get(&inode).cloned()).unwrap_or_default();
            std::fs::write(to, content).unwrap();
            return mode(0o600);
        }
        let synced = std::fs::read_to_string(kept('d')).ok().map(|text| {
            let line = |line: &str| line.split_once(' ').map(|(inode, name)| (inode.parse().unwrap(), name.to_owned()));
            text.lines().filter_map(line).collect::<Vec<_>>()
        });
        let durable = synced.or_else(|| self.names.get(&inode).cloned()).unwrap_or_default();
        let names = match (loss, now) {
            (Loss::Contents, Some(now)) => names(now),
            _ => durable,
        };
        std::fs::create_dir(to).unwrap();
        mode(0o700);
        for (inode, name) in names {
            let there = find(root, inode);
            self.make(root, inode, &to.join(name), there.as_deref(), loss);
        }
    }
}

fn names(directory: &Path) -> Vec<(u64, String)> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| {
        let entry = entry.unwrap();
        (std::os::unix::fs::DirEntryExt::ino(&entry), entry.file_name().into_string().unwrap())
    });
    entries.collect()
}

/// Where something with this inode is now.
fn find(root: &Path, inode: u64) -> Option<PathBuf> {
    for (found, name) in names(root) {
        let path = root.join(name);
        if found == inode {
            return Some(path);
        }
        if let Some(path) = path.is_dir().then(|| find(&path, inode)).flatten() {
            return Some(path);
        }
    }
    None
}
