//! In whose name a dialogue is asked.

use super::{Ask, Batch, BatchRef};
use crate::reference::{ConversationType, same_account};

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

/// The asks under another owner for those references of `batch` that `missed` picks by position.
///
/// A one-to-one dialogue is asked under its other side, a team under each reference's own owner. A reference that
/// was already asked under all the owners it has stays out: its failure is final.
pub fn second_asks(batch: &Batch, missed: &[usize]) -> Vec<Batch> {
    if batch.ask == Ask::Second {
        return Vec::new();
    }
    let mut asks: Vec<Batch> = Vec::new();
    for reference in missed.iter().filter_map(|index| batch.refs.get(*index)) {
        let own = batch.owner_of(reference);
        let next = match batch.key.conversation_type() {
            ConversationType::OneToOne => batch.key.other_side(&batch.asked),
            ConversationType::Team | ConversationType::SuperTeam => Some(own.to_owned()),
        };
        let Some(next) = next.filter(|next| !same_account(next, &batch.asked)) else { continue };
        // The reference's own spelling of an account is the one that its owner's system knows.
        let next = if same_account(&next, own) { own.to_owned() } else { next };
        let position = asks.iter().position(|ask| same_account(&ask.asked, &next)).unwrap_or_else(|| {
            asks.push(Batch {
                key: batch.key.clone(),
                asked: next,
                ask: Ask::Second,
                purpose: batch.purpose,
                owners: Vec::new(),
                refs: Vec::new(),
            });
            asks.len() - 1
        });
        let ask = &mut asks[position];
        let owner = index_of(&mut ask.owners, own);
        ask.refs.push(BatchRef { owner, ..*reference });
    }
    asks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Purpose;
    use crate::reference::ConversationKey;

    fn batch(key: &str, asked: &str, owners: &[&str]) -> Batch {
        let mut names = Vec::new();
        let refs = owners
            .iter()
            .enumerate()
            .map(|(id, owner)| BatchRef {
                message_server_id: id as i64 + 1,
                create_time: 0,
                owner: index_of(&mut names, owner),
            })
            .collect();
        let key = ConversationKey::from_stored(key.to_owned());
        Batch { key, asked: asked.to_owned(), ask: Ask::First, purpose: Purpose::Reference, owners: names, refs }
    }

    #[test]
    fn a_one_to_one_dialogue_is_asked_again_under_the_other_side() {
        let asks = second_asks(&batch("1|a|b", "a", &["a", "B", "a"]), &[0, 1]);
        assert_eq!(asks.len(), 1);
        assert_eq!(asks[0].asked, "b");
        assert_eq!(asks[0].refs.len(), 2);
    }

    #[test]
    fn a_team_is_asked_again_under_each_references_own_owner() {
        let asks = second_asks(&batch("2|7", "a", &["a", "b", "c", "b"]), &[0, 1, 2, 3]);
        let asked: Vec<_> = asks.iter().map(|ask| (ask.asked.as_str(), ask.refs.len())).collect();
        assert_eq!(asked, [("b", 2), ("c", 1)]);
    }

    #[test]
    fn a_second_ask_is_the_last_one() {
        let mut second = batch("1|a|b", "a", &["a"]);
        second.ask = Ask::Second;
        assert!(second_asks(&second, &[0]).is_empty());
    }

    #[test]
    fn a_conversation_of_an_account_with_itself_has_no_other_side() {
        assert!(second_asks(&batch("1|a|a", "A", &["a"]), &[0]).is_empty());
    }
}
