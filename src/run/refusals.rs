//! Owners that were refused for a team as a whole, in this run: they are not asked for it again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::reference::{ConversationKey, same_account};
use crate::plan::Batch;
use crate::yunxin::{Meaning, Outcome, Refusal};

/// Refusals that are remembered, at most. One that is not costs a request, and nothing else.
const MOST: usize = 250_000;

#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    teams: HashMap<String, Vec<Refused>>,
    count: usize,
}

#[derive(Debug, Clone)]
struct Refused {
    owner: String,
    code: i64,
    message: String,
}

impl Refusals {
    /// Remembers it if the owner of a batch was refused for its team.
    pub(super) fn note(&self, batch: &Batch, outcome: &Outcome) {
        let Outcome::Refused { code, message, .. } = outcome else { return };
        if !(batch.is_of_team() && Meaning::of(*code) == Meaning::OwnerRefused) {
            return;
        }
        let mut known = self.known();
        if known.count < MOST && known.find(&batch.key, &batch.asked).is_none() {
            known.count += 1;
            let refused = Refused { owner: batch.asked.clone(), code: *code, message: message.clone() };
            known.teams.entry(batch.key.as_str().to_owned()).or_default().push(refused);
        }
    }

    pub(super) fn has(&self, key: &ConversationKey, owner: &str) -> bool {
        self.known().find(key, owner).is_some()
    }

    /// What a batch would be answered whose owner was refused; it needs not be sent.
    pub(super) fn outcome(&self, batch: &Batch) -> Option<Outcome> {
        let Refused { code, message, .. } = self.known().find(&batch.key, &batch.asked)?.clone();
        Some(Outcome::Refused { code, message, refusal: Refusal::OtherOwner, attempts: 0 })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn find(&self, key: &ConversationKey, owner: &str) -> Option<&Refused> {
        self.teams.get(key.as_str())?.iter().find(|refused| same_account(&refused.owner, owner))
    }
}
