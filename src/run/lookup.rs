//! Looks references up: which are new?

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

use crate::ledger::{EarlierFailure, FailureState, Ledger, LedgerError};
use crate::model::reference::{ConversationKey, Reference, ReferenceChunk};

/// What a look-up says of a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    New,
    /// Known as a failure, which another conversation or time may cure.
    Correction,
    /// Carried, or met before in the same look-up and taken.
    Carried,
    /// In the ledger: archived, pending or failed.
    Known,
}

impl Standing {
    /// Whether the reference is to be asked for.
    pub(super) fn is_taken(self) -> bool {
        matches!(self, Self::New | Self::Correction)
    }
}

/// What a look-up says.
pub(super) struct LookUp {
    /// Of every reference, in order.
    pub(super) standings: Vec<Standing>,
    /// IDs and places of the references, by ID.
    pub(super) order: Vec<(i64, u32)>,
    /// Failures among them, by ID.
    pub(super) failures: HashMap<i64, EarlierFailure>,
}

/// Looks the references of `chunks` up among those that are carried and in the ledger.
pub(super) async fn look_up(
    ledger: &Ledger,
    carried: &HashSet<i64, RandomState>,
    retried: &HashSet<i64, RandomState>,
    chunks: &[ReferenceChunk],
) -> Result<LookUp, LedgerError> {
    let references: Vec<Reference<'_>> = chunks.iter().flat_map(ReferenceChunk::iter).collect();
    let mut order: Vec<(i64, u32)> =
        references.iter().zip(0..).map(|(reference, place)| (reference.message_server_id, place)).collect();
    order.sort_unstable();
    let mut standings = vec![Standing::New; order.len()];
    let mut candidates: Vec<(i64, u32)> = Vec::with_capacity(order.len());
    for (id, place) in &order {
        if carried.contains(id) || candidates.last().is_some_and(|(last, _)| last == id) {
            standings[*place as usize] = Standing::Carried;
        } else {
            candidates.push((*id, *place));
        }
    }
    let ids: Vec<i64> = candidates.iter().map(|(id, _)| *id).collect();
    let known = ledger.known(&ids).await?;
    if known.is_empty() {
        return Ok(LookUp { standings, order, failures: HashMap::new() });
    }
    let failures = ledger.earlier_failures(&known).await?;
    let mut known = known.into_iter().peekable();
    for (id, place) in candidates {
        if known.next_if_eq(&id).is_none() {
            continue;
        }
        let is_correction = !retried.contains(&id)
            && failures.get(&id).is_some_and(|failure| corrects(&references[place as usize], failure));
        standings[place as usize] = if is_correction { Standing::Correction } else { Standing::Known };
    }
    for same in order.chunk_by(|(a, _), (b, _)| a == b) {
        let (first, rest) = same.split_first().unwrap_or((&(0, 0), &[]));
        if standings.get(first.1 as usize) == Some(&Standing::Known) {
            for (_, place) in rest {
                standings[*place as usize] = Standing::Known;
            }
        }
    }
    Ok(LookUp { standings, order, failures })
}

/// Whether a reference says something else than the one that failed.
fn corrects(reference: &Reference<'_>, failure: &EarlierFailure) -> bool {
    failure.state != FailureState::Retrying
        && (failure.depth > 0 || failure.create_time != reference.create_time || failure.key != key_of(reference))
}

pub(super) fn key_of(reference: &Reference<'_>) -> ConversationKey {
    ConversationKey::new(reference.owner, reference.conversation_type, reference.other)
}
