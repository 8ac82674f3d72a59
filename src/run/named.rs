//! Owners that duplicate rows name for the teams of this run: one of them may get what another does not.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::reference::{ConversationKey, ConversationType, Reference, same_account};

/// Teams whose owners are kept, at most. Further ones are asked under the owners of the rows that came first.
pub(super) const MOST_TEAMS: usize = 100_000;
/// Owners kept for a team, at most: more than a reference is asked under, as some may be refused.
pub(super) const MOST_OWNERS: usize = 8;

/// By team, each owner and how many rows name him.
#[derive(Debug, Default)]
pub(super) struct NamedOwners(Mutex<HashMap<String, Vec<(String, u32)>>>);

impl NamedOwners {
    fn teams(&self) -> MutexGuard<'_, HashMap<String, Vec<(String, u32)>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// References of this team are asked for in this run.
    pub(super) fn admit(&self, key: &str) {
        let mut teams = self.teams();
        if teams.len() < MOST_TEAMS && !teams.contains_key(key) {
            teams.insert(key.to_owned(), Vec::new());
        }
    }

    /// A row repeats a reference. Only teams that were admitted count; `is_open` admits the row's team.
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
