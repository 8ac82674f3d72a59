//! What was done before about the references of a batch, as bytes.

use std::sync::Arc;

use super::bits::{Damaged, put_text, put_varint, seal, take_len, take_text, take_varint, unseal, unzigzag, zigzag};
use crate::model::failure::Reason;
use crate::plan::History;

const VERSION: u8 = 1;

/// Histories, one for each owner of a batch; nothing for a batch that is asked for the first time.
pub(super) fn encode(histories: &[Arc<History>]) -> Option<Vec<u8>> {
    if histories.is_empty() {
        return None;
    }
    let mut distinct: Vec<&Arc<History>> = Vec::new();
    let mut places = Vec::with_capacity(histories.len());
    for history in histories {
        let known = distinct.iter().position(|known| Arc::ptr_eq(known, history) || *known == history);
        places.push(known.unwrap_or(distinct.len()));
        if known.is_none() {
            distinct.push(history);
        }
    }
    let mut out = vec![VERSION];
    put_varint(&mut out, distinct.len() as u64);
    for history in distinct {
        put_history(&mut out, history);
    }
    put_varint(&mut out, places.len() as u64);
    for place in places {
        put_varint(&mut out, place as u64);
    }
    Some(seal(out))
}

/// Reads what [`encode`] wrote.
pub(super) fn decode(bytes: Option<&[u8]>) -> Result<Vec<Arc<History>>, Damaged> {
    let Some(bytes) = bytes else { return Ok(Vec::new()) };
    let from = &mut unseal(bytes, VERSION)?;
    let count = take_len(from)?;
    let distinct: Vec<_> = (0..count).map(|_| Ok(Arc::new(take_history(from)?))).collect::<Result<_, _>>()?;
    let count = take_len(from)?;
    let histories = (0..count)
        .map(|_| distinct.get(take_varint(from)? as usize).map(Arc::clone).ok_or(Damaged::Content))
        .collect::<Result<_, _>>()?;
    if from.is_empty() { Ok(histories) } else { Err(Damaged::Content) }
}

fn put_history(out: &mut Vec<u8>, history: &History) {
    put_varint(out, history.asked.len() as u64);
    for owner in &history.asked {
        put_text(out, owner);
    }
    put_varint(out, history.named.len() as u64);
    for (owner, count) in &history.named {
        put_text(out, owner);
        put_varint(out, u64::from(*count));
    }
    put_varint(out, u64::from(history.attempts));
    put_varint(out, u64::from(history.deferrals));
    put_varint(out, u64::from(history.answered) | u64::from(history.in_vain) << 1);
    put_reason(out, &history.reason);
}

fn take_history(from: &mut &[u8]) -> Result<History, Damaged> {
    let asked = take_len(from)?;
    let asked = (0..asked).map(|_| Ok(take_text(from)?.to_owned())).collect::<Result<_, Damaged>>()?;
    let named = take_len(from)?;
    let named =
        (0..named).map(|_| Ok((take_text(from)?.to_owned(), take_u32(from)?))).collect::<Result<_, Damaged>>()?;
    let (attempts, deferrals) = (take_u32(from)?, take_u32(from)?);
    let flags = take_varint(from)?;
    let reason = take_reason(from)?;
    Ok(History { asked, named, attempts, deferrals, reason, answered: flags & 1 != 0, in_vain: flags & 2 != 0 })
}

pub(super) fn put_reason(out: &mut Vec<u8>, reason: &Reason) {
    put_text(out, reason.class.as_str());
    put_varint(out, u64::from(reason.code.is_some()) | u64::from(reason.retryable) << 1);
    put_varint(out, zigzag(reason.code.unwrap_or_default()));
    put_text(out, &reason.message);
}

pub(super) fn take_reason(from: &mut &[u8]) -> Result<Reason, Damaged> {
    let class = take_text(from)?.parse().map_err(|_| Damaged::Content)?;
    let flags = take_varint(from)?;
    let code = unzigzag(take_varint(from)?);
    let message = take_text(from)?.to_owned();
    Ok(Reason { class, code: (flags & 1 != 0).then_some(code), message, retryable: flags & 2 != 0 })
}

fn take_u32(from: &mut &[u8]) -> Result<u32, Damaged> {
    u32::try_from(take_varint(from)?).map_err(|_| Damaged::Content)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::failure::Class;

    fn history() -> impl Strategy<Value = History> {
        let named = prop::collection::vec((".{0,8}", any::<u32>()), 0..4);
        let said = (0..Class::ALL.len(), any::<Option<i64>>(), ".{0,20}", any::<bool>());
        let counts = (any::<u32>(), any::<u32>(), any::<bool>(), any::<bool>());
        (prop::collection::vec(".{0,8}", 0..4), named, said, counts).prop_map(
            |(asked, named, (class, code, message, retryable), (attempts, deferrals, answered, in_vain))| {
                let reason = Reason { class: Class::ALL[class], code, message, retryable };
                History { asked, named, attempts, deferrals, reason, answered, in_vain }
            },
        )
    }

    proptest! {
        #[test]
        fn any_histories_come_back(
            distinct in prop::collection::vec(history().prop_map(Arc::new), 1..4),
            places in prop::collection::vec(any::<usize>(), 0..8),
        ) {
            let histories: Vec<_> = places.iter().map(|place| Arc::clone(&distinct[place % distinct.len()])).collect();
            prop_assert_eq!(decode(encode(&histories).as_deref()).unwrap(), histories);
        }

        #[test]
        fn whatever_the_bytes_reading_them_ends_without_panic(mut bytes: Vec<u8>) {
            let _ = decode(Some(&bytes));
            bytes.insert(0, VERSION);
            let _ = decode(Some(&seal(bytes)));
        }
    }
}
