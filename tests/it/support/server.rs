//! A database server that lives no longer than the process that started it, in a directory of its own.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Runs the server and waits on a pipe: when this process ends, however it ends, the pipe closes, and the server and
/// its directory go. A line on the pipe before that means that the directory is still needed.
const KEEPER: &str = r#"
directory=$1; signal=$2; shift 2
"$@" </dev/null >>"$directory/log" 2>&1 &
server=$!
keep=; read -r keep
kill "-$signal" "$server" 2>/dev/null; wait "$server"
[ -n "$keep" ] || rm -rf "$directory"
"#;

/// A directory for a server, and the account that the server runs as.
pub(crate) struct Home {
    pub(crate) path: PathBuf,
    account: Option<(u32, u32)>,
}

impl Home {
    /// A fresh directory, owned by `account` (or `nobody`) when this process is root: servers refuse to run as root.
    pub(crate) fn new(account: &str) -> Self {
        let path = tempfile::Builder::new().prefix("it-").tempdir().unwrap().keep();
        let account =
            rustix::process::geteuid().is_root().then(|| look_up(account).or_else(|| look_up("nobody")).unwrap());
        if let Some((user, group)) = account {
            std::os::unix::fs::chown(&path, Some(user), Some(group)).unwrap();
        }
        Self { path, account }
    }

    /// What must stand before a program's name so that it runs as the account.
    fn prefix(&self) -> Vec<String> {
        match self.account {
            None => Vec::new(),
            Some((user, group)) => vec![
                "setpriv".to_owned(),
                format!("--reuid={user}"),
                format!("--regid={group}"),
                "--clear-groups".to_owned(),
            ],
        }
    }

    /// Runs a program to its end and insists on its success.
    pub(crate) fn run(&self, program: &Path, arguments: &[&str]) {
        let mut words = self.prefix();
        words.push(program.display().to_string());
        let output = Command::new(&words[0])
            .args(&words[1..])
            .args(arguments)
            .current_dir(&self.path)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        assert!(
            output.status.success(),
            "{} failed:\n{}{}",
            program.display(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Starts a server that `signal` ends.
    pub(crate) fn serve(&self, signal: &str, program: &Path, arguments: &[String]) -> Keeper {
        let child = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(&self.path)
            .arg(signal)
            .args(self.prefix())
            .arg(program)
            .args(arguments)
            .current_dir(&self.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // An interrupt at the terminal must reach the tests, not the server.
            .process_group(0)
            .spawn()
            .unwrap();
        Keeper { child }
    }

    /// What the server wrote so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path.join("log")).unwrap_or_default()
    }
}

/// A running server. Dropping it ends the server and removes its directory.
pub(crate) struct Keeper {
    child: Child,
}

impl Keeper {
    /// Ends the server at once and leaves its directory.
    pub(crate) fn stop(mut self) {
        let mut pipe = self.child.stdin.take().unwrap();
        pipe.write_all(b"keep\n").unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// A loopback port that is free now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// The first of these that exists: on the path, or in one of `places`.
pub(crate) fn find_program(name: &str, places: &[PathBuf]) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(places.iter().cloned())
        .map(|place| place.join(name))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| panic!("the tests need {name}, on the path"))
}

fn look_up(account: &str) -> Option<(u32, u32)> {
    let accounts = std::fs::read_to_string("/etc/passwd").ok()?;
    let fields: Vec<&str> =
        accounts.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == account)?;
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}
