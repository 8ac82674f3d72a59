//! A ledger without its job.

use std::path::Path;

use yunxin_archiver::ledger::{Beginning, Identity, Ledger, LedgerError};

/// Opens a ledger to write, and begins it if there is none with this identity.
pub(crate) async fn open_ledger(path: &Path, identity: &Identity) -> Result<Ledger, LedgerError> {
    match Ledger::open(path, identity).await? {
        Some(ledger) => Ok(ledger),
        None => Ok(Beginning::prepare(path, identity).await?.take_place().await?.0),
    }
}
