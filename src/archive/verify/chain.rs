//! The chain of manifests: each has the hash of the one before it, is signed or covered by a later one that is, and adds up.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use super::{Settings, Verification, Wrong};
use crate::model::manifest::{Manifest, PublicKey, Signature, VERSION, sha256};
use crate::model::summary::ManifestHead;

/// A manifest as it was found in an archive.
pub(in crate::archive) struct FoundManifest {
    /// Its name for reports: its file, relative to the archive, or its row.
    pub(in crate::archive) name: String,
    pub(in crate::archive) bytes: Vec<u8>,
    pub(in crate::archive) signature: Option<Vec<u8>>,
}

/// A manifest that could be read.
pub(in crate::archive) struct Link {
    pub(in crate::archive) name: String,
    pub(in crate::archive) sha256: String,
    pub(in crate::archive) manifest: Manifest,
    bytes: Vec<u8>,
    signature: Option<Vec<u8>>,
}

/// Reads the manifests and follows the chain. `is_called` says whether a manifest has the name it should have.
pub(in crate::archive) fn follow(
    found: Vec<FoundManifest>,
    settings: &Settings,
    is_called: impl Fn(&str, &Manifest) -> bool,
    out: &mut Verification,
) -> Vec<Link> {
    let mut links = Vec::with_capacity(found.len());
    for FoundManifest { name, bytes, signature } in found {
        let manifest: Manifest = match serde_json::from_slice(&bytes) {
            Ok(manifest) => manifest,
            Err(error) => {
                out.wrong(Wrong::Manifest, name, format!("it cannot be read: {error}"));
                continue;
            }
        };
        if !(1..=VERSION).contains(&manifest.version) {
            let message =
                format!("it has version {}, and this program knows versions up to {VERSION}", manifest.version);
            out.wrong(Wrong::Manifest, name, message);
            continue;
        }
        if !is_called(&name, &manifest) {
            let message = format!("it says that it is number {} of run {}", manifest.sequence, manifest.run_id);
            out.wrong(Wrong::Manifest, &name, message);
        }
        links.push(Link { name, sha256: sha256(&bytes), manifest, bytes, signature });
    }
    links.sort_by(|a, b| (a.manifest.sequence, &a.name).cmp(&(b.manifest.sequence, &b.name)));
    out.manifests = links.len() as u64;
    out.head = links.last().map(|link| ManifestHead {
        sequence: link.manifest.sequence,
        run_id: link.manifest.run_id.clone(),
        sha256: link.sha256.clone(),
    });
    let mut before: Option<&Link> = None;
    for link in &links {
        follows(before, link, out);
        sums(link, out);
        before = Some(link);
    }
    let unchained = links.iter().filter(|link| link.manifest.version < 2).count();
    if unchained > 0 {
        let covered = if unchained < links.len() { ", except for the last of them" } else { "" };
        out.note(format!("{unchained} manifests are of version 1, which does not chain them{covered}"));
    }
    signatures(&links, settings, out);
    kept(&links, settings, out);
    links
}

/// Whether a manifest follows the one before it.
fn follows(before: Option<&Link>, link: &Link, out: &mut Verification) {
    let (sequence, first) = (link.manifest.sequence, before.map_or(1, |before| before.manifest.sequence + 1));
    if let Some(before) = before.filter(|before| before.manifest.sequence == sequence) {
        out.wrong(Wrong::Sequence, &link.name, format!("{} has the number {sequence} as well", before.name));
        return;
    }
    let previous = link.manifest.previous.as_deref();
    if sequence > first {
        // An archive in Postgres had no table of manifests at first. The first manifest then says that there was none.
        if before.is_none() && previous.is_none() && out.kind == "postgres" {
            out.note(format!("the first manifest has the number {sequence}: earlier runs wrote none"));
            return;
        }
        let missing = if sequence - first == 1 {
            format!("manifest {first} is")
        } else {
            format!("manifests {first} to {} are", sequence - 1)
        };
        out.wrong(Wrong::Sequence, &link.name, format!("{missing} missing before it"));
        return;
    }
    match (before, previous) {
        (None, Some(_)) => {
            out.wrong(Wrong::Chain, &link.name, "it is the first, and says that there was one before it");
        }
        (Some(before), Some(previous)) if previous != before.sha256 => {
            let message = format!(
                "it says that {} had the SHA-256 {previous}, and it has {}: that one was changed, or this one",
                before.name, before.sha256
            );
            out.wrong(Wrong::Chain, &link.name, message);
        }
        (Some(before), None) if link.manifest.version >= 2 || before.manifest.version >= 2 => {
            out.wrong(Wrong::Chain, &link.name, format!("it does not have the hash of {}", before.name));
        }
        _ => {}
    }
}

