//! Clients of object stores, and what their errors mean.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, Checksum, S3ConditionalPut};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{HttpClient, HttpConnector};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{BackoffConfig, ClientOptions, Error, RetryConfig, StaticCredentialProvider};
use reqwest::NoProxy;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::Store;
use super::credentials::{FromEnvironment, NoCredentials, OF_AZURE, OF_GOOGLE, OF_S3};
use super::listing::Listings;
use crate::storage::StorageError;

/// What becomes of a store that does not heed conditions.
pub(super) const OFF: &str = "With `conditional_writes: off` it is used all the same, and you vouch that nobody else \
                              writes this archive";
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a store may send nothing.
const READ: Duration = Duration::from_mins(1);
/// How long a request may take, with its body.
const REQUEST: Duration = Duration::from_mins(5);

/// How a store is reached, and what is asked of it.
#[derive(Debug, Clone)]
pub struct ObjectSettings {
    /// Whose interface it speaks.
    pub provider: Provider,
    /// The bucket; Azure's container.
    pub bucket: String,
    /// What every name begins with, without a slash at either end; not empty.
    pub prefix: String,
    /// The address of the store if it is not the provider's own, such as `https://s3.oss-cn-hangzhou.aliyuncs.com`.
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    pub region: Option<String>,
    /// Whether the bucket is in the host's name.
    pub virtual_hosted: bool,
    /// Whether writes are made conditional.
    pub conditions: Conditions,
    /// How objects are encrypted by the store.
    pub encryption: Encryption,
    /// Whether every request carries a SHA-256 of its body, which Object Lock may want.
    pub checksums: bool,
    /// Static credentials, instead of those of the environment.
    pub credentials: Option<Credentials>,
    /// CA certificates to be trusted instead of the system's, as PEM.
    pub ca: Option<Vec<u8>>,
    /// The proxy of every request. It may hold a password.
    pub proxy: Option<Proxy>,
    /// A local directory for what does not fit in memory.
    pub scratch: PathBuf,
    /// How long a request may go on being tried.
    pub patience: Duration,
}

/// The URL of a proxy.
#[derive(Clone)]
pub struct Proxy(pub Url);

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[a proxy]")
    }
}

/// Whose interface a store speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// `s3://`: AWS and everything compatible.
    S3,
    /// `gs://`.
    Google,
    /// `az://`.
    Azure,
}

impl Provider {
    /// The scheme of its URLs.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Google => "gs",
            Self::Azure => "az",
        }
    }
}

/// Whether writes are made conditional.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conditions {
    /// They are. An object is created only if there is none and replaced only if nobody changed it, so the store keeps
    /// other writers out.
    Auto,
    /// The store knows no conditions. The operator vouches that nobody else writes the archive.
    Off,
}

/// How objects are encrypted by the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// As the bucket says.
    Bucket,
    /// SSE-S3.
    Managed,
    /// SSE-KMS with this key.
    Kms(String),
}

/// Static credentials.
#[derive(Clone)]
pub struct Credentials {
    /// The access key's ID; Azure's account.
    pub id: String,
    /// The secret key; Google's service account as JSON.
    pub secret: SecretString,
    /// A session token.
    pub token: Option<SecretString>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl ObjectSettings {
    /// The URL of the archive.
    pub fn url(&self) -> String {
        format!("{}://{}/{}", self.provider.scheme(), self.bucket, self.prefix)
    }

    /// The endpoint, with the bucket in its host if that is wanted.
    fn address(&self) -> Option<String> {
        let endpoint = self.endpoint.as_ref()?;
        if !self.virtual_hosted {
            return Some(endpoint.clone());
        }
        let (scheme, host) = endpoint.split_once("://")?;
        let bucket = format!("{}.", self.bucket);
        Some(format!("{scheme}://{}{host}", if host.starts_with(&bucket) { "" } else { &bucket }))
    }
}

/// A client of the store. Asks nothing yet.
pub(super) fn connect(settings: &ObjectSettings) -> Result<Arc<dyn Store>, StorageError> {
    let unusable = |why: String| StorageError::Unusable(format!("{} cannot be used: {why}", settings.url()));
    let client = client(settings).map_err(|error| unusable(whole(&error)))?;
    build(settings, Connector(client)).map_err(|error| unusable(refused(settings.provider, &error)))
}

/// Why no client can be made. Those for Google and Azure quote what they cannot read of credentials, so their words are not
/// repeated: only where they stopped.
fn refused(provider: Provider, error: &Error) -> String {
    let places = match provider {
        Provider::S3 => return short(error),
        Provider::Google => OF_GOOGLE,
        Provider::Azure => OF_AZURE,
    };
    let mut why = "they are malformed".to_owned();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(json) = error.downcast_ref::<serde_json::Error>() {
            why = format!("at line {}, column {} they are not what they should be", json.line(), json.column());
        } else if let Some(io) = error.downcast_ref::<std::io::Error>() {
            why = format!("their file cannot be read: {}", io.kind());
        }
        cause = error.source();
    }
    format!(
        "its credentials, or `storage.endpoint`, cannot be used: {why}. What they say is not repeated here. Credentials are \
         looked for in {places}"
    )
}

