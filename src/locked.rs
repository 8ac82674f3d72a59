//! A file that the kernel keeps locked for this process.

use std::fs::File;
use std::ops::Deref;

/// A locked file, unlocked when it is dropped. Closing it would not be enough: a child process that is being started shares
/// the descriptor, and with it the lock, until it runs its own program.
#[derive(Debug)]
pub(crate) struct Locked(File);

impl Locked {
    /// Takes a file that has just been locked.
    pub(crate) fn of(file: File) -> Self {
        Self(file)
    }
}

impl Deref for Locked {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.0.unlock().ok();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use std::process::{Child, Command};

    use super::*;

    /// A child process that has the descriptor of a locked file until it is dropped.
    pub(crate) struct Heir(Child);

    impl Heir {
        pub(crate) fn of(locked: &Locked) -> Self {
            Self(Command::new("sleep").arg("600").stdin(locked.try_clone().unwrap()).spawn().unwrap())
        }
    }

    impl Drop for Heir {
        fn drop(&mut self) {
            self.0.kill().ok();
            self.0.wait().ok();
        }
    }

    #[test]
    fn a_file_is_free_once_it_is_dropped_whatever_child_has_its_descriptor() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let other = file.reopen().unwrap();
        let held = file.reopen().unwrap();
        held.try_lock().unwrap();
        let held = Locked::of(held);
        let _heir = Heir::of(&held);
        assert!(other.try_lock().is_err());
        drop(held);
        other.try_lock().unwrap();
    }
}
