use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 6] = ["ann", "Ben", "cleo", "dan", "eve", "fay"];

fn said(code: i64) -> Reason {
    Reason { class: Class::Unavailable, code: Some(code), message: String::new(), retryable: false }
}

fn batch(key: &str, asked: &str, owners: &[&str]) -> Batch {
    let key = ConversationKey::from_stored(key.to_owned());
    let (purpose, owner) = (Purpose::Reference, 0);
    let mut batch = Batch { key, asked: asked.to_owned(), purpose, owners: vec![], histories: vec![], refs: vec![] };
    for (own, id) in owners.iter().zip(1..) {
        batch.push(BatchRef { message_server_id: id, create_time: 0, owner }, own, None);
    }
    batch
}

fn missed(batch: &Batch, remedy: Remedy) -> Vec<Miss> {
    let miss = |index| Miss { index, reason: said(107_404), remedy, purpose: batch.purpose };
    (0..batch.refs.len()).map(miss).collect()
}

const ANSWERED: Attempt = Attempt { sent: 1, answered: true, got: true, deferrals: 6 };
const REFUSED: Attempt = Attempt { sent: 1, answered: false, got: false, deferrals: 6 };

/// The batch that a follow-up becomes under this owner.
fn asked_under(follow_up: &FollowUp, asked: &str) -> Batch {
    let FollowUp { key, purpose, owners, refs, history, .. } = follow_up.clone();
    let histories = vec![history; owners.len()];
    Batch { key, asked: asked.to_owned(), purpose, owners, histories, refs }
}

#[test]
fn a_one_to_one_conversation_is_asked_for_in_both_names() {
    let first = batch("1|a|b", "a", &["a", "B", "a"]);
    let (follow_ups, finals) = follow_up(&first, missed(&first, Remedy::OtherOwner), &ANSWERED);
    let asked: Vec<_> = follow_ups.iter().map(|more| (more.asked.as_deref(), more.refs.len())).collect();
    // As the references spell it, where they do.
    assert_eq!((asked, finals.len()), (vec![(Some("b"), 2), (Some("B"), 1)], 0));
    let second = asked_under(&follow_ups[0], "b");
    let (follow_ups, finals) = follow_up(&second, missed(&second, Remedy::OtherOwner), &ANSWERED);
    assert_eq!((follow_ups.len(), finals.len(), finals[0].history.attempts), (0, 2, 2));
}

#[test]
fn a_conversation_of_an_account_with_itself_has_no_other_side() {
    let alone = batch("1|a|a", "A", &["a"]);
    assert!(follow_up(&alone, missed(&alone, Remedy::OtherOwner), &ANSWERED).0.is_empty());
}

#[test]
fn what_a_member_said_of_a_message_counts_more_than_that_another_was_refused() {
    let first = batch("2|7", "ann", &["ann"]);
    let (more, _) = follow_up(&first, missed(&first, Remedy::OtherOwner), &ANSWERED);
    let second = asked_under(&more[0], "Ben");
    let refused = vec![Miss { reason: said(109_404), ..missed(&second, Remedy::OtherOwner).remove(0) }];
    let (more, _) = follow_up(&second, refused.clone(), &REFUSED);
    assert_eq!((more[0].history.reason.code, more[0].history.answered), (Some(107_404), true));
    // Of requests that were refused as a whole the last one counts.
    let (more, _) = follow_up(&first, missed(&first, Remedy::OtherOwner), &REFUSED);
    let (more, _) = follow_up(&asked_under(&more[0], "Ben"), refused, &REFUSED);
    assert_eq!((more[0].history.reason.code, more[0].history.answered), (Some(109_404), false));
    // A request that failed on its way leaves it open what would have been said.
    let lost = Reason { class: Class::Transport, code: None, message: String::new(), retryable: true };
    let lost = vec![Miss { reason: lost.clone(), ..missed(&second, Remedy::Nothing).remove(0) }];
    let (_, finals) = follow_up(&second, lost, &REFUSED);
    assert_eq!((finals[0].history.reason.class, finals[0].history.answered), (Class::Transport, false));
}

#[test]
fn what_is_refused_for_now_is_asked_under_the_same_owner_so_often_and_no_more() {
    let mut asked = batch("2|7", "ann", &["Ben"]);
    for time in 1..ANSWERED.deferrals {
        let (more, finals) = follow_up(&asked, missed(&asked, Remedy::Later), &ANSWERED);
        assert_eq!((more.len(), finals.len(), more[0].is_deferred()), (1, 0, true));
        assert_eq!((more[0].asked.as_deref(), more[0].history.deferrals), (Some("ann"), time));
        assert_eq!(more[0].history.asked, ["ann"]);
        asked = asked_under(&more[0], "ann");
    }
    let (more, finals) = follow_up(&asked, missed(&asked, Remedy::Later), &ANSWERED);
    assert_eq!((more.len(), finals[0].history.attempts), (0, ANSWERED.deferrals));
}

#[test]
fn an_owner_that_was_known_to_be_refused_was_not_asked() {
    let unsent = batch("2|7", "ann", &["ann", "Ben"]);
    let (more, _) = follow_up(&unsent, missed(&unsent, Remedy::OtherOwner), &Attempt { sent: 0, ..REFUSED });
    assert_eq!((more[0].history.asked.len(), more[0].history.attempts), (0, 0));
}

fn name() -> impl Strategy<Value = usize> {
    0..NAMES.len()
}

fn history() -> impl Strategy<Value = History> {
    let named = prop::collection::btree_map(name(), 1_u32..50, 0..6);
    (prop::collection::btree_set(name(), 0..4), named, any::<bool>()).prop_map(|(asked, named, answered)| {
        let mut named: Vec<_> = named.into_iter().map(|(name, count)| (NAMES[name].to_owned(), count)).collect();
        named.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let asked = asked.into_iter().map(|name| NAMES[name].to_lowercase()).collect();
        History { asked, named, answered, ..History::default() }
    })
}

