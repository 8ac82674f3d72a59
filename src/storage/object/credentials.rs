//! Credentials of the environment, which a machine has or has not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use object_store::{CredentialProvider, Error};

/// How long the first credentials may take. A machine without any would otherwise ask a metadata service that is not
/// there for as long as a request may go on.
const FIRST: Duration = Duration::from_secs(10);

/// Where credentials for `s3` are looked for.
pub(super) const OF_S3: &str = "`storage.access_key_id`, AWS_ACCESS_KEY_ID, web identity (AWS_WEB_IDENTITY_TOKEN_FILE with \
    AWS_ROLE_ARN), the container's credentials (AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, or \
    AWS_CONTAINER_CREDENTIALS_FULL_URI with AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE), and the instance's metadata service";
/// Where credentials for `gs` are looked for.
pub(super) const OF_GOOGLE: &str = "`storage.secret_access_key`, GOOGLE_SERVICE_ACCOUNT, GOOGLE_SERVICE_ACCOUNT_KEY, \
    GOOGLE_APPLICATION_CREDENTIALS, gcloud's own file, and the instance's metadata service";
/// Where credentials for `az` are looked for.
pub(super) const OF_AZURE: &str = "`storage.access_key_id`, AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_KEY, a client's \
    secret (AZURE_CLIENT_SECRET), workload identity (AZURE_FEDERATED_TOKEN_FILE), and the instance's managed identity";

/// The credentials of the environment.
#[derive(Debug)]
pub(super) struct FromEnvironment<C> {
    chain: Arc<dyn CredentialProvider<Credential = C>>,
    places: &'static str,
    found: AtomicBool,
}

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoCredentials {
    #[error("there are no credentials for the store. They were looked for in {0}")]
    Found(&'static str, #[source] Error),
    #[error("there are no credentials for the store. They were looked for in {0}: the last gave none in {1:?}")]
    FoundInTime(&'static str, Duration),
    #[error("the credentials for the store could not be renewed")]
    Renewed(#[source] Error),
}

impl<C> FromEnvironment<C> {
    pub(super) fn new(chain: &Arc<dyn CredentialProvider<Credential = C>>, places: &'static str) -> Arc<Self> {
        Arc::new(Self { chain: Arc::clone(chain), places, found: AtomicBool::new(false) })
    }
}

#[async_trait]
impl<C: std::fmt::Debug + Send + Sync> CredentialProvider for FromEnvironment<C> {
    type Credential = C;

    async fn get_credential(&self) -> Result<Arc<C>, Error> {
        let asked = self.chain.get_credential();
        let missing = if self.found.load(Ordering::Relaxed) {
            match asked.await {
                Ok(credential) => return Ok(credential),
                Err(error) => NoCredentials::Renewed(error),
            }
        } else {
            match tokio::time::timeout(FIRST, asked).await {
                Ok(Ok(credential)) => {
                    self.found.store(true, Ordering::Relaxed);
                    return Ok(credential);
                }
                Ok(Err(error)) => NoCredentials::Found(self.places, error),
                Err(_) => NoCredentials::FoundInTime(self.places, FIRST),
            }
        };
        Err(Error::Unauthenticated { path: String::new(), source: Box::new(missing) })
    }
}
