//! In whose name a conversation is asked for.

use super::BatchRef;
use crate::model::reference::same_account;

/// In whose name the messages of a team are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TeamOwner {
    /// In the name of the owner that most references of the batch name.
    #[default]
    Merge,
    /// In the name of each reference's own owner, with separate batches for each owner.
    Own,
    /// In the name of this account.
    Account(String),
}

/// The index of `owner` in `owners`, where it is appended if it is new. Spellings of one account are one owner.
pub(super) fn index_of(owners: &mut Vec<String>, owner: &str) -> u16 {
    let found = owners.iter().position(|known| same_account(known, owner));
    let index = found.unwrap_or_else(|| {
        owners.push(owner.to_owned());
        owners.len() - 1
    });
    u16::try_from(index).unwrap_or(u16::MAX)
}

/// The index of the owner that most references name, and of several such owners the first.
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
