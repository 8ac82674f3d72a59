//! Reads parts of an object.

use std::ops::Range;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt as _};

use super::connect::{is_whole, is_without_bucket};

pub(super) async fn read(store: &dyn ObjectStore, key: &Path, range: Range<u64>) -> Result<Bytes, Error> {
    match store.get_range(key, range.clone()).await {
        // Some stores answer a range that is the whole object as if no range had been asked for.
        Err(error) if range.start == 0 && is_whole(&error) => store.get(key).await?.bytes().await,
        read => read,
    }
}

/// The size of an object and its last `length` bytes, by one request if the store can do that.
pub(super) async fn read_end(store: &dyn ObjectStore, key: &Path, length: u64) -> Result<Option<(u64, Bytes)>, Error> {
    let is_missing = |error: &Error| matches!(error, Error::NotFound { .. }) && !is_without_bucket(error);
    match store.get_opts(key, GetOptions { range: Some(GetRange::Suffix(length)), ..GetOptions::default() }).await {
        Ok(found) => return Ok(Some((found.meta.size, found.bytes().await?))),
        Err(error) if is_missing(&error) => return Ok(None),
        // Azure knows no ranges from the end, and an empty object has none.
        Err(_) => {}
    }
    let size = store.head(key).await?.size;
    let end = if size == 0 { Bytes::new() } else { read(store, key, size.saturating_sub(length)..size).await? };
    Ok(Some((size, end)))
}
