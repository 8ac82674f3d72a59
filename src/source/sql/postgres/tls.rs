//! TLS to a Postgres server, as `sslmode` says.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sqlx::postgres::PgSslMode;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use super::error::PgError;

/// What bytes go over.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// The request for TLS, which is sent before everything else.
const REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xD2, 0x16, 0x2F];

/// How to connect to a server by TLS.
pub(super) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
    /// Whether a server without TLS is refused.
    is_required: bool,
}

/// Paths of files, or PEM in their place.
pub(super) struct Certificates {
    pub(super) roots: Option<String>,
    pub(super) certificate: Option<String>,
    pub(super) key: Option<String>,
}

impl Tls {
    /// `None` where no TLS is asked for.
    pub(super) fn new(mode: PgSslMode, host: &str, files: &Certificates) -> Result<Option<Self>, String> {
        if matches!(mode, PgSslMode::Disable | PgSslMode::Allow) {
            return Ok(None);
        }
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = if matches!(mode, PgSslMode::VerifyFull) {
            builder.with_root_certificates(roots(files)?)
        } else {
            let trust = match mode {
                PgSslMode::VerifyCa => {
                    let roots = Arc::new(roots(files)?);
                    let built = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
                    Some(built.map_err(|error| error.to_string())?)
                }
                _ => None,
            };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName { trust, provider }))
        };
        let config = match (&files.certificate, &files.key) {
            (Some(certificate), Some(key)) => {
                let (chain, key) = (certificates(certificate)?, pem(key)?);
                let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| format!("sslkey: {error}"))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| error.to_string())?
            }
            (None, None) => builder.with_no_client_auth(),
            _ => return Err("sslcert and sslkey are given together, or neither".to_owned()),
        };
        Ok(Some(Self {
            connector: TlsConnector::from(Arc::new(config)),
            name: ServerName::try_from(host.to_owned()).map_err(|error| format!("{host}: {error}"))?,
            is_required: !matches!(mode, PgSslMode::Prefer),
        }))
    }

    /// Asks the server for TLS, and starts it.
    pub(super) async fn connect<S>(&self, mut stream: S) -> Result<Box<dyn Wire>, PgError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        stream.write_all(&REQUEST).await?;
        match stream.read_u8().await? {
            b'S' => Ok(Box::new(self.connector.connect(self.name.clone(), stream).await?)),
            b'N' if !self.is_required => Ok(Box::new(stream)),
            b'N' => Err(PgError::Other("the server speaks no TLS, and `sslmode` asks for it".to_owned())),
            _ => Err(PgError::Other("what answers there is no Postgres server".to_owned())),
        }
    }
}

/// The platform's root certificates and those that were given.
fn roots(files: &Certificates) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = &files.roots {
        for certificate in certificates(file)? {
            roots.add(certificate).map_err(|error| format!("sslrootcert: {error}"))?;
        }
    }
    Ok(roots)
}

fn certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(&pem(file)?).collect::<Result<_, _>>().map_err(|error| error.to_string())
}

fn pem(file: &str) -> Result<Vec<u8>, String> {
    if file.trim_start().starts_with("-----BEGIN") {
        return Ok(file.as_bytes().to_vec());
    }
    std::fs::read(file).map_err(|error| format!("{file}: {error}"))
}

/// Accepts any certificate, or with `trust` any that a trusted root has signed, whatever name it is for. The weaker modes
/// of `sslmode` mean this.
#[derive(Debug)]
struct AnyName {
    trust: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(trust) = &self.trust else { return Ok(ServerCertVerified::assertion()) };
        match trust.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
