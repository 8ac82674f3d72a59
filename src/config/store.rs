//! Where a Parquet archive is, and how an object store is reached.

use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde_json::{Value as Json, json};
use url::Url;

use super::environment::Environment;
use super::mistake::{ConfigError, Mistake};
use super::proxy::{Proxy, Via};
use super::reader::{Reader, path_text};
use super::secret::{Kind, Lookup, Secret};
use super::setting::{Scalar, Setting, Text, defaults, text};
use super::written::Position;

/// The variables that name the address of a store that speaks S3, the first that is set.
pub const ENDPOINT_VARIABLES: [&str; 2] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];

/// Where a Parquet archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A directory, absolute.
    Directory(PathBuf),
    /// A prefix of a bucket.
    Bucket(Bucket),
}

/// A prefix of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// `s3`, `gs` or `az`.
    pub scheme: String,
    /// The bucket; Azure's container.
    pub name: String,
    /// What the name of every object begins with, without a slash at either end.
    pub prefix: String,
}

impl Bucket {
    /// Understands a URL. `None` if the text is a path.
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        let (scheme, rest) = text.split_once("://")?;
        let wrong = "is no place of an archive: write a path, s3://bucket/prefix, gs://bucket/prefix or \
                     az://container/prefix";
        if matches!(scheme, "oss" | "cos" | "cosn") {
            let message = "is no place of an archive: OSS and COS are reached as s3://bucket/prefix with \
                           `storage: { endpoint: … }`, and docs/object-stores.md has a block for each";
            return Some(Err(message.to_owned()));
        }
        if !matches!(scheme, "s3" | "gs" | "az") {
            return Some(Err(wrong.to_owned()));
        }
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/');
        if prefix.is_empty() {
            return Some(Err(format!("names a whole bucket: write a prefix too, such as {scheme}://bucket/archive")));
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let is_part = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['?', '#', '\\']);
        let is_right = !name.is_empty() && name.chars().all(is_name) && prefix.split('/').all(is_part);
        Some(if is_right && !prefix.chars().any(char::is_control) {
            Ok(Self { scheme: scheme.to_owned(), name: name.to_owned(), prefix: prefix.to_owned() })
        } else {
            Err(wrong.to_owned())
        })
    }

    /// The URL.
    pub fn url(&self) -> String {
        format!("{}://{}/{}", self.scheme, self.name, self.prefix)
    }

    /// The address of the store, which the environment may name too.
    fn endpoint(&self, storage: &Storage, environment: &Environment) -> Option<String> {
        let written = storage.endpoint.as_ref().map(|url| url.as_str().trim_end_matches('/').to_owned());
        let variables = ENDPOINT_VARIABLES.into_iter().filter(|_| self.scheme == "s3");
        written.or_else(|| variables.filter_map(|name| environment.get(name)).find(|url| !url.is_empty()))
    }

    /// The place in the identity of a job: the URL, and the host of the store if it is not the provider's own.
    pub(super) fn place(&self, storage: &Storage, environment: &Environment) -> String {
        let endpoint = self.endpoint(storage, environment).and_then(|endpoint| Url::parse(&endpoint).ok());
        let host = endpoint.and_then(|url| {
            let host = url.host_str()?.to_owned();
            Some(url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}")))
        });
        host.map_or_else(|| self.url(), |host| format!("{} at {host}", self.url()))
    }
}

/// A path, or the URL of a prefix.
impl Setting for Location {
    type Written = String;
    type Value = Self;

    fn schema() -> Json {
        text("path or URL")
    }

    fn read(reader: &mut Reader<'_>, written: String, key: &str) -> Option<Self> {
        // A URL with a user or password is a mistake that is never quoted.
        let is_quoted = !written.contains('@');
        let read = reader.text(written, key, is_quoted, |text| match Bucket::parse(text) {
            Some(bucket) => bucket.map(Self::Bucket),
            None => path_text(text).map(|path| Self::Directory(PathBuf::from(path))),
        });
        Some(match read? {
            Self::Directory(path) => Self::Directory(reader.base.join(path).components().collect()),
            bucket @ Self::Bucket(_) => bucket,
        })
    }

