//! Object stores of our own: MiniStack, which knows conditions, and rclone, which ignores every one.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use uuid::Uuid;
use yunxin_archiver::model::manifest::BESIDE;
use yunxin_archiver::storage::{Conditions, Credentials, Encryption, ObjectSettings, Place, Provider, Storage};

use super::server::{Home, Keeper, find_program, free_port};

/// The secret key of every store.
pub(crate) const SECRET_KEY: &str = "hunter2-bucket";

/// A server that speaks S3.
pub(crate) struct Store {
    port: u16,
    buckets: AtomicU32,
    _home: Home,
    _keeper: Keeper,
}

/// A bucket of its own.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    address: String,
    pub(crate) name: String,
}

impl Store {
    /// A MiniStack. It is kept in memory.
    pub(crate) fn ministack() -> Self {
        Self::start("python3", |_, port| {
            let server = format!(
                "import os; os.environ.update(BIND_HOST='127.0.0.1', GATEWAY_PORT='{port}', SERVICES='s3', LOG_LEVEL='WARNING'); \
                 import sys; sys.argv = ['ministack']; from ministack.app import main; main()"
            );
            vec!["-c".to_owned(), server]
        })
    }

    /// An rclone that serves a directory.
    pub(crate) fn rclone() -> Self {
        Self::start("rclone", |home, port| {
            let directory = home.path.join("buckets");
            home.run(&PathBuf::from("/bin/mkdir"), &["-p", &directory.display().to_string()]);
            let words = format!(
                "serve s3 {} --config /dev/null --addr 127.0.0.1:{port} --auth-key yunxin-it,{SECRET_KEY}",
                directory.display()
            );
            words.split(' ').map(str::to_owned).collect()
        })
    }

    fn start(program: &str, arguments: impl Fn(&Home, u16) -> Vec<String>) -> Self {
        let stores = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/stores/bin");
        let home = Home::new("nobody");
        let path = stores.join(program);
        let path = if path.is_file() { path } else { find_program(program, &[]) };
        for _ in 0..5 {
            let port = free_port();
            let keeper = home.serve("KILL", &path, &arguments(&home, port));
            let began = Instant::now();
            while began.elapsed() < Duration::from_mins(1) && !home.log().contains("in use") {
                // Not by connecting alone: MiniStack takes connections before it answers.
                if answers(port) {
                    return Self { port, buckets: AtomicU32::new(0), _home: home, _keeper: keeper };
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            keeper.stop();
        }
        panic!("{program} does not start:\n{}", home.log());
    }

    /// A fresh bucket.
    pub(crate) fn bucket(&self) -> Bucket {
        let name = format!("bucket-{}", self.buckets.fetch_add(1, Ordering::Relaxed));
        let bucket = Bucket { address: format!("http://127.0.0.1:{}", self.port), name };
        let made = bucket.curl(&["-X", "PUT"], "");
        assert!(made.ends_with("200"), "{made}");
        bucket
    }
}

fn answers(port: u16) -> bool {
    let url = format!("http://127.0.0.1:{port}/");
    std::process::Command::new("curl")
        .args(["-s", "-o", "/dev/null", "-m", "2", &url])
        .status()
        .is_ok_and(|s| s.success())
}

impl Bucket {
    /// How the program reaches it.
    pub(crate) fn settings(&self, scratch: &Path) -> ObjectSettings {
        ObjectSettings {
            provider: Provider::S3,
            bucket: self.name.clone(),
            prefix: "nightly/archive".to_owned(),
            endpoint: Some(self.endpoint()),
            region: None,
            virtual_hosted: false,
            conditions: Conditions::Auto,
            encryption: Encryption::Bucket,
            checksums: false,
            credentials: Some(Credentials { id: "yunxin-it".to_owned(), secret: SECRET_KEY.into(), token: None }),
            ca: None,
            proxy: None,
            scratch: scratch.to_owned(),
            patience: Duration::from_secs(20),
        }
    }

    /// The sink of a job that archives here, with more of its keys. The secret is in the file `bucket-secret`.
    pub(crate) fn sink(&self, storage: &str, more: &str) -> String {
        format!(
            "parquet: {{ path: \"s3://{}/nightly/archive\", storage: {{ endpoint: \"{}\", access_key_id: yunxin-it, \
             secret_access_key: file:bucket-secret{storage} }}{more} }}",
            self.name,
            self.endpoint()
        )
    }

    /// What is in the archive of this bucket, and beside it.
    pub(crate) fn storage(&self) -> Arc<dyn Storage> {
        Place::Bucket(self.settings(Path::new("/nowhere"))).open(Uuid::nil()).unwrap()
    }

    /// Copies the archive, and what is beside it, to a directory, in place of what is there.
    pub(crate) fn mirror(&self, to: &Path) {
        let beside = to.with_file_name("archive-vanished");
        for directory in [to, &beside] {
            std::fs::remove_dir_all(directory).ok();
        }
        let storage = self.storage();
        for below in ["", BESIDE] {
            for found in storage.list(below, false).unwrap() {
                let path = match found.name.strip_prefix(BESIDE) {
                    Some(within) => beside.join(within),
                    None => to.join(&found.name),
                };
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, storage.read(&found.name).unwrap().unwrap().0).unwrap();
            }
        }
    }

    /// How many uploads have begun and not ended.
    pub(crate) fn uploads(&self) -> usize {
        self.curl(&[], "?uploads").matches("<UploadId>").count()
    }

    /// The server's address.
    pub(crate) fn endpoint(&self) -> String {
        self.address.clone()
    }

    /// The same bucket, reached by another address.
    pub(crate) fn by(&self, address: &str) -> Self {
        Self { address: address.to_owned(), name: self.name.clone() }
    }

    /// The bucket as another S3 client sees it: the answer's body, and its status.
    pub(crate) fn curl(&self, arguments: &[&str], object: &str) -> String {
        let url = format!("{}/{}{object}", self.endpoint(), self.name);
        let output = std::process::Command::new("curl")
            .args([
                "-s",
                "-w",
                "%{http_code}",
                "--user",
                &format!("yunxin-it:{SECRET_KEY}"),
                "--aws-sigv4",
                "aws:amz:us-east-1:s3",
            ])
            .args(arguments)
            .arg(url)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// A fresh bucket of the MiniStack that all tests of this process share.
pub(crate) fn bucket() -> Bucket {
    static SHARED: OnceLock<Store> = OnceLock::new();
    SHARED.get_or_init(Store::ministack).bucket()
}
