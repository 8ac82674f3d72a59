//! In whose name a dialogue is asked.

use super::BatchRef;
use crate::model::reference::same_account;

/// In whose name the messages of a team are asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TeamOwner {
    /// Under the owner that most references of the batch name.
    #[default]
    Merge,
    /// Every reference under its own owner, in batches of its own.
    Own,
    /// Under this account.
    Account(String),
}

/// Where `owner` stands in `owners`, appended if it is new. Spellings of one account are one owner.
pub(super) fn index_of(owners: &mut Vec<String>, owner: &str) -> u16 {
    let found = owners.iter().position(|known| same_account(known, owner));
    let index = found.unwrap_or_else(|| {
        owners.push(owner.to_owned());
        owners.len() - 1
    });
    u16::try_from(index).unwrap_or(u16::MAX)
}

/// The owner that most references name; of several the one named first.
pub(super) fn majority(owners: &[String], refs: &[BatchRef]) -> usize {
    let mut counts = vec![0_usize; owners.len()];
    for reference in refs {
        if let Some(count) = counts.get_mut(usize::from(reference.owner)) {
            *count += 1;
        }
    }
    let most = counts.iter().copied().max().unwrap_or(0);
    counts.iter().position(|count| *count == most).unwrap_or(0)
}
