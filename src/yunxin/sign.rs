//! The checksum that proves knowledge of the secret.

use std::fmt::Write as _;

use secrecy::{ExposeSecret, SecretString};
use sha1::{Digest, Sha1};

/// Lower-case hex of `SHA1(secret + nonce + curtime)`.
pub(super) fn checksum(secret: &SecretString, nonce: &str, curtime: &str) -> String {
    let digest = Sha1::new().chain_update(secret.expose_secret()).chain_update(nonce).chain_update(curtime).finalize();
    let mut text = String::with_capacity(40);
    for byte in digest {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// What a request is signed with. Made afresh for every attempt: the server refuses a repetition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signature {
    /// 32 random hexadecimal digits.
    pub(super) nonce: String,
    /// Seconds since the epoch, by the server's clock.
    pub(super) curtime: String,
    /// See [`checksum`].
    pub(super) checksum: String,
    /// The request's own ID, by which the server recognises repetitions.
    pub(super) trace_id: String,
}

impl Signature {
    /// Signs for the moment `curtime`, in seconds since the epoch. `random` is fresh for every attempt.
    pub(super) fn new(secret: &SecretString, curtime: i64, random: [u128; 2]) -> Self {
        let nonce = format!("{:032x}", random[0]);
        let curtime = curtime.to_string();
        let checksum = checksum(secret, &nonce, &curtime);
        Self { nonce, curtime, checksum, trace_id: format!("{:032x}", random[1]) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    // Expected values computed with `printf %s … | sha1sum`.
    #[test]
    fn known_inputs_give_known_checksums() {
        let secret = SecretString::from("0123456789abcdef");
        assert_eq!(checksum(&secret, "nonce", "1700000000"), "622a99014598b620df0a2f99f0f050e7153496b5");
        assert_eq!(checksum(&SecretString::from(""), "", ""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        let signature = Signature::new(&secret, 1_753_951_805, [0xabc, 1]);
        assert_eq!(signature.nonce, "00000000000000000000000000000abc");
        assert_eq!(signature.checksum, "eacfe4ae93c3779204080a4d3ad05f1246c1f60e");
    }

    #[test]
    fn a_signature_shows_no_secret() {
        let secret = SecretString::from("do-not-show");
        let shown = format!("{:?}", Signature::new(&secret, 1, [2, 3]));
        assert!(!shown.contains("do-not-show"));
    }
}