    fn canonical(value: &Self) -> Json {
        match value {
            Self::Directory(path) => json!(path.to_string_lossy()),
            Self::Bucket(bucket) => json!(bucket.url()),
        }
    }
}

settings! {
    /// How an object store is reached.
    pub Storage {
        /// The address of the store if it is not the provider's own, such as `https://s3.oss-cn-hangzhou.aliyuncs.com`. By
        /// default that of the variable `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`, if one is set. `http` is not encrypted.
        endpoint: Option<Url> as Option<StoreAddress>, default "null";
        /// `s3` alone: the region that requests are signed for. By default that of the variable `AWS_REGION`, or `us-east-1`.
        region: Option<String> as Option<Word>, default "null";
        /// `s3` alone: whether the bucket is a part of the host's name, as OSS and COS want it.
        virtual_hosted: bool, default "false";
        /// Whether objects are written on conditions, which keep a second writer out. With `off` this is your word.
        conditional_writes: ConditionalWrites, default "auto";
        /// `s3` alone: how the store encrypts objects: `bucket` as the bucket says, `managed` with the store's own keys (SSE-S3),
        /// `kms:KEY` with this key (SSE-KMS).
        encryption: Encryption, default "bucket";
        /// `s3` alone: whether every object is sent with its SHA-256, which a bucket with Object Lock may want.
        checksums: bool, default "false";
        /// The ID of a static access key; for `az` the name of the account. By default credentials come from the
        /// environment, as the provider's own tools find them.
        access_key_id: Option<Secret> as Option<Lookup<AccessKeyId>>, default "null";
        /// The secret of that key; for `gs` a service account's key as JSON, without an ID.
        secret_access_key: Option<Secret> as Option<Lookup<StoreSecret>>, default "null";
        /// `s3` alone: the token of temporary credentials.
        session_token: Option<Secret> as Option<Lookup<StoreSecret>>, default "null";
        /// CA certificates (PEM) to trust instead of the platform's.
        ca_file: Option<PathBuf>, default "null";
        /// [The proxy](#proxies) to the store. A URL with a user or password must be `env:` or `file:`.
        proxy: Proxy, default "env";
    }
    check |storage, reader, key| {
        if storage.access_key_id.is_some() && storage.secret_access_key.is_none() {
            reader.mistake(&format!("{key}.access_key_id"), "stands without secret_access_key: write both, or neither");
        }
    }
}

/// Why a bucket has no host of its own.
const NO_NAME: &str = "needs an endpoint with a name: the bucket's name cannot go before an IP address";

impl Storage {
    /// The keys that mean nothing for this kind of store, or not without another, each with what would be right.
    pub(super) fn unsuited(&self, bucket: &Bucket) -> Vec<(&'static str, String)> {
        let scheme = bucket.scheme.as_str();
        let Self { access_key_id, secret_access_key, session_token, .. } = self;
        let of_s3 = [
            ("region", self.region.is_some()),
            ("virtual_hosted", self.virtual_hosted),
            ("encryption", self.encryption != Encryption::Bucket),
            ("checksums", self.checksums),
            ("session_token", session_token.is_some()),
        ];
        let is_of_s3 = |name| (name, format!("is for s3:// alone, and the path is {scheme}://: leave it out"));
        let unknown = of_s3.into_iter().filter(|(_, is_set)| *is_set && scheme != "s3").map(|(name, _)| is_of_s3(name));
        let mut unsuited: Vec<_> = unknown.collect();
        let last = |url: &Url| url.path().trim_end_matches('/').rsplit('/').next().map(str::to_owned);
        if scheme != "az" && self.endpoint.as_ref().and_then(last).is_some_and(|last| last == bucket.name) {
            let message = format!(
                "ends in the name of the bucket, {}, which is in the path already: leave it out here",
                bucket.name
            );
            unsuited.push(("endpoint", message));
        }
        let without = |other: &str| format!("stands without {other}: write both, or neither");
        match scheme {
            "gs" if access_key_id.is_some() && secret_access_key.is_some() => {
                let message =
                    "has no meaning for gs://, where secret_access_key is a whole service account's key: leave it out";
                unsuited.push(("access_key_id", message.to_owned()));
            }
            "s3" | "az" if secret_access_key.is_some() && access_key_id.is_none() => {
                unsuited.push(("secret_access_key", without("access_key_id")));
            }
            "s3" if self.virtual_hosted && self.endpoint.as_ref().is_some_and(|url| url.domain().is_none()) => {
                unsuited.push(("virtual_hosted", NO_NAME.to_owned()));
            }
            "s3" if session_token.is_some() && secret_access_key.is_none() => {
                unsuited.push(("session_token", without("access_key_id and secret_access_key")));
            }
            _ => {}
        }
        unsuited
    }