/// One HTTP client for the store and for where its credentials come from.
#[derive(Debug)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> Result<HttpClient, Error> {
        Ok(HttpClient::new(Listings(self.0.clone())))
    }
}

pub(super) fn client(settings: &ObjectSettings) -> Result<reqwest::Client, reqwest::Error> {
    // Fails if another part of the program did it before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("yunxin-archiver/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .http1_only()
        .no_proxy()
        .connect_timeout(CONNECT)
        .read_timeout(READ)
        .timeout(REQUEST);
    if let Some(proxy) = &settings.proxy {
        // The services that give this machine its credentials are not beyond the proxy.
        let own =
            NoProxy::from_string("169.254.0.0/16,fd00:ec2::254,metadata.google.internal,localhost,127.0.0.0/8,::1");
        builder = builder.proxy(reqwest::Proxy::all(proxy.0.clone())?.no_proxy(own));
    }
    if let Some(bundle) = &settings.ca {
        builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(bundle)?);
    } else if settings.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://")) {
        // Without encryption no root certificate is needed, and a machine may have none.
        builder = builder.tls_certs_only([]);
    }
    builder.build()
}

/// A client of S3, or of what speaks it, without a policy for retries. Credentials that it is not given, it looks for.
pub(super) fn s3(settings: &ObjectSettings, http: reqwest::Client) -> Result<AmazonS3Builder, Error> {
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(&settings.bucket)
        .with_http_connector(Connector(http))
        .with_virtual_hosted_style_request(settings.virtual_hosted)
        // Objects are removed one by one, and not every store knows how to remove many.
        .with_disable_bulk_delete(true)
        .with_conditional_put(match settings.conditions {
            Conditions::Auto => S3ConditionalPut::ETagMatch,
            Conditions::Off => S3ConditionalPut::Disabled,
        });
    if let Some(endpoint) = settings.address() {
        // The key that comes before all others, whatever the environment says.
        builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
    }
    if let Some(region) = &settings.region {
        builder = builder.with_region(region);
    }
    if settings.checksums {
        builder = builder.with_checksum_algorithm(Checksum::SHA256);
    }
    builder = match &settings.encryption {
        Encryption::Bucket => builder,
        Encryption::Managed => builder.with_config("aws_server_side_encryption".parse()?, "AES256"),
        Encryption::Kms(key) => builder.with_sse_kms_encryption(key),
    };
    // As a whole: the environment may hold a token that belongs to another key.
    if let Some(Credentials { id, secret, token }) = &settings.credentials {
        builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(AwsCredential {
            key_id: id.clone(),
            secret_key: secret.expose_secret().to_owned(),
            token: token.as_ref().map(|token| token.expose_secret().to_owned()),
        })));
    }
    Ok(builder)
}

