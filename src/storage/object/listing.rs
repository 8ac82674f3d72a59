//! Listings with keys that no path can have, such as `a//b`. The client's own paths know no such keys, and one of them would
//! fail a whole listing.

use std::borrow::Cow;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::client::{HttpError, HttpRequest, HttpResponse, HttpResponseBody, HttpService};

use crate::storage::NO_PATH;

/// Asks a store, and makes paths of all keys that it lists.
#[derive(Debug)]
pub(super) struct Listings(pub(super) reqwest::Client);

#[async_trait]
impl HttpService for Listings {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let query = request.uri().query().unwrap_or_default();
        let is_listing = query.split('&').any(|pair| matches!(pair, "list-type=2" | "comp=list"));
        let answer = self.0.call(request).await?;
        if !is_listing || !answer.status().is_success() {
            return Ok(answer);
        }
        let (head, body) = answer.into_parts();
        let body = body.bytes().await?;
        let changed = match std::str::from_utf8(&body).map(with_paths) {
            Ok(Cow::Owned(changed)) => Some(Bytes::from(changed)),
            _ => None,
        };
        Ok(HttpResponse::from_parts(head, HttpResponseBody::from(changed.unwrap_or(body))))
    }
}

/// The same listing, in which every key is a path: where it would not be, [`NO_PATH`] stands before the part that is the
/// reason.
fn with_paths(listing: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut rest = listing;
    while let Some((start, key)) = next_key(rest) {
        let path = path_of(key);
        out.push_str(&rest[..start]);
        out.push_str(&path);
        rest = &rest[start + key.len()..];
    }
    out.push_str(rest);
    if out == listing { Cow::Borrowed(listing) } else { Cow::Owned(out) }
}

/// The next key, as S3 and Google (`Key`) or Azure (`Name`) write it, and where it begins.
fn next_key(listing: &str) -> Option<(usize, &str)> {
    let begin = |tag: &str| listing.find(tag).map(|at| at + tag.len());
    let start = [begin("<Key>"), begin("<Name>")].into_iter().flatten().min()?;
    let length = listing[start..].find('<')?;
    Some((start, &listing[start..start + length]))
}

fn path_of(key: &str) -> Cow<'_, str> {
    let within = key.strip_prefix('/').unwrap_or(key);
    let within = within.strip_suffix('/').unwrap_or(within);
    let is_part = |part: &str| !matches!(part, "" | "." | "..") && !has_control(part);
    if key.is_empty() || (within.len() == key.len() && key.split('/').all(is_part)) {
        return Cow::Borrowed(key);
    }
    let parts = key.split('/').map(|part| match part {
        part if is_part(part) => part.to_owned(),
        part => format!("{NO_PATH}{}", part.replace(|c: char| c.is_ascii_control(), "?").replace("&#", "?#")),
    });
    Cow::Owned(parts.collect::<Vec<_>>().join("/"))
}

/// Whether a part of a key holds a control character, as it is or as XML writes it.
fn has_control(part: &str) -> bool {
    let is_control = |code: &str| {
        let code = code.split(';').next().unwrap_or_default();
        let number = match code.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => code.parse(),
        };
        number.is_ok_and(|number| number < 0x20 || number == 0x7f)
    };
    part.chars().any(|c| c.is_ascii_control()) || part.split("&#").skip(1).any(is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_becomes_a_path_that_shows_what_it_was() {
        let listing = |keys: &[&str]| {
            let keys: Vec<_> = keys.iter().map(|key| format!("<Contents><Key>{key}</Key></Contents>")).collect();
            format!("<ListBucketResult><Name>bucket</Name>{}</ListBucketResult>", keys.concat())
        };
        let right = listing(&["a/b.parquet", "a&amp;b/\u{4f60}", "a/&#x20;"]);
        assert!(matches!(with_paths(&right), Cow::Borrowed(_)));
        let wrong = ["a//b", "/a", "a/", "a/../b", "a/&#1;/b", "a/./&#x7F;"];
        let changed = with_paths(&listing(&wrong)).into_owned();
        let shown = ["a//b", "/a", "a/", "a/../b", "a/?#1;/b", "a/./?#x7F;"];
        assert_eq!(changed.replace(NO_PATH, ""), listing(&shown));
        let mut rest = changed.as_str();
        while let Some((start, key)) = next_key(rest) {
            assert!(object_store::path::Path::parse(key).is_ok(), "{key}");
            rest = &rest[start..];
        }
    }
}
