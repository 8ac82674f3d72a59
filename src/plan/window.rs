//! The references that wait until their conversation fills a batch.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::owner::{TeamOwner, index_of, majority};
use super::{Batch, BatchRef, Purpose};
use crate::model::reference::{ConversationKey, ConversationType, Reference, write_key};

/// References on their way into batches. A conversation is forgotten when it is cut, so memory follows what is carried
/// and not what was read.
#[derive(Debug)]
pub struct Window {
    batch_size: usize,
    capacity: usize,
    team_owner: TeamOwner,
    conversations: HashMap<Arc<str>, Carried, RandomState>,
    carried: usize,
    ready: Vec<Batch>,
}

/// What is carried of one conversation.
#[derive(Debug)]
struct Carried {
    /// The owners that `refs` name, as they spell them, each account once.
    owners: Vec<String>,
    refs: Vec<BatchRef>,
}

impl Window {
    /// Batches of at most `batch_size` references, carrying at most `capacity` references (at least one batch).
    pub fn new(batch_size: usize, capacity: usize, team_owner: TeamOwner) -> Self {
        let batch_size = batch_size.max(1);
        Self {
            batch_size,
            capacity: capacity.max(batch_size),
            team_owner,
            conversations: HashMap::default(),
            carried: 0,
            ready: Vec::new(),
        }
    }

    /// The number of references carried.
    pub fn carried(&self) -> usize {
        self.carried
    }

    /// Takes a reference whose ID is not carried already. Full batches go to [`Self::take_ready`].
    pub fn add(&mut self, reference: Reference<'_>) {
        let Reference { owner, conversation_type, other, message_server_id, create_time } = reference;
        let mut key = String::with_capacity(64);
        write_key(&mut key, owner, conversation_type, other);
        if self.team_owner == TeamOwner::Own && conversation_type != ConversationType::OneToOne {
            // Each owner is asked in batches of its own. `cut` takes off what follows the NUL, which no account contains.
            key.push('\0');
            key.push_str(&owner.to_lowercase());
        }
        let mut reference = BatchRef { message_server_id, create_time, owner: 0 };
        let count = if let Some(Carried { owners, refs }) = self.conversations.get_mut(key.as_str()) {
            reference.owner = index_of(owners, owner);
            refs.push(reference);
            refs.len()
        } else {
            let first = Carried { owners: vec![owner.to_owned()], refs: vec![reference] };
            self.conversations.insert(Arc::from(key.as_str()), first);
            1
        };
        self.carried += 1;
        if count >= self.batch_size {
            self.cut(&key);
        } else if self.carried > self.capacity {
            self.make_room();
        }
    }

    /// The number of batches that wait to be taken.
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// The batches cut since the last call, in the order in which they were cut.
    pub fn take_ready(&mut self) -> Vec<Batch> {
        std::mem::take(&mut self.ready)
    }

    /// The conversations of which something is carried, fullest first.
    pub fn fullest(&self) -> Vec<Arc<str>> {
        let count = |(key, carried): (&Arc<str>, &Carried)| (Reverse(carried.refs.len()), Arc::clone(key));
        let mut order: Vec<_> = self.conversations.iter().map(count).collect();
        order.sort_unstable();
        order.into_iter().map(|(_, key)| key).collect()
    }

    /// Cuts what is carried of these conversations.
    pub fn cut_all(&mut self, conversations: &[Arc<str>]) {
        for key in conversations {
            self.cut(key);
        }
    }

    /// Cuts everything that is still carried, fullest conversation first.
    pub fn finish(&mut self) {
        self.cut_all(&self.fullest());
    }

    /// Cuts a quarter of what is carried. The fullest conversations are nearest to a full batch, so to cut them costs the
    /// fewest requests.
    fn make_room(&mut self) {
        for key in self.fullest() {
            if self.carried <= self.capacity - self.capacity / 4 {
                break;
            }
            self.cut(&key);
        }
    }

