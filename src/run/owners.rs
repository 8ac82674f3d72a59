//! Owners of teams, for as long as a run lasts: who else may be asked, and who was refused.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::model::reference::{ConversationKey, ConversationType, Reference, same_account};
use crate::plan::Batch;
use crate::yunxin::{Meaning, Outcome, Refusal};

/// The most teams whose named owners are kept. Other teams are asked under the owners of the rows that came first.
pub(super) const MOST_TEAMS: usize = 100_000;
/// The most owners kept for a team. It is more than a reference is asked under, because some may be refused.
pub(super) const MOST_OWNERS: usize = 8;
/// The most refusals that are remembered. One that is forgotten costs a request and nothing else.
const MOST_REFUSALS: usize = 250_000;

/// Owners that duplicate rows name: one of them may get what another does not. For each team, every owner and how many
/// rows name it.
#[derive(Debug, Default)]
pub(super) struct NamedOwners(Mutex<HashMap<String, Vec<(String, u32)>>>);

impl NamedOwners {
    fn teams(&self) -> MutexGuard<'_, HashMap<String, Vec<(String, u32)>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the owners of this team from now on: this run asks for references of it.
    pub(super) fn admit(&self, key: &str) {
        let mut teams = self.teams();
        if teams.len() < MOST_TEAMS && !teams.contains_key(key) {
            teams.insert(key.to_owned(), Vec::new());
        }
    }

    /// Counts a row that repeats a reference. `is_open` says that the reference may still be asked for, and admits its team.
    pub(super) fn add(&self, reference: Reference<'_>, is_open: bool) {
        if reference.conversation_type == ConversationType::OneToOne {
            return;
        }
        let key = ConversationKey::new(reference.owner, reference.conversation_type, reference.other);
        if is_open {
            self.admit(key.as_str());
        }
        let mut teams = self.teams();
        let Some(owners) = teams.get_mut(key.as_str()) else { return };
        if let Some((_, rows)) = owners.iter_mut().find(|(owner, _)| same_account(owner, reference.owner)) {
            *rows = rows.saturating_add(1);
        } else if owners.len() < MOST_OWNERS {
            owners.push((reference.owner.to_owned(), 1));
        }
    }

    pub(super) fn of(&self, key: &ConversationKey) -> Vec<(String, u32)> {
        self.teams().get(key.as_str()).cloned().unwrap_or_default()
    }
}

/// Owners that were refused for a whole team: they are not asked for it again.
#[derive(Debug, Default)]
pub(super) struct RefusedOwners {
    teams: HashMap<String, Vec<RefusedOwner>>,
    count: usize,
}

/// An owner that the API refused for a whole team.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RefusedOwner {
    team: ConversationKey,
    owner: String,
    code: i64,
    message: String,
}

impl RefusedOwner {
    /// The owner of a batch, if the API refused it for the whole team.
    pub(super) fn of(batch: &Batch, outcome: &Outcome) -> Option<Self> {
        let Outcome::Refused { code, message, .. } = outcome else { return None };
        (batch.is_of_team() && Meaning::of(*code) == Meaning::OwnerRefused).then(|| Self {
            team: batch.key.clone(),
            owner: batch.asked.clone(),
            code: *code,
            message: message.clone(),
        })
    }
}

impl RefusedOwners {
    /// Remembers an owner.
    pub(super) fn note(&mut self, refused: RefusedOwner) {
        if self.count < MOST_REFUSALS && !self.has(&refused.team, &refused.owner) {
            self.count += 1;
            self.teams.entry(refused.team.as_str().to_owned()).or_default().push(refused);
        }
    }

    pub(super) fn has(&self, key: &ConversationKey, owner: &str) -> bool {
        self.find(key, owner).is_some()
    }

    /// What the API would answer to a batch whose owner was refused. The batch need not be sent.
    pub(super) fn outcome(&self, batch: &Batch) -> Option<Outcome> {
        let RefusedOwner { code, message, .. } = self.find(&batch.key, &batch.asked)?;
        Some(Outcome::Refused { code: *code, message: message.clone(), refusal: Refusal::OtherOwner, attempts: 0 })
    }

    fn find(&self, key: &ConversationKey, owner: &str) -> Option<&RefusedOwner> {
        self.teams.get(key.as_str())?.iter().find(|refused| same_account(&refused.owner, owner))
    }
}
