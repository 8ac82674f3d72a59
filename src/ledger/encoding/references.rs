//! The owners and references of a batch, about thirteen bytes a reference.

use super::bytes::{Damaged, Decoder, Encoder};
use super::golomb;
use crate::plan::BatchRef;

const VERSION: u8 = 2;
const GOLOMB: u8 = 1;

/// Writes owners and references. References come back in the order of their IDs.
pub(in crate::ledger) fn encode(owners: &[String], refs: &[BatchRef]) -> Vec<u8> {
    let mut refs = refs.to_vec();
    refs.sort_by_key(|reference| reference.message_server_id);
    let mut out = Encoder::new(VERSION);
    out.list(owners, |out, owner| {
        out.text(owner);
    });
    out.deltas(refs.iter().map(|reference| reference.message_server_id));
    out.deltas(refs.iter().map(|reference| reference.create_time));
    if owners.len() > 1 {
        out.list(&refs, |out, reference| {
            out.number(u64::from(reference.owner));
        });
    }
    out.finish()
}

/// Reads what this version or 0.1 wrote.
pub(in crate::ledger) fn decode(bytes: &[u8]) -> Result<(Vec<String>, Vec<BatchRef>), Damaged> {
    let (version, mut from) = Decoder::open(bytes)?;
    let owners = from.list(Decoder::text)?;
    let several = owners.len() > 1;
    let (ids, times, named) = match version {
        VERSION => {
            let (ids, times) = (from.deltas()?, from.deltas()?);
            let named = if several { from.list(Decoder::number)? } else { vec![0; ids.len()] };
            (ids, times, named)
        }
        GOLOMB => golomb_columns(&mut from, several)?,
        version => return Err(Damaged::Version(version)),
    };
    from.end()?;
    let is_named = |owner: &u64| *owner < owners.len() as u64;
    if ids.len() != times.len() || ids.len() != named.len() || !named.iter().all(is_named) {
        return Err(Damaged::Content);
    }
    let refs = ids.into_iter().zip(times).zip(named).map(|((message_server_id, create_time), owner)| BatchRef {
        message_server_id,
        create_time,
        owner: owner as u16,
    });
    let refs = refs.collect();
    Ok((owners, refs))
}

/// The IDs, the times and the owners of references.
type Columns = (Vec<i64>, Vec<i64>, Vec<u64>);

fn golomb_columns(from: &mut Decoder<'_>, several: bool) -> Result<Columns, Damaged> {
    let count = from.length()?;
    if count == 0 {
        return Ok(Columns::default());
    }
    let mut time = from.signed()?;
    let ids = golomb::ids(from, count)?;
    let mut times = vec![time];
    for step in golomb::values(from, count - 1)? {
        time = time.wrapping_add((step >> 1) as i64 ^ -((step & 1) as i64));
        times.push(time);
    }
    let named = if several { golomb::values(from, count)? } else { vec![0; count] };
    Ok((ids, times, named))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batch() -> impl Strategy<Value = (Vec<String>, Vec<BatchRef>)> {
        prop::collection::vec(".{0,12}", 1..6).prop_flat_map(|owners| {
            let owner = 0..owners.len() as u16;
            let reference = (any::<i64>(), any::<i64>(), owner)
                .prop_map(|(message_server_id, create_time, owner)| BatchRef { message_server_id, create_time, owner });
            (Just(owners), prop::collection::vec(reference, 0..150))
        })
    }

    proptest! {
        #[test]
        fn any_batch_comes_back_in_the_order_of_its_ids((owners, mut refs) in batch()) {
            let bytes = encode(&owners, &refs);
            refs.sort_by_key(|reference| reference.message_server_id);
            prop_assert_eq!(decode(&bytes).unwrap(), (owners, refs));
        }

        #[test]
        fn a_full_batch_of_random_ids_within_a_day_takes_at_most_fourteen_bytes_a_reference(
            refs in prop::collection::vec((1i64..1 << 57, 0i64..86_400_000, 0u16..2), 100)
        ) {
            let refs: Vec<BatchRef> = refs
                .into_iter()
                .map(|(message_server_id, time, owner)| BatchRef { message_server_id, create_time: 1_753_951_805_248 + time, owner })
                .collect();
            let bytes = encode(&["alice".to_owned(), "bob".to_owned()], &refs);
            prop_assert!(bytes.len() <= 1400, "{} bytes", bytes.len());
        }
    }

    #[test]
    fn references_of_version_0_1_are_read() {
        let refs = |owner: u16| {
            let refs = [(10, 1_753_951_805_248, 0), (20, 1_753_951_805_000, owner), (1 << 50, -1, 0)];
            refs.map(|(message_server_id, create_time, owner)| BatchRef { message_server_id, create_time, owner })
                .to_vec()
        };
        let owners = ["alice".to_owned(), "bob".to_owned()];
        let written = [
            (
                "010105616c6963650380fde4fa8b660a00000000000000020b140080fdffffffff7f0000280bdf03000000309227eb1706839fdf16",
                &owners[..1],
                refs(0),
            ),
            (
                "010205616c69636503626f620380fde4fa8b660a00000000000000020b140080fdffffffff7f0000280bdf03000000309227eb170600010da8e90c45",
                &owners[..],
                refs(1),
            ),
            ("010105616c69636500753bbfe4", &owners[..1], Vec::new()),
        ];
        for (bytes, owners, refs) in written {
            assert_eq!(decode(&hex::decode(bytes).unwrap()).unwrap(), (owners.to_vec(), refs));
        }
    }
}
