//! The references that are carried until their dialogue fills a batch.
//!
//! The first reference of a dialogue stands with the dialogue, the others three to a cache line, so that a batch is cut
//! at a few strides through memory. About 25 bytes a reference of a dialogue that fills batches, about 85 where every
//! reference is of a dialogue of its own; and its ID, see [`CarriedIds`](super::CarriedIds).

mod names;
mod refs;
mod slab;

use self::names::{Dialogues, Owners, forget_unused};
use self::refs::{Carried, Refs};
use super::owner::{TeamOwner, index_of, majority};
use super::{Batch, BatchRef, Purpose};
use crate::model::reference::{ConversationKey, ConversationType, Reference, write_key};

/// The owner is the first side of the dialogue's key, spelled as there.
const FIRST_SIDE: u32 = u32::MAX;
/// The owner is the second side.
const SECOND_SIDE: u32 = u32::MAX - 1;

/// References on their way into batches.
#[derive(Debug)]
pub struct Window {
    batch_size: usize,
    capacity: usize,
    team_owner: TeamOwner,
    refs: Refs,
    carried: usize,
    dialogues: Dialogues,
    owners: Owners,
    /// The keys of those that are staged, one behind the other.
    keys: String,
    staged: Vec<Staged>,
    ready: Vec<Batch>,
}

/// A reference on its way into its dialogue's list.
#[derive(Debug)]
struct Staged {
    key_hash: u64,
    key_end: usize,
    dialogue: u32,
    /// For an owner that is no side of the dialogue.
    owner_hash: Option<u64>,
    owner: u32,
}

impl Window {
    /// Batches of at most `batch_size` references, carrying at most `capacity` references (at least one batch).
    pub fn new(batch_size: usize, capacity: usize, team_owner: TeamOwner) -> Self {
        let batch_size = batch_size.max(1);
        Self {
            batch_size,
            capacity: capacity.max(batch_size),
            team_owner,
            refs: Refs::default(),
            carried: 0,
            dialogues: Dialogues::default(),
            owners: Owners::default(),
            keys: String::new(),
            staged: Vec::new(),
            ready: Vec::new(),
        }
    }

    /// The number of references carried.
    pub fn carried(&self) -> usize {
        self.carried
    }

    /// Takes a reference. Its ID must not be carried already: [`CarriedIds`](super::CarriedIds) tells. Full batches go to
    /// [`Self::take_ready`].
    pub fn add(&mut self, reference: Reference<'_>) {
        self.add_all(std::slice::from_ref(&reference));
    }