    /// Whether a key beside the proxy is not as it is by default.
    pub(super) fn says_something(&self) -> bool {
        let Self { endpoint, region, virtual_hosted, conditional_writes, encryption, checksums, .. } = self;
        let secrets = [&self.access_key_id, &self.secret_access_key, &self.session_token];
        endpoint.is_some()
            || region.is_some()
            || *virtual_hosted
            || *conditional_writes != ConditionalWrites::Auto
            || *encryption != Encryption::Bucket
            || *checksums
            || secrets.iter().any(|secret| secret.is_some())
            || self.ca_file.is_some()
    }
}

choice! {
    /// Whether objects are written on conditions.
    ConditionalWrites {
        /// They are, and a store that ignores conditions is refused.
        Auto = "auto";
        /// They are not. You vouch that nobody else writes the archive.
        Off = "off" | "false";
    }
}

/// How a store encrypts objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// As the bucket says.
    Bucket,
    /// With the store's own keys.
    Managed,
    /// With this key.
    Kms(String),
}

impl Scalar for Encryption {
    type Value = Self;

    fn schema() -> Json {
        text("`bucket`, `managed` or `kms:KEY`")
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "bucket" => Ok(Self::Bucket),
            "managed" => Ok(Self::Managed),
            _ => {
                let key = text.strip_prefix("kms:").filter(|key| !key.is_empty());
                let key = key.ok_or("is unknown here: write one of bucket, managed, kms:KEY")?;
                Ok(Self::Kms(key.to_owned()))
            }
        }
    }

    fn canonical(value: &Self) -> Json {
        match value {
            Self::Bucket => json!("bucket"),
            Self::Managed => json!("managed"),
            Self::Kms(key) => json!(format!("kms:{key}")),
        }
    }
}

/// The address of a store.
struct StoreAddress;

impl Scalar for StoreAddress {
    type Value = Url;

    // It may hold a password.
    const QUOTED: bool = false;

    fn schema() -> Json {
        text("URL")
    }

    fn parse(text: &str) -> Result<Url, String> {
        let wrong = || "is no URL of a store, such as https://s3.oss-cn-hangzhou.aliyuncs.com".to_owned();
        let url = Url::parse(text).map_err(|_| wrong())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("carries a user or password: write access_key_id and secret_access_key instead".to_owned());
        }
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() || url.query().is_some() {
            return Err(wrong());
        }
        Ok(url)
    }

    fn canonical(value: &Url) -> Json {
        json!(value.as_str())
    }
}

/// A word without white space.
struct Word;

impl Text for Word {
    const FORM: &'static str = "word";

    fn parse(text: &str) -> Result<&str, &'static str> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("is no word such as eu-central-1");
        }
        Ok(text)
    }
}

/// The ID of an access key.
struct AccessKeyId;

impl Kind for AccessKeyId {
    const FORM: &'static str = "text";

    fn literal(text: &str) -> Result<(), String> {
        Self::check(text)
    }

    fn check(text: &str) -> Result<(), String> {
        let is_right = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_right { Ok(()) } else { Err("is no ID of a key: it is empty or holds white space".to_owned()) }
    }
}

/// A secret of a store.
struct StoreSecret;

impl Kind for StoreSecret {
    const MAY_BE_LITERAL: bool = false;

    const FORM: &'static str = "`env:NAME` or `file:PATH`";

    fn literal(_: &str) -> Result<(), String> {
        Err("a secret never stands in this file: write env:NAME or file:PATH, and if this was the real one, change it"
            .to_owned())
    }
}

