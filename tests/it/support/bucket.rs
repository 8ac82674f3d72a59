//! Object stores of our own: MiniStack and moto, which know conditions, rclone, which ignores every one, and Azurite.

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

/// The account of Azurite and its key, which are in its documentation.
const AZURE: [&str; 2] =
    ["devstoreaccount1", "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="];

/// Makes a container of Azurite.
const MAKE_CONTAINER: &str = "
import base64, email.utils, hashlib, hmac, sys, urllib.request
account, key, endpoint, name = sys.argv[1:]
headers = {'x-ms-date': email.utils.formatdate(usegmt=True), 'x-ms-version': '2021-12-02'}
lines = ['PUT'] + [''] * 11 + [f'{name}:{value}' for name, value in headers.items()]
text = '\\n'.join(lines + [f'/{account}/{account}/{name}', 'restype:container'])
signature = base64.b64encode(hmac.digest(base64.b64decode(key), text.encode(), hashlib.sha256)).decode()
headers |= {'Authorization': f'SharedKey {account}:{signature}', 'Content-Length': '0'}
urllib.request.urlopen(urllib.request.Request(f'{endpoint}/{name}?restype=container', headers=headers, method='PUT'))
";

/// A server that speaks S3 or Azure's own.
pub(crate) struct Store {
    provider: Provider,
    port: u16,
    buckets: AtomicU32,
    _home: Home,
    _keeper: Keeper,
}

