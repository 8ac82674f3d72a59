//! Follow-up asks: what one owner did not get is asked for under another, and what is refused for now once more.

use std::collections::HashMap;
use std::sync::Arc;

use super::owner::index_of;
use super::{Batch, BatchRef, Purpose};
use crate::model::failure::{Class, Reason};
use crate::model::reference::{ConversationKey, ConversationType, same_account};

/// Owners that a reference is asked for under in one run, at most.
pub const MOST_OWNERS: usize = 3;
/// Other owners that are kept with a reference, at most: more than are asked, as some may be refused meanwhile.
const MOST_NAMED: usize = 8;

/// What was done about some references so far, and what was said of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// The owners in whose name they were asked for.
    pub asked: Vec<String>,
    /// Owners that references of their team name, and how many references name each; the more the earlier.
    pub named: Vec<(String, u32)>,
    /// How often they were sent.
    pub attempts: u32,
    /// How often they were refused for now.
    pub deferrals: u32,
    /// What was said of them last; that an owner was refused counts only while none was answered.
    pub reason: Reason,
    /// Whether an owner was answered about them.
    pub answered: bool,
    /// Whether the last owner got nothing at all, so that another one is better asked first the next time.
    pub in_vain: bool,
}

impl Default for History {
    fn default() -> Self {
        let reason = Reason { class: Class::Unanswered, code: None, message: String::new(), retryable: true };
        Self {
            asked: Vec::new(),
            named: Vec::new(),
            attempts: 0,
            deferrals: 0,
            reason,
            answered: false,
            in_vain: false,
        }
    }
}

/// References of one dialogue with one history, to be asked for once more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowUp {
    /// The dialogue.
    pub key: ConversationKey,
    /// In whose name; `None` until all of the team's references are known that are to be asked for once more.
    pub asked: Option<String>,
    /// Why they are asked for.
    pub purpose: Purpose,
    /// The owners that the references name, each once.
    pub owners: Vec<String>,
    /// The references, their owners as indexes into `owners`.
    pub refs: Vec<BatchRef>,
    /// What was done about them so far.
    pub history: Arc<History>,
}

impl FollowUp {
    /// Whether the same owner is asked again, because he was refused for now.
    pub fn is_deferred(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| is_among(&self.history.asked, asked))
    }
}

/// What may help a reference that did not become a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Another owner may get it.
    OtherOwner,
    /// The same owner may get it a little later.
    Later,
    /// Nothing, in this run.
    Nothing,
}

/// A reference of a batch that did not become a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Miss {
    /// Its place in the batch.
    pub index: usize,
    /// Why it did not.
    pub reason: Reason,
    /// What may help.
    pub remedy: Remedy,
    /// Why it is asked for from now on.
    pub purpose: Purpose,
}

/// What a batch came to, as far as its misses need to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// How often it was sent; 0 if it was known that it would be refused.
    pub sent: u32,
    /// Whether it was answered; else it was refused as a whole.
    pub answered: bool,
    /// Whether the answer holds anything that was asked for.
    pub got: bool,
    /// How often a reference may be refused for now before that is a failure.
    pub deferrals: u32,
}

/// A reference that is not asked for any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Final {
    /// Its place in the batch.
    pub index: usize,
    /// Why it is asked for.
    pub purpose: Purpose,
    /// What was done about it.
    pub history: History,
}