/// What is looked up to reach a store.
#[derive(Debug, Clone)]
pub struct StoreAccess {
    /// The address, if it is not the provider's own.
    pub endpoint: Option<String>,
    /// The ID of a static access key.
    pub id: Option<SecretString>,
    /// Its secret.
    pub secret: Option<SecretString>,
    /// Its token.
    pub token: Option<SecretString>,
    /// The proxy.
    pub via: Option<Via>,
}

impl StoreAccess {
    /// Looks up what reaches a bucket. `key` is that of the settings, and `at` where they stand.
    pub(super) fn look_up(
        bucket: &Bucket,
        storage: &Storage,
        environment: &Environment,
        (key, at): (&str, Position),
    ) -> Result<Self, ConfigError> {
        let secret = |secret: &Option<Secret>| secret.as_ref().map(Secret::look_up).transpose();
        let endpoint = bucket.endpoint(storage, environment);
        let address = endpoint.as_deref().unwrap_or(match bucket.scheme.as_str() {
            "s3" => "https://s3.amazonaws.com",
            "gs" => "https://storage.googleapis.com",
            _ => "https://blob.core.windows.net",
        });
        let address = Url::parse(address).map_err(|_| {
            let message =
                "the endpoint that the environment variable AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL names is no URL"
                    .to_owned();
            environment.error(Mistake { at, key: key.to_owned(), message })
        })?;
        if storage.virtual_hosted && address.domain().is_none() {
            let key = format!("{key}.virtual_hosted");
            return Err(environment.error(Mistake { at, key, message: NO_NAME.to_owned() }));
        }
        let via = storage.proxy.resolve(environment, &format!("{key}.proxy"), at)?.of(&address).cloned();
        Ok(Self {
            endpoint,
            id: secret(&storage.access_key_id)?,
            secret: secret(&storage.secret_access_key)?,
            token: secret(&storage.session_token)?,
            via,
        })
    }

    /// Looks up what reaches a bucket that no job names: all of it is in the environment of the process.
    ///
    /// # Errors
    ///
    /// What is wrong with a variable.
    pub fn of_environment(bucket: &Bucket) -> Result<(Storage, Self), ConfigError> {
        let environment = Environment::new(Path::new(&bucket.url()), |name| std::env::var(name).ok());
        let storage = defaults::<Storage>();
        let access = Self::look_up(bucket, &storage, &environment, ("", Position::default()));
        access.map(|access| (storage, access))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_told_from_a_path_and_needs_a_prefix() {
        let bucket = Bucket::parse("s3://im/a/b/").expect("a URL").expect("a right one");
        assert_eq!((bucket.url().as_str(), bucket.prefix.as_str()), ("s3://im/a/b", "a/b"));
        assert!(Bucket::parse("./archive").is_none());
        for wrong in
            ["s3://im", "s3://im/", "s3:///a", "http://im/a", "s3://key:secret@im/a", "s3://im/a/../b", "s3://im/a?b"]
        {
            assert!(Bucket::parse(wrong).expect("a URL").is_err(), "{wrong}");
        }
        for other in ["oss://im/a", "cos://im-1250000000/a"] {
            let message = Bucket::parse(other).expect("a URL").expect_err("no scheme of ours");
            assert!(message.contains("s3://bucket/prefix") && message.contains("endpoint"), "{message}");
        }
    }

    #[test]
    fn a_place_names_the_store_and_no_secret() {
        let place = |endpoint: Option<&str>, variable: &'static str| {
            let environment =
                Environment::new(Path::new(""), move |_| (!variable.is_empty()).then(|| variable.to_owned()));
            let endpoint = endpoint.map(|url| Url::parse(url).expect("a URL"));
            let storage = Storage { endpoint, ..defaults::<Storage>() };
            Bucket::parse("s3://im/a").expect("a URL").expect("a right one").place(&storage, &environment)
        };
        assert_eq!(place(None, ""), "s3://im/a");
        assert_eq!(place(Some("https://minio.example:9000/"), "http://other"), "s3://im/a at minio.example:9000");
        assert_eq!(place(None, "http://127.0.0.1:9"), "s3://im/a at 127.0.0.1:9");
    }
}