proptest! {
    #[test]
    fn the_next_owner_is_new_allowed_and_the_best_there_is(
        histories in prop::collection::vec(history(), 1..5),
        answered in prop::option::of(name()),
        own in name(),
        refused in prop::collection::btree_set(name(), 0..4),
    ) {
        let (history, own, answered) = (&histories[0], NAMES[own], answered.map(|name| NAMES[name]));
        let refused: BTreeSet<String> = refused.into_iter().map(|name| NAMES[name].to_lowercase()).collect();
        let candidates = Candidates::new(answered, &histories);
        let next = candidates.next(history, own, |owner| refused.contains(&owner.to_lowercase()));

        let mut counts = BTreeMap::<&str, u32>::new();
        for (name, count) in histories.iter().flat_map(|history| &history.named) {
            *counts.entry(name).or_default() += count;
        }
        let free = |name: &str| !is_among(&history.asked, name) && !refused.contains(&name.to_lowercase());
        let open: Vec<&str> = NAMES
            .into_iter()
            .filter(|name| free(name) && (counts.contains_key(name) || answered == Some(*name) || own == *name))
            .collect();
        match next {
            None => prop_assert!(history.asked.len() >= MOST_OWNERS || open.is_empty()),
            Some(next) => {
                prop_assert!(history.asked.len() < MOST_OWNERS && open.contains(&next));
                let is_last = history.asked.len() + 1 == MOST_OWNERS;
                if is_last && free(own) {
                    prop_assert_eq!(next, own);
                } else if let Some(answered) = answered.filter(|name| free(name)) {
                    prop_assert_eq!(next, answered);
                } else {
                    let count = |name: &str| counts.get(name).copied().unwrap_or(0);
                    prop_assert!(open.iter().all(|name| count(name) <= count(next)));
                }
            }
        }
    }

    /// A whole run of a team, in which some left and each message shows to some.
    #[test]
    fn every_reference_ends_once_and_is_got_if_a_member_that_was_asked_sees_it(
        owners in prop::collection::vec(name(), 1..30),
        seen in prop::collection::vec(prop::collection::btree_set(name(), 0..6), 30),
        left in prop::collection::btree_set(name(), 0..5),
        answered in prop::option::of(name()),
    ) {
        let names: Vec<&str> = owners.iter().map(|name| NAMES[*name]).collect();
        let is_left = |owner: &str| left.iter().any(|name| same_account(NAMES[*name], owner));
        let mut batches = vec![batch("2|7", answered.map_or(names[0], |name| NAMES[name]), &names)];
        let (mut got, mut given_up) = (BTreeSet::new(), BTreeMap::<i64, Vec<String>>::new());
        while !batches.is_empty() {
            let mut waiting: Vec<FollowUp> = Vec::new();
            for batch in &batches {
                let sees = |reference: &BatchRef| {
                    let id = reference.message_server_id;
                    seen[id as usize - 1].iter().any(|name| same_account(NAMES[*name], &batch.asked))
                };
                let refused = is_left(&batch.asked);
                let found = |reference: &BatchRef| !refused && sees(reference);
                let misses: Vec<Miss> = missed(batch, Remedy::OtherOwner)
                    .into_iter()
                    .filter(|miss| !found(&batch.refs[miss.index]))
                    .collect();
                got.extend(batch.refs.iter().filter(|r| found(r)).map(|r| r.message_server_id));
                let attempt = if refused { REFUSED } else { ANSWERED };
                let (more, finals) = follow_up(batch, misses, &attempt);
                waiting.extend(more);
                for last in finals {
                    given_up.insert(batch.refs[last.index].message_server_id, last.history.asked);
                }
            }
            let candidates = Candidates::new(None, waiting.iter().map(|more| &*more.history));
            batches.clear();
            for more in &waiting {
                let history = Arc::new(History { named: candidates.first(), ..History::clone(&more.history) });
                for reference in &more.refs {
                    let own = &more.owners[usize::from(reference.owner)];
                    let Some(next) = candidates.next(&history, own, is_left) else {
                        given_up.insert(reference.message_server_id, history.asked.clone());
                        continue;
                    };
                    let mut batch = Batch { refs: vec![], owners: vec![], histories: vec![], ..asked_under(more, next) };
                    batch.push(*reference, own, Some(&history));
                    batches.push(batch);
                }
            }
        }
        let all: BTreeSet<i64> = (1..=names.len() as i64).collect();
        prop_assert_eq!(got.iter().chain(given_up.keys()).copied().collect::<BTreeSet<i64>>(), all);
        prop_assert_eq!(got.len() + given_up.len(), names.len());
        for (id, asked) in given_up {
            let distinct: BTreeSet<String> = asked.iter().map(|owner| owner.to_lowercase()).collect();
            prop_assert!(distinct.len() == asked.len() && (1..=MOST_OWNERS).contains(&asked.len()), "{asked:?}");
            let own = names[id as usize - 1];
            // Who left was asked at most once before that was known, and its own owner is among those asked.
            prop_assert!(is_left(own) || is_among(&asked, own), "{own} of {asked:?}");
            // Whoever of those named could have got it was asked, unless three others were.
            let sees = seen[id as usize - 1].iter().map(|name| NAMES[*name]).filter(|name| !is_left(name));
            let named: Vec<&str> = sees.filter(|name| names.iter().any(|named| same_account(named, name))).collect();
            prop_assert!(named.is_empty() || asked.len() == MOST_OWNERS, "{named:?} of {asked:?}");
        }
    }
}
