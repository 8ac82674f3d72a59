//! Ed25519 signatures of manifests.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};

use super::{SignedBy, sha256};

/// What stands before the 32 bytes of an Ed25519 key in its DER form (RFC 8410).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Why a text is no key. Never quotes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Of a private key.
    #[error("is no Ed25519 private key in PKCS#8 PEM, as `openssl genpkey -algorithm ed25519` writes it")]
    Private,
    /// Of a public key.
    #[error("is no Ed25519 public key in PEM, as `openssl pkey -in KEY -pubout` writes it")]
    Public,
}

/// A signature: 64 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature(pub Vec<u8>);

/// A private key.
pub struct Signer {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("key_sha256", &self.public.fingerprint()).finish_non_exhaustive()
    }
}

impl Signer {
    /// Reads a private key: PKCS#8 as PEM, with the public key in it or without.
    ///
    /// # Errors
    ///
    /// The text is none.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| KeyError::Private)?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).map_err(|_| KeyError::Private)?;
        let public = pair.public_key().as_ref().try_into().map(PublicKey).map_err(|_| KeyError::Private)?;
        Ok(Self { pair, public })
    }

    /// The key that checks what this one signs.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs. The same bytes give the same signature.
    pub fn sign(&self, bytes: &[u8]) -> Signature {
        Signature(self.pair.sign(bytes).as_ref().to_vec())
    }
}

/// A public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Reads a public key as PEM.
    ///
    /// # Errors
    ///
    /// The text is none.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).map_err(|_| KeyError::Public)?;
        let key = der.as_ref().strip_prefix(&SPKI).and_then(|key| key.try_into().ok());
        key.map(Self).ok_or(KeyError::Public)
    }

    /// The key as PEM, as openssl writes it.
    pub fn to_pem(self) -> String {
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64_STANDARD.encode(self.der()))
    }

    /// SHA-256 of the key in its DER form, lower-case hex.
    pub fn fingerprint(self) -> String {
        sha256(&self.der())
    }

    /// How a manifest names the key.
    pub fn named(self) -> SignedBy {
        SignedBy { algorithm: "ed25519".to_owned(), key_sha256: self.fingerprint(), public_key: self.to_pem() }
    }

    /// Whether this key's owner signed these bytes.
    pub fn has_signed(self, bytes: &[u8], signature: &Signature) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(bytes, &signature.0).is_ok()
    }

    fn der(self) -> Vec<u8> {
        [SPKI.as_slice(), &self.0].concat()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Of RFC 8410, section 10.3: a private key without its public one.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

    #[test]
    fn keys_are_read_as_openssl_writes_them() {
        let signer = Signer::from_pem(PRIVATE).unwrap();
        assert_eq!(signer.public().to_pem(), PUBLIC);
        assert_eq!(PublicKey::from_pem(PUBLIC).unwrap(), *signer.public());
        assert_eq!(Signer::from_pem(PUBLIC).unwrap_err(), KeyError::Private);
        assert_eq!(PublicKey::from_pem(PRIVATE).unwrap_err(), KeyError::Public);
        assert!(!format!("{signer:?}").contains("MC4C"));
    }

    #[test]
    fn a_signature_is_of_these_bytes_by_this_key() {
        let signer = Signer::from_pem(PRIVATE).unwrap();
        let mut signature = signer.sign(b"manifest");
        assert_eq!(signature.0.len(), 64);
        assert!(signer.public().has_signed(b"manifest", &signature));
        assert!(!signer.public().has_signed(b"manifesto", &signature));
        signature.0[5] ^= 1;
        assert!(!signer.public().has_signed(b"manifest", &signature));
    }
}