/// Sorts what a batch did not get into what is asked for once more and what is not.
///
/// A one-to-one dialogue is asked under both sides. Who is asked next for a team is left open, see [`Candidates`]; only
/// archived messages that are asked for again have no further owner when their batch names none.
pub fn follow_up(batch: &Batch, misses: Vec<Miss>, attempt: &Attempt) -> (Vec<FollowUp>, Vec<Final>) {
    let (mut follow_ups, mut finals): (Vec<FollowUp>, Vec<Final>) = (Vec::new(), Vec::new());
    let named = if batch.is_of_team() && batch.histories.is_empty() { most_named(batch) } else { Vec::new() };
    for Miss { index, reason, remedy, purpose } in misses {
        let Some(reference) = batch.refs.get(index) else { continue };
        let own = batch.owner_of(reference);
        let earlier = batch.history_of(reference);
        let mut history = earlier.map(|history| History::clone(history)).unwrap_or_default();
        if attempt.sent > 0 && !is_among(&history.asked, &batch.asked) {
            history.asked.push(batch.asked.clone());
        }
        history.attempts = history.attempts.saturating_add(attempt.sent);
        // That another owner was refused takes nothing back of what one said who was answered.
        if attempt.answered || !history.answered || remedy != Remedy::OtherOwner {
            history.reason = reason;
            history.answered = attempt.answered;
        }
        let next = match remedy {
            Remedy::Later => {
                history.deferrals += 1;
                (history.deferrals < attempt.deferrals).then(|| Some(batch.asked.clone()))
            }
            Remedy::OtherOwner => {
                history.in_vain = !attempt.got;
                match batch.key.conversation_type() {
                    ConversationType::OneToOne => other_side(batch, own, &history).map(Some),
                    ConversationType::Team | ConversationType::SuperTeam => {
                        let others = if named.is_empty() { &history.named } else { &named };
                        let open = history.asked.len() < MOST_OWNERS
                            && (!purpose.is_refetch()
                                || others.iter().any(|(name, _)| !is_among(&history.asked, name)));
                        open.then_some(None)
                    }
                }
            }
            Remedy::Nothing => None,
        };
        let Some(asked) = next else {
            finals.push(Final { index, purpose, history });
            continue;
        };
        let known = follow_ups
            .iter()
            .position(|known| known.asked == asked && known.purpose == purpose && *known.history == history);
        let known = known.unwrap_or_else(|| {
            let (key, history) = (batch.key.clone(), Arc::new(history));
            follow_ups.push(FollowUp { key, asked, purpose, owners: Vec::new(), refs: Vec::new(), history });
            follow_ups.len() - 1
        });
        let follow_up = &mut follow_ups[known];
        let owner = index_of(&mut follow_up.owners, own);
        follow_up.refs.push(BatchRef { owner, ..*reference });
    }
    // Of those that wait for the same choice only one holds the names, so that no reference counts twice.
    let mut counted = false;
    for follow_up in follow_ups.iter_mut().filter(|_| !named.is_empty()) {
        if follow_up.asked.is_some() || !std::mem::replace(&mut counted, true) {
            Arc::make_mut(&mut follow_up.history).named.clone_from(&named);
        }
    }
    (follow_ups, finals)
}

/// The other side of a one-to-one dialogue, if it was not asked yet, as the reference spells it.
fn other_side(batch: &Batch, own: &str, history: &History) -> Option<String> {
    let other = batch.key.other_side(&batch.asked).filter(|other| !is_among(&history.asked, other))?;
    Some(if same_account(&other, own) { own.to_owned() } else { other })
}

/// The owners that a batch's references name, most named first.
fn most_named(batch: &Batch) -> Vec<(String, u32)> {
    let mut counts: Vec<(String, u32)> = batch.owners.iter().map(|owner| (owner.clone(), 0)).collect();
    for reference in &batch.refs {
        if let Some((_, count)) = counts.get_mut(usize::from(reference.owner)) {
            *count += 1;
        }
    }
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

fn is_among(accounts: &[String], account: &str) -> bool {
    accounts.iter().any(|known| same_account(known, account))
}

/// Who may be asked for the references of one team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates(Vec<(String, u32)>);

impl Candidates {
    /// First whoever was answered for the team before, then the owners that references of it name, most named first.
    pub fn new<'a>(answered: Option<&str>, histories: impl IntoIterator<Item = &'a History>) -> Self {
        let (mut counts, mut places): (Vec<(String, u32)>, HashMap<String, usize>) = (Vec::new(), HashMap::new());
        for (name, count) in histories.into_iter().flat_map(|history| &history.named) {
            let place = *places.entry(name.to_lowercase()).or_insert_with(|| {
                counts.push((name.clone(), 0));
                counts.len() - 1
            });
            counts[place].1 = counts[place].1.saturating_add(*count);
        }
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        if let Some(answered) = answered {
            let known = counts.iter().position(|(name, _)| same_account(name, answered));
            let known = known.map_or_else(|| (answered.to_owned(), 0), |known| counts.remove(known));
            counts.insert(0, known);
        }
        Self(counts)
    }

    /// Who is asked next for a reference with this history that names `own`; nobody when three were asked, or nobody is
    /// left.
    ///
    /// The last one to be asked is the reference's own owner: a message may be there for him alone, or he may be the
    /// only one named who is still a member.
    pub fn next<'a>(&'a self, history: &History, own: &'a str, is_refused: impl Fn(&str) -> bool) -> Option<&'a str> {
        let is_free = |owner: &str| !is_among(&history.asked, owner) && !is_refused(owner);
        if history.asked.len() >= MOST_OWNERS {
            return None;
        }
        let own = Some(own).filter(|own| is_free(own));
        let last = history.asked.len() + 1 == MOST_OWNERS;
        let named = || self.0.iter().map(|(name, _)| name.as_str()).find(|name| is_free(name));
        if last { own.or_else(named) } else { named().or(own) }
    }

    /// The first of them, to be kept with references that are asked for once more.
    pub fn first(&self) -> Vec<(String, u32)> {
        self.0.iter().take(MOST_NAMED).cloned().collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