fn build(settings: &ObjectSettings, connector: Connector) -> Result<Arc<dyn Store>, Error> {
    let retries = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(15),
            // Each wait is a random part of the last one times this: with 2 they would not grow.
            base: 4.0,
        },
        // The time decides.
        max_retries: 1_000,
        retry_timeout: settings.patience,
    };
    let credentials = settings.credentials.as_ref();
    match settings.provider {
        Provider::S3 => {
            let builder = s3(settings, connector.0)?.with_retry(retries);
            if credentials.is_some() {
                return Ok(Arc::new(builder.build()?));
            }
            let chain = FromEnvironment::new(builder.clone().build()?.credentials(), OF_S3);
            Ok(Arc::new(builder.with_credentials(chain).build()?))
        }
        Provider::Google => {
            let builder = if credentials.is_some() {
                GoogleCloudStorageBuilder::new()
            } else {
                GoogleCloudStorageBuilder::from_env()
            };
            let mut builder =
                builder.with_bucket_name(&settings.bucket).with_http_connector(connector).with_retry(retries);
            if let Some(endpoint) = &settings.endpoint {
                builder = builder.with_base_url(endpoint);
            }
            if let Some(credentials) = credentials {
                builder = builder.with_service_account_key(credentials.secret.expose_secret());
            } else {
                let chain = FromEnvironment::new(builder.clone().build()?.credentials(), OF_GOOGLE);
                builder = builder.with_credentials(chain);
            }
            Ok(Arc::new(builder.build()?))
        }
        Provider::Azure => {
            let builder =
                if credentials.is_some() { MicrosoftAzureBuilder::new() } else { MicrosoftAzureBuilder::from_env() };
            let mut builder =
                builder.with_container_name(&settings.bucket).with_http_connector(connector).with_retry(retries);
            if let Some(endpoint) = &settings.endpoint {
                builder = builder.with_endpoint(endpoint.clone());
            }
            if let Some(credentials) = credentials {
                builder = builder.with_account(&credentials.id).with_access_key(credentials.secret.expose_secret());
            } else {
                let chain = FromEnvironment::new(builder.clone().build()?.credentials(), OF_AZURE);
                builder = builder.with_credentials(chain);
            }
            Ok(Arc::new(builder.build()?))
        }
    }
}

/// Whether a multipart upload is no longer there: it was completed, given up, or expired.
pub(super) fn is_gone(error: &Error) -> bool {
    let said = whole(error);
    ["NoSuchUpload", "InvalidBlockList"].iter().any(|code| said.contains(code))
}

/// Whether the store answered a range with the whole object.
pub(super) fn is_whole(error: &Error) -> bool {
    whole(error).contains("non-partial response")
}

/// Whether another attempt may have another outcome, as after a broken connection.
pub(super) fn may_pass(error: &Error) -> bool {
    matches!(error, Error::Generic { .. }) && !whole(error).contains("NotImplemented")
}

/// Whether the whole bucket is not there, and not just an object.
pub(super) fn is_without_bucket(error: &Error) -> bool {
    let said = whole(error);
    ["NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist"].iter().any(|code| said.contains(code))
}

/// What an error means to the user.
pub(super) fn explain(doing: &str, error: &Error) -> StorageError {
    let said = short(error);
    if let Error::Unauthenticated { source, .. } = error
        && let Some(missing) = source.downcast_ref::<NoCredentials>()
    {
        return StorageError::Denied(format!("{doing}: {}", whole(missing)));
    }
    match error {
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            StorageError::Denied(format!("{doing}: the store refused it: {said}"))
        }
        // S3 says these with the status of a bad request.
        _ if ["ExpiredToken", "InvalidToken", "TokenRefreshRequired"].iter().any(|code| said.contains(code)) => {
            StorageError::Denied(format!("{doing}: the store refused it: {said}"))
        }
        _ if is_without_bucket(error) => StorageError::Unusable(format!("{doing}: there is no such bucket: {said}")),
        Error::NotImplemented { .. } | Error::NotSupported { .. } => StorageError::Unusable(format!("{doing}: {said}")),
        _ if said.contains("NotImplemented") => {
            StorageError::Unusable(format!("{doing}: the store does not know conditional writes: {said}. {OFF}"))
        }
        _ => StorageError::Failed { doing: doing.to_owned(), source: said.into() },
    }
}

/// An error with its causes.
fn whole(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let text = source.to_string();
        if !said.contains(&text) {
            said.push_str(": ");
            said.push_str(&text);
        }
        cause = source.source();
    }
    said
}

/// What the store said: of an answer in XML its code and message alone, as the rest repeats the request.
fn short(error: &Error) -> String {
    let said = whole(error);
    let within = |tag: &str| {
        let (_, rest) = said.split_once(&format!("<{tag}>"))?;
        rest.split_once(&format!("</{tag}>")).map(|(text, _)| text.to_owned())
    };
    match (within("Code"), within("Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code,
        _ => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_xml_is_told_by_its_code_and_message() {
        let body = "<?xml?><Error><Code>NoSuchUpload</Code><Message>It is gone</Message><HostId>x</HostId></Error>";
        let error = Error::Generic { store: "S3", source: body.into() };
        assert_eq!(short(&error), "NoSuchUpload: It is gone");
        assert!(is_gone(&error));
    }
}