    fn cut(&mut self, key: &str) {
        let Some(Carried { owners, mut refs }) = self.conversations.remove(key) else { return };
        self.carried -= refs.len();
        // The ledger stores a batch in this order.
        refs.sort_unstable_by_key(|reference| reference.message_server_id);
        let key = ConversationKey::from_stored(key.split('\0').next().unwrap_or(key).to_owned());
        let asked = match (&self.team_owner, key.conversation_type()) {
            (TeamOwner::Account(account), ConversationType::Team | ConversationType::SuperTeam) => account.clone(),
            _ => owners[majority(&owners, &refs)].clone(),
        };
        self.ready.push(Batch { key, asked, purpose: Purpose::Reference, owners, histories: Vec::new(), refs });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::model::reference::ConversationKey;

    type Drawn = (usize, u8, usize, i64);

    fn draws() -> impl Strategy<Value = Vec<Drawn>> {
        prop::collection::vec((0_usize..6, 1_u8..=3, 0_usize..6, 0_i64..1_000_000), 0..400)
    }

    fn account(number: usize) -> String {
        // Spellings of one account differ by case only.
        if number.is_multiple_of(2) { format!("User{}", number / 2) } else { format!("user{}", number / 2) }
    }

    fn plan(draws: &[Drawn], batch: usize, capacity: usize, team_owner: TeamOwner) -> Vec<Batch> {
        let mut window = Window::new(batch, capacity, team_owner);
        let accounts: Vec<String> = (0..6).map(account).collect();
        let mut seen = BTreeSet::new();
        for (owner, kind, other, id) in draws.iter().filter(|(.., id)| seen.insert(*id)) {
            window.add(Reference {
                owner: &accounts[*owner],
                conversation_type: ConversationType::from_number(i64::from(*kind)).unwrap(),
                other: &accounts[*other],
                message_server_id: *id,
                create_time: id * 7,
            });
        }
        window.finish();
        assert_eq!(window.carried(), 0);
        window.take_ready()
    }

    proptest! {
        #[test]
        fn nothing_is_lost_nothing_twice_and_the_count_is_minimal(draws in draws(), batch in 1_usize..20) {
            let batches = plan(&draws, batch, 1_000_000, TeamOwner::Merge);
            let mut expected: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
            let mut seen = BTreeSet::new();
            for (owner, kind, other, id) in &draws {
                if seen.insert(*id) {
                    let conversation_type = ConversationType::from_number(i64::from(*kind)).unwrap();
                    let key = ConversationKey::new(&account(*owner), conversation_type, &account(*other));
                    expected.entry(key.as_str().to_owned()).or_default().insert(*id);
                }
            }
            let mut got: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
            for one in &batches {
                prop_assert!(!one.refs.is_empty() && one.refs.len() <= batch);
                for reference in &one.refs {
                    prop_assert_eq!(reference.create_time, reference.message_server_id * 7);
                    prop_assert!(got.entry(one.key.as_str().to_owned()).or_default().insert(reference.message_server_id));
                }
            }
            let minimum: usize = expected.values().map(|ids| ids.len().div_ceil(batch)).sum();
            prop_assert_eq!(&got, &expected);
            prop_assert_eq!(batches.len(), minimum);
        }

        #[test]
        fn a_small_window_loses_nothing_either(draws in draws(), batch in 1_usize..20, capacity in 1_usize..50) {
            let batches = plan(&draws, batch, capacity, TeamOwner::Merge);
            let ids: Vec<i64> = batches.iter().flat_map(|b| b.refs.iter().map(|r| r.message_server_id)).collect();
            let distinct: BTreeSet<i64> = ids.iter().copied().collect();
            let expected: BTreeSet<i64> = draws.iter().map(|d| d.3).collect();
            prop_assert_eq!(ids.len(), distinct.len());
            prop_assert_eq!(distinct, expected);
        }

        #[test]
        fn every_reference_keeps_its_own_owner(draws in draws()) {
            for batch in plan(&draws, 10, 100, TeamOwner::Own) {
                for reference in &batch.refs {
                    let drawn = draws.iter().find(|d| d.3 == reference.message_server_id).unwrap();
                    prop_assert!(crate::model::reference::same_account(&account(drawn.0), batch.owner_of(reference)));
                    if batch.key.conversation_type() != ConversationType::OneToOne {
                        prop_assert!(crate::model::reference::same_account(&batch.asked, batch.owner_of(reference)));
                    }
                }
            }
        }

        #[test]
        fn halves_are_the_whole(draws in draws()) {
            for batch in plan(&draws, 10, 100, TeamOwner::Merge) {
                let [left, right] = batch.halves();
                let both: Vec<_> = left.refs.iter().map(|r| (r.message_server_id, left.owner_of(r).to_owned()))
                    .chain(right.refs.iter().map(|r| (r.message_server_id, right.owner_of(r).to_owned()))).collect();
                let whole: Vec<_> = batch.refs.iter().map(|r| (r.message_server_id, batch.owner_of(r).to_owned())).collect();
                prop_assert_eq!(both, whole);
            }
        }
    }

    #[test]
    fn the_owner_that_most_references_name_is_asked() {
        let mut window = Window::new(10, 100, TeamOwner::Merge);
        for (id, owner) in [(1, "ann"), (2, "Bob"), (3, "bob")] {
            window.add(Reference {
                owner,
                conversation_type: ConversationType::Team,
                other: "77",
                message_server_id: id,
                create_time: id,
            });
        }
        window.finish();
        let batches = window.take_ready();
        assert_eq!(batches.len(), 1);
        assert_eq!(batches[0].asked, "Bob");
        assert_eq!(batches[0].owners, ["ann", "Bob"]);
    }

    #[test]
    fn a_configured_account_asks_for_every_team() {
        let mut window = Window::new(10, 100, TeamOwner::Account("admin".to_owned()));
        window.add(Reference {
            owner: "ann",
            conversation_type: ConversationType::SuperTeam,
            other: "77",
            message_server_id: 1,
            create_time: 1,
        });
        window.finish();
        assert_eq!(window.take_ready()[0].asked, "admin");
    }
}