    /// Takes references as [`Self::add`] does: quickest with some hundreds at once.
    pub fn add_all(&mut self, references: &[Reference<'_>]) {
        // In passes, so that many references wait for their places in memory at the same time.
        let mut staged = std::mem::take(&mut self.staged);
        self.keys.clear();
        staged.extend(references.iter().map(|reference| self.stage(reference)));
        let mut key_start = 0;
        for (one, reference) in staged.iter_mut().zip(references) {
            if let Some(hash) = one.owner_hash {
                one.owner = self.owners.number(hash, reference.owner);
            }
            one.dialogue = self.dialogues.number(one.key_hash, &self.keys[key_start..one.key_end]);
            key_start = one.key_end;
        }
        for (one, reference) in staged.drain(..).zip(references) {
            let Reference { message_server_id, create_time, .. } = *reference;
            self.carry(one.dialogue, Carried { message_server_id, create_time, owner: one.owner });
        }
        self.staged = staged;
        self.forget();
    }

    /// Writes the key of a reference's dialogue behind the others.
    fn stage(&mut self, reference: &Reference<'_>) -> Staged {
        let Reference { owner, conversation_type, other, .. } = *reference;
        let start = self.keys.len();
        write_key(&mut self.keys, owner, conversation_type, other);
        let side = match conversation_type {
            ConversationType::OneToOne => side(&self.keys[start..], owner),
            ConversationType::Team | ConversationType::SuperTeam => None,
        };
        if self.team_owner == TeamOwner::Own && conversation_type != ConversationType::OneToOne {
            // Behind a NUL, which no account holds, the owner keeps its batches apart and is cut off again.
            self.keys.push('\0');
            self.keys.push_str(&owner.to_lowercase());
        }
        Staged {
            key_hash: self.dialogues.hash(&self.keys[start..]),
            key_end: self.keys.len(),
            dialogue: 0,
            owner_hash: if side.is_none() { Some(self.owners.hash(owner)) } else { None },
            owner: side.unwrap_or_default(),
        }
    }

    fn carry(&mut self, dialogue: u32, carried: Carried) {
        let list = self.dialogues.at_mut(dialogue);
        self.refs.push(list, carried);
        let full = list.count() >= self.batch_size;
        self.carried += 1;
        if full {
            self.cut(dialogue);
        } else if self.carried > self.capacity {
            // The fullest are nearest to a full batch: to cut few of them at a time costs the fewest requests.
            self.cut_down_to(self.capacity - self.capacity / 4);
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

    /// The dialogues that carry something, by number, fullest first. Taking another reference may number them anew.
    pub fn fullest(&self) -> Vec<u32> {
        let count = |dialogue: &u32| self.dialogues.at(*dialogue).count();
        let mut order: Vec<u32> = (0..self.dialogues.len() as u32).filter(|dialogue| count(dialogue) > 0).collect();
        order.sort_by_key(|dialogue| std::cmp::Reverse(count(dialogue)));
        order
    }

    /// Cuts what these dialogues carry.
    pub fn cut_all(&mut self, dialogues: &[u32]) {
        for dialogue in dialogues {
            self.cut(*dialogue);
        }
    }

    /// Cuts everything that is still carried, fullest dialogue first.
    pub fn finish(&mut self) {
        self.cut_all(&self.fullest());
        let fresh = Self::new(self.batch_size, self.capacity, self.team_owner.clone());
        *self = Self { ready: std::mem::take(&mut self.ready), ..fresh };
    }

    fn cut_down_to(&mut self, target: usize) {
        for dialogue in self.fullest() {
            if self.carried <= target {
                break;
            }
            self.cut(dialogue);
        }
    }

    fn cut(&mut self, number: u32) {
        let Self { dialogues, refs, owners: names, .. } = self;
        let mut list = std::mem::take(dialogues.at_mut(number));
        let key = dialogues.name(number);
        let (mut owners, mut indexes) = (Vec::new(), Vec::new());
        let mut batch = Vec::with_capacity(list.count());
        refs.drain(&mut list, |Carried { message_server_id, create_time, owner: name }| {
            let known = indexes.iter().find(|(known, _)| *known == name).map(|(_, index)| *index);
            let owner = known.unwrap_or_else(|| {
                let index = index_of(&mut owners, owner_name(name, key, names));
                indexes.push((name, index));
                index
            });
            batch.push(BatchRef { message_server_id, create_time, owner });
        });
        // Whoever stores the batch wants it so.
        batch.sort_unstable_by_key(|reference| reference.message_server_id);
        self.carried -= batch.len();
        let key = ConversationKey::from_stored(key.split('\0').next().unwrap_or(key).to_owned());
        let asked = match (&self.team_owner, key.conversation_type()) {
            (TeamOwner::Account(account), ConversationType::Team | ConversationType::SuperTeam) => account.clone(),
            _ => owners[majority(&owners, &batch)].clone(),
        };
        let (purpose, histories) = (Purpose::Reference, Vec::new());
        self.ready.push(Batch { key, asked, purpose, owners, histories, refs: batch });
    }

    /// Forgets the names of dialogues that carry nothing, when there are many, so that memory follows what is carried,
    /// not what was read.
    fn forget(&mut self) {
        let many = 2 * self.carried + 65_536;
        if self.dialogues.len() > many || self.owners.len() > many {
            forget_unused(&mut self.dialogues, &mut self.owners, &mut self.refs);
        }
    }
}

/// Which side of a one-to-one dialogue's key `owner` is, if it is spelled as there.
fn side(key: &str, owner: &str) -> Option<u32> {
    let sides = key.get(2..)?;
    match (sides.strip_prefix(owner), sides.strip_suffix(owner)) {
        (Some(rest), _) if rest.starts_with('|') => Some(FIRST_SIDE),
        (_, Some(rest)) if rest.ends_with('|') => Some(SECOND_SIDE),
        _ => None,
    }
}

fn owner_name<'a>(owner: u32, key: &'a str, names: &'a Owners) -> &'a str {
    let (first, second) = key.get(2..).and_then(|sides| sides.split_once('|')).unwrap_or_default();
    match owner {
        FIRST_SIDE => first,
        SECOND_SIDE => second,
        number => names.name(number),
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
        let references: Vec<Reference<'_>> = draws
            .iter()
            .filter(|(.., id)| seen.insert(*id))
            .map(|(owner, kind, other, id)| Reference {
                owner: &accounts[*owner],
                conversation_type: ConversationType::from_number(i64::from(*kind)).unwrap(),
                other: &accounts[*other],
                message_server_id: *id,
                create_time: id * 7,
            })
            .collect();
        for some in references.chunks(1 + draws.len() % 50) {
            window.add_all(some);
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
    fn names_that_are_forgotten_are_not_those_of_references_still_carried() {
        // A spelling of its own, a side of the key, and a member of a team.
        let conversation = |id: i64| match id % 3 {
            0 => (format!("User{id}"), ConversationType::OneToOne, format!("peer{id}")),
            1 => (format!("user{id}"), ConversationType::OneToOne, format!("peer{id}")),
            _ => (format!("member{id}"), ConversationType::Team, format!("{}", id / 6)),
        };
        let (mut window, mut forgotten, mut seen) = (Window::new(100, 500, TeamOwner::Merge), false, 0);
        for id in 1..=90_000 {
            let (owner, conversation_type, other) = conversation(id);
            let before = window.dialogues.len();
            window.add(Reference {
                owner: &owner,
                conversation_type,
                other: &other,
                message_server_id: id,
                create_time: id,
            });
            forgotten |= window.dialogues.len() < before;
        }
        window.finish();
        for batch in window.take_ready() {
            for reference in &batch.refs {
                let (owner, conversation_type, other) = conversation(reference.message_server_id);
                assert_eq!(batch.owner_of(reference), owner);
                assert_eq!(batch.key, ConversationKey::new(&owner, conversation_type, &other));
                seen += 1;
            }
        }
        assert!(forgotten);
        assert_eq!(seen, 90_000);
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