/// A bucket of its own.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    provider: Provider,
    address: String,
    pub(crate) name: String,
    /// The address that a job is told.
    told: String,
    /// More keys of the job's `storage`.
    keys: String,
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

    /// A moto. It is kept in memory.
    pub(crate) fn moto() -> Self {
        Self::start("python3", |_, port| {
            let server = format!(
                "import sys; sys.argv = ['moto_server', '-H', '127.0.0.1', '-p', '{port}']; \
                 from moto.server import main; main()"
            );
            vec!["-c".to_owned(), server]
        })
    }

    /// An Azurite, if it is installed. It is kept in memory.
    pub(crate) fn azurite() -> Option<Self> {
        let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/azurite/node_modules/.bin/azurite-blob");
        program.is_file().then(|| {
            let store = Self::start(&program.display().to_string(), |_, port| {
                let words =
                    format!("--blobHost 127.0.0.1 --blobPort {port} --inMemoryPersistence --skipApiVersionCheck");
                words.split(' ').map(str::to_owned).collect()
            });
            Self { provider: Provider::Azure, ..store }
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
            // Of this port: MiniStack has others that it can do without.
            let is_taken =
                || home.log().lines().any(|line| line.contains("in use") && line.contains(&port.to_string()));
            while began.elapsed() < Duration::from_mins(1) && !is_taken() {
                // Not by connecting alone: MiniStack takes connections before it answers.
                if answers(port) {
                    return Self {
                        provider: Provider::S3,
                        port,
                        buckets: AtomicU32::new(0),
                        _home: home,
                        _keeper: keeper,
                    };
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            keeper.stop();
        }
        panic!("{program} does not start:\n{}", home.log());
    }

    /// A fresh bucket.
    pub(crate) fn bucket(&self) -> Bucket {
        self.bucket_with("x-it: none")
    }

    /// A fresh bucket that was made with this header.
    fn bucket_with(&self, header: &str) -> Bucket {
        let provider = self.provider;
        let name = format!("bucket-{}", self.buckets.fetch_add(1, Ordering::Relaxed));
        let mut address = format!("http://127.0.0.1:{}", self.port);
        if provider == Provider::Azure {
            address = format!("{address}/{}", AZURE[0]);
            let arguments = ["-c", MAKE_CONTAINER, AZURE[0], AZURE[1], &address, &name];
            assert!(std::process::Command::new("python3").args(arguments).status().unwrap().success());
        }
        let mut bucket = Bucket { provider, told: address.clone(), address, name, keys: String::new() };
        bucket.keys = format!(", access_key_id: {}, secret_access_key: file:bucket-secret", bucket.id());
        if provider == Provider::S3 {
            bucket.put(&["-H", header], "");
        }
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
    fn id(&self) -> &'static str {
        if self.provider == Provider::Azure { AZURE[0] } else { "yunxin-it" }
    }

    /// The secret of its key.
    pub(crate) fn secret(&self) -> &'static str {
        if self.provider == Provider::Azure { AZURE[1] } else { SECRET_KEY }
    }

    /// How the program reaches it.
    pub(crate) fn settings(&self, scratch: &Path) -> ObjectSettings {
        ObjectSettings {
            provider: self.provider,
            bucket: self.name.clone(),
            prefix: "nightly/archive".to_owned(),
            endpoint: Some(self.endpoint()),
            region: None,
            virtual_hosted: false,
            conditions: Conditions::Auto,
            encryption: Encryption::Bucket,
            checksums: false,
            credentials: Some(Credentials { id: self.id().to_owned(), secret: self.secret().into(), token: None }),
            ca: None,
            proxy: None,
            scratch: scratch.to_owned(),
            patience: Duration::from_secs(20),
        }
    }

    /// The sink of a job that archives here, with more of its keys. The secret is in the file `bucket-secret`.
    pub(crate) fn sink(&self, storage: &str, more: &str) -> String {
        format!(
            "parquet: {{ path: \"{}://{}/nightly/archive\", storage: {{ endpoint: \"{}\"{}{storage} }}{more} }}",
            self.provider.scheme(),
            self.name,
            self.told,
            self.keys
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

    /// How many of these have parts.
    pub(crate) fn uploads_with_parts(&self) -> usize {
        let listed = self.curl(&[], "?uploads");
        let uploads = listed.split("<Upload>").skip(1).filter(|upload| {
            let within = |tag: &str| upload.split_once(&format!("<{tag}>")).unwrap().1.split_once('<').unwrap().0;
            let parts = self.curl(&[], &format!("/{}?uploadId={}", within("Key"), within("UploadId")));
            parts.contains("<Part>")
        });
        uploads.count()
    }

    /// The server's address.
    pub(crate) fn endpoint(&self) -> String {
        self.address.clone()
    }

    /// The same bucket, which jobs reach by another address.
    pub(crate) fn by(&self, address: &str) -> Self {
        Self { told: address.to_owned(), ..self.clone() }
    }

    /// The same bucket, which jobs reach with more keys of `storage`.
    pub(crate) fn with(&self, keys: &str) -> Self {
        Self { keys: format!("{}, {keys}", self.keys), ..self.clone() }
    }

    /// The same bucket, for which jobs have no key of their own.
    pub(crate) fn without_key(&self) -> Self {
        Self { keys: String::new(), ..self.clone() }
    }

    /// Every version of every object, and every delete marker: their keys and versions.
    pub(crate) fn versions(&self) -> [Vec<(String, String)>; 2] {
        let listed = self.curl(&[], "?versions");
        ["Version", "DeleteMarker"].map(|kind| {
            let begin = format!("<{kind}>");
            let pieces = listed.split(&begin).skip(1).map(|piece| {
                let within = |tag: &str| piece.split_once(&format!("<{tag}>")).unwrap().1.split_once('<').unwrap().0;
                (within("Key").to_owned(), within("VersionId").to_owned())
            });
            pieces.collect()
        })
    }

    fn put(&self, arguments: &[&str], object: &str) {
        let made = self.curl(&[&["-X", "PUT"], arguments].concat(), object);
        assert!(made.ends_with("200"), "{made}");
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

/// The MiniStack that all tests of this process share.
fn shared() -> &'static Store {
    static SHARED: OnceLock<Store> = OnceLock::new();
    SHARED.get_or_init(Store::ministack)
}

/// A fresh bucket.
pub(crate) fn bucket() -> Bucket {
    shared().bucket()
}

/// A fresh bucket that keeps every version.
pub(crate) fn versioned_bucket() -> Bucket {
    let bucket = bucket();
    bucket.put(&["-d", "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"], "?versioning");
    bucket
}

/// A fresh bucket with Object Lock: nobody can remove a version before tomorrow.
pub(crate) fn locked_bucket() -> Bucket {
    let bucket = shared().bucket_with("x-amz-bucket-object-lock-enabled: true");
    let retention = "<DefaultRetention><Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention>";
    let rule = format!(
        "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>{retention}</Rule>\
         </ObjectLockConfiguration>"
    );
    bucket.put(&["-d", &rule], "?object-lock");
    bucket
}
