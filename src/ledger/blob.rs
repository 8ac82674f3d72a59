//! The references of a batch as one compact blob: some eleven bytes a reference.

use super::bits::{
    Damaged, pack, put_i64, put_text, put_varint, seal, take_len, take_text, take_varint, unpack, unseal, unzigzag,
    zigzag,
};
use super::ids::{put_gaps, take_gaps};
use crate::plan::BatchRef;

const VERSION: u8 = 1;

/// Writes owners and references. References come back in the order of their IDs.
pub fn encode(owners: &[String], refs: &[BatchRef]) -> Vec<u8> {
    let mut sorted;
    let refs = if refs.is_sorted_by_key(|reference| reference.message_server_id) {
        refs
    } else {
        sorted = refs.to_vec();
        sorted.sort_by_key(|reference| reference.message_server_id);
        &sorted
    };
    let mut out = Vec::with_capacity(64 + refs.len() * 12);
    out.push(VERSION);
    put_varint(&mut out, owners.len() as u64);
    for owner in owners {
        put_text(&mut out, owner);
    }
    put_varint(&mut out, refs.len() as u64);
    let Some(first) = refs.first() else { return seal(out) };
    put_varint(&mut out, zigzag(first.create_time));
    put_i64(&mut out, first.message_server_id);
    let ids: Vec<i64> = refs.iter().map(|reference| reference.message_server_id).collect();
    put_gaps(&mut out, &ids);
    let mut values: Vec<u64> =
        refs.windows(2).map(|pair| zigzag(pair[1].create_time.wrapping_sub(pair[0].create_time))).collect();
    pack(&mut out, &values);
    if owners.len() > 1 {
        values.clear();
        values.extend(refs.iter().map(|reference| u64::from(reference.owner)));
        pack(&mut out, &values);
    }
    seal(out)
}

/// Reads what [`encode`] wrote.
pub fn decode(blob: &[u8]) -> Result<(Vec<String>, Vec<BatchRef>), Damaged> {
    let mut rest = unseal(blob, VERSION)?;
    let count = take_len(&mut rest)?;
    let mut owners = Vec::with_capacity(count.min(rest.len()));
    for _ in 0..count {
        owners.push(take_text(&mut rest)?.to_owned());
    }
    let count = take_len(&mut rest)?;
    if count == 0 {
        return Ok((owners, Vec::new()));
    }
    let mut time = unzigzag(take_varint(&mut rest)?);
    let mut ids = Vec::with_capacity(count);
    take_gaps(&mut rest, count, &mut ids)?;
    let mut refs = Vec::with_capacity(count);
    refs.push(BatchRef { message_server_id: ids[0], create_time: time, owner: 0 });
    let mut later = ids.iter().skip(1);
    unpack(&mut rest, count - 1, |step| {
        time = time.wrapping_add(unzigzag(step));
        if let Some(id) = later.next() {
            refs.push(BatchRef { message_server_id: *id, create_time: time, owner: 0 });
        }
    })?;
    if owners.len() > 1 {
        let mut known = true;
        let mut each = refs.iter_mut();
        unpack(&mut rest, count, |owner| {
            known &= owner < owners.len() as u64;
            if let Some(reference) = each.next() {
                reference.owner = owner as u16;
            }
        })?;
        if !known {
            return Err(Damaged::Content);
        }
    }
    if rest.is_empty() { Ok((owners, refs)) } else { Err(Damaged::Content) }
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
            let blob = encode(&owners, &refs);
            refs.sort_by_key(|reference| reference.message_server_id);
            prop_assert_eq!(decode(&blob).unwrap(), (owners, refs));
        }

        #[test]
        fn whatever_the_bytes_reading_them_ends_without_panic(mut bytes: Vec<u8>) {
            let _ = decode(&bytes);
            bytes.insert(0, VERSION);
            let _ = decode(&seal(bytes));
        }

        #[test]
        fn a_full_batch_of_random_ids_within_a_day_takes_at_most_twelve_bytes_a_reference(
            refs in prop::collection::vec((1i64..1 << 57, 0i64..86_400_000, 0u16..2), 100)
        ) {
            let refs: Vec<BatchRef> = refs
                .into_iter()
                .map(|(message_server_id, time, owner)| BatchRef { message_server_id, create_time: 1_753_951_805_248 + time, owner })
                .collect();
            let blob = encode(&["alice".to_owned(), "bob".to_owned()], &refs);
            prop_assert!(blob.len() <= 1200, "{} bytes", blob.len());
        }
    }
}
