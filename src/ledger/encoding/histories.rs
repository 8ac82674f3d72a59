//! What was done before about the references of a batch.

use std::sync::Arc;

use super::bytes::{Damaged, Decoder, Encoder};
use crate::model::failure::Reason;
use crate::plan::History;

const VERSION: u8 = 1;

/// Writes histories, one for each owner of a batch; nothing for a batch that is asked for the first time.
pub(in crate::ledger) fn encode(histories: &[Arc<History>]) -> Option<Vec<u8>> {
    if histories.is_empty() {
        return None;
    }
    let mut distinct: Vec<&Arc<History>> = Vec::new();
    let mut places = Vec::with_capacity(histories.len());
    for history in histories {
        let place = distinct.iter().position(|known| *known == history).unwrap_or_else(|| {
            distinct.push(history);
            distinct.len() - 1
        });
        places.push(place as u64);
    }
    let mut out = Encoder::new(VERSION);
    out.list(&distinct, |out, history| put_history(out, history));
    out.list(&places, |out, place| {
        out.number(*place);
    });
    Some(out.finish())
}

/// Reads what [`encode`] wrote.
pub(in crate::ledger) fn decode(bytes: Option<&[u8]>) -> Result<Vec<Arc<History>>, Damaged> {
    let Some(bytes) = bytes else { return Ok(Vec::new()) };
    let (version, mut from) = Decoder::open(bytes)?;
    if version != VERSION {
        return Err(Damaged::Version(version));
    }
    let distinct = from.list(|from| Ok(Arc::new(take_history(from)?)))?;
    let histories = from.list(|from| distinct.get(from.number()? as usize).map(Arc::clone).ok_or(Damaged::Content))?;
    from.end()?;
    Ok(histories)
}

fn put_history(out: &mut Encoder, history: &History) {
    out.list(&history.asked, |out, owner| {
        out.text(owner);
    });
    out.list(&history.named, |out, (owner, count)| {
        out.text(owner).number(u64::from(*count));
    });
    out.number(u64::from(history.attempts)).number(u64::from(history.deferrals));
    out.number(u64::from(history.answered) | u64::from(history.in_vain) << 1);
    put_reason(out, &history.reason);
}

fn take_history(from: &mut Decoder<'_>) -> Result<History, Damaged> {
    let asked = from.list(Decoder::text)?;
    let named = from.list(|from| Ok((from.text()?, from.small()?)))?;
    let (attempts, deferrals, flags) = (from.small()?, from.small()?, from.number()?);
    let reason = take_reason(from)?;
    Ok(History { asked, named, attempts, deferrals, reason, answered: flags & 1 != 0, in_vain: flags & 2 != 0 })
}

pub(in crate::ledger) fn put_reason(out: &mut Encoder, reason: &Reason) {
    out.text(reason.class.as_str());
    out.number(u64::from(reason.code.is_some()) | u64::from(reason.retryable) << 1);
    out.signed(reason.code.unwrap_or_default()).text(&reason.message);
}

pub(in crate::ledger) fn take_reason(from: &mut Decoder<'_>) -> Result<Reason, Damaged> {
    let class = from.text()?.parse().map_err(|_| Damaged::Content)?;
    let (flags, code, message) = (from.number()?, from.signed()?, from.text()?);
    Ok(Reason { class, code: (flags & 1 != 0).then_some(code), message, retryable: flags & 2 != 0 })
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
    }
}