/// Whether the counts of a manifest agree with each other.
fn sums(link: &Link, out: &mut Verification) {
    let manifest = &link.manifest;
    if let Some(Err(error)) = manifest.references.map(|references| references.check()) {
        out.wrong(Wrong::Sums, &link.name, error.0);
    }
    if let Some(Err(error)) = manifest.thread_extras.map(|extras| extras.check()) {
        out.wrong(Wrong::Sums, &link.name, error.0);
    }
    if out.kind == "parquet" {
        let rows: u64 = manifest.files.iter().map(|file| file.rows).sum();
        let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
        for (what, said, found) in [("messages", manifest.rows, rows), ("bytes", manifest.bytes, bytes)] {
            if said != found {
                out.wrong(
                    Wrong::Sums,
                    &link.name,
                    format!("it says {said} {what}, and those of its files are {found}"),
                );
            }
        }
    }
    for file in manifest.files.iter().chain(&manifest.vanished) {
        if !Path::new(&file.path).components().all(|component| matches!(component, Component::Normal(_))) {
            out.wrong(Wrong::Manifest, &link.name, format!("it names {:?}, which leads out of the archive", file.path));
        }
    }
}

/// Every signature must be valid. The last manifest must be signed with a known key, if there is one; through the chain it
/// covers all manifests before it.
fn signatures(links: &[Link], settings: &Settings, out: &mut Verification) {
    let known: Vec<String> = settings.keys.iter().map(|key| key.fingerprint()).collect();
    let (mut keys, mut right, mut unsigned) = (BTreeSet::new(), 0, 0);
    for (index, link) in links.iter().enumerate() {
        let is_last = index + 1 == links.len();
        let signed = match (&link.manifest.signature, &link.signature) {
            (None, None) => {
                unsigned += 1;
                if is_last && !known.is_empty() {
                    out.wrong(Wrong::Signature, &link.name, "it is the last, and not signed");
                }
                continue;
            }
            (None, Some(_)) => Err("there is a signature beside it, and it names no key".to_owned()),
            (Some(by), None) => {
                Err(format!("it should be signed with the key {}, and its signature is missing", by.key_sha256))
            }
            (Some(by), Some(signature)) => match PublicKey::from_pem(&by.public_key) {
                Ok(key) if key.fingerprint() != by.key_sha256 => {
                    Err(format!("the key in it is {} and not {} as it says", key.fingerprint(), by.key_sha256))
                }
                Ok(key) if key.has_signed(&link.bytes, &Signature(signature.clone())) => Ok(key.fingerprint()),
                Ok(key) => Err(format!("its signature with the key {} is wrong", key.fingerprint())),
                Err(error) => Err(format!("the key in it {error}")),
            },
        };
        match signed {
            Ok(key) => {
                right += 1;
                if is_last && !known.is_empty() && !known.contains(&key) {
                    let message = format!("it is the last, and signed with the key {key}, which is not known");
                    out.wrong(Wrong::Signature, &link.name, message);
                }
                keys.insert(key);
            }
            Err(message) => out.wrong(Wrong::Signature, &link.name, message),
        }
    }
    if known.is_empty() && right > 0 {
        out.note("signatures were checked against the keys that the manifests name, and against no known key");
    }
    let others: Vec<&str> = keys.iter().filter(|key| !known.contains(key)).map(String::as_str).collect();
    if !known.is_empty() && !others.is_empty() {
        out.note(format!(
            "earlier manifests are signed with other keys ({}); the chain covers them",
            others.join(", ")
        ));
    }
    if !known.is_empty() && unsigned > 0 && right > 0 {
        out.note(format!("{unsigned} manifests are not signed themselves; the chain covers those before a signed one"));
    }
    out.signatures = super::Signatures { right, unsigned, keys: keys.into_iter().collect(), known };
}

/// Whether the chain has the hashes that were kept outside the archive.
fn kept(links: &[Link], settings: &Settings, out: &mut Verification) {
    for kept in &settings.kept {
        let after = links.iter().rev().position(|link| link.sha256 == kept.sha256);
        match (after, links.last()) {
            (Some(0), _) => {}
            (Some(after), Some(last)) if kept.last => {
                let message = format!(
                    "{after} manifests follow the one that {} knows as the last: a run died before it noted that, and \
                     the next run notes it; or somebody else made them",
                    kept.by
                );
                out.wrong(Wrong::Head, &last.name, message);
            }
            (Some(after), _) => out.note(format!("{after} manifests follow the one of {}", kept.by)),
            (None, last) => {
                let subject = last.map_or("the chain", |last| last.name.as_str()).to_owned();
                let message = format!(
                    "no manifest has the SHA-256 {} of {}: manifests after this one were removed, or manifests were changed",
                    kept.sha256, kept.by
                );
                out.wrong(Wrong::Head, subject, message);
            }
        }
    }
}
