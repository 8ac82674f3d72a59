//! Follow-up asks: what one owner did not get is asked for in the name of another, and what the service refused for now
//! is asked for again.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::owner::index_of;
use super::{Batch, BatchRef, Purpose};
use crate::model::failure::{Class, Reason};
use crate::model::reference::{ConversationKey, ConversationType, same_account};

/// The most owners in whose names a reference is asked for in one run.
pub const MOST_OWNERS: usize = 3;
/// The most other owners that are kept with a reference. They are more than are asked, as some may be refused meanwhile.
const MOST_NAMED: usize = 8;

/// What was done about some references so far, and what the service said of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The owners in whose name they were asked for.
    pub asked: Vec<String>,
    /// Owners that references of the team name, with the number of references that name each, most named first.
    pub named: Vec<(String, u32)>,
    /// How often they were sent.
    pub attempts: u32,
    /// How often they were refused for now.
    pub deferrals: u32,
    /// The last thing that was said of them. A refusal of an owner counts only as long as no owner was answered.
    pub reason: Reason,
    /// Whether the service answered any owner about them.
    pub answered: bool,
    /// Whether the last owner got nothing at all, so that the next run does better to begin with another.
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

/// References of one conversation with one history that are to be asked for again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowUp {
    /// The conversation.
    pub key: ConversationKey,
    /// In whose name. `None` until it is known which references of the team are to be asked for again.
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
    /// Whether they are asked for again in the same name, because the service refused them for now.
    pub fn is_deferred(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| is_among(&self.history.asked, asked))
    }
}

/// What may still get the message of a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// To ask in another owner's name.
    OtherOwner,
    /// To ask in the same owner's name a little later.
    Later,
    /// Nothing in this run.
    Nothing,
}

/// A reference of a batch that did not become a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Miss {
    /// Its place in the batch.
    pub index: usize,
    /// Why it did not become one.
    pub reason: Reason,
    /// What may still get it.
    pub remedy: Remedy,
    /// Why it is asked for from now on.
    pub purpose: Purpose,
}

/// How a batch ended, as far as its misses depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// How often it was sent: 0 if its owner was known to be refused.
    pub sent: u32,
    /// Whether it was answered. Otherwise it was refused as a whole.
    pub answered: bool,
    /// Whether the answer has any message that was asked for.
    pub got: bool,
    /// How often a reference may be refused for now before it becomes a failure.
    pub deferrals: u32,
}

/// A reference that is not asked for again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Final {
    /// Its place in the batch.
    pub index: usize,
    /// Why it is asked for.
    pub purpose: Purpose,
    /// What was done about it.
    pub history: History,
}

/// Splits what a batch did not get into what is asked for again and what is not.
///
/// A one-to-one conversation is asked for in the names of both sides. For a team [`Candidates`] chooses the next owner
/// later. Archived messages of a team are asked for again only if their batch names a further owner.
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
        // The answer to one owner stands even if another owner is refused afterwards.
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
    // Of the follow-ups that wait for the same choice only one holds the names, so that no reference counts twice.
    let mut counted = false;
    for follow_up in follow_ups.iter_mut().filter(|_| !named.is_empty()) {
        if follow_up.asked.is_some() || !std::mem::replace(&mut counted, true) {
            Arc::make_mut(&mut follow_up.history).named.clone_from(&named);
        }
    }
    (follow_ups, finals)
}

/// The other side of a one-to-one conversation as the reference spells it, unless it was asked before.
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

/// The owners in whose names the references of one team may be asked for, best first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates(Vec<(String, u32)>);

impl Candidates {
    /// First the owner that was answered for the team before, then the owners that its references name, most named first.
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

    /// The next owner to ask for a reference with this history that names `own`. `None` if three were asked or nobody is
    /// left.
    ///
    /// The last owner to be asked is the reference's own: only that account may see the message, or it may be the only
    /// one named that is still a member.
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

    /// The first of them, which are kept with references that are asked for again.
    pub fn first(&self) -> Vec<(String, u32)> {
        self.0.iter().take(MOST_NAMED).cloned().collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
