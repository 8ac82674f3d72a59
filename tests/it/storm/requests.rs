//! How many requests a store gets, counted exactly.

use crate::support::bucket::{Bucket, bucket};
use crate::support::faulty_store::FaultyStore;
use crate::support::storm::{Site, To};
use yunxin_archiver::simulator::Message;

/// Requests of one command, by what they ask for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    lists: usize,
    heads: usize,
    /// Of manifests, signatures, the list of hashes, the owner record.
    small: usize,
    /// Of data files.
    data: usize,
    /// Everything that writes.
    writes: usize,
}

fn asked(store: &FaultyStore) -> Asked {
    let mut asked = Asked::default();
    for request in store.take_asked() {
        let path = &request.path;
        *match request.method.as_str() {
            "GET" if path.contains("list-type=2") => &mut asked.lists,
            "GET" if path.contains(".parquet") => &mut asked.data,
            "GET" => &mut asked.small,
            "HEAD" => &mut asked.heads,
            _ => &mut asked.writes,
        } += 1;
    }
    asked
}

fn site(references: i64) -> (Site, FaultyStore, Bucket) {
    let bucket = bucket();
    // Its client brings the TLS that the proxy's client needs.
    bucket.storage();
    let store = FaultyStore::before(&bucket.endpoint());
    (Site::of(To::Bucket(bucket.by(store.address())), references), store, bucket)
}

fn data_files(bucket: &Bucket) -> Vec<u64> {
    let all = bucket.storage().list("", false).unwrap();
    all.into_iter().filter(|found| found.name.contains(".parquet")).map(|found| found.bytes).collect()
}

#[test]
fn a_reader_asks_once_for_a_small_file_and_never_whether_it_is_there() {
    let (mut site, store, bucket) = site(60);
    site.plain().exits(0);
    site.night(60);
    site.plain().exits(0);
    let data = data_files(&bucket).len();
    assert!(data > 2, "{data} files");
    let manifests = 2;
    asked(&store);

    // The list of hashes, the owner record, and each manifest with its signature.
    let small = 2 + 2 * manifests;
    site.run(&["verify", "nightly", "--quick"]).exits(0);
    assert_eq!(asked(&store), Asked { lists: 2, small, ..Asked::default() }, "verify --quick");
    site.run(&["verify", "nightly"]).exits(0);
    assert_eq!(asked(&store), Asked { lists: 2, small, data, ..Asked::default() }, "verify");
    site.run(&["export", "nightly", "--all", "--format", "jsonl", "--output", "export"]).exits(0);
    assert_eq!(asked(&store), Asked { lists: 1, small: manifests, data, ..Asked::default() }, "export");

    // A run that has nothing to do reads the owner record before and after a lock would be taken, lists what is below
    // `_tmp/` in both places, and looks at the last manifest at its start and its end. Then it names its manifest in the owner
    // record, and writes it, its signature and the list of hashes.
    site.plain().exits(0);
    let run = asked(&store);
    assert_eq!(run, Asked { lists: 6, small: 6, writes: 4, ..Asked::default() }, "run");
    site.run(&["run", "--refetch", "all"]).exits(0);
    let refetch = asked(&store);
    assert_eq!(refetch, Asked { lists: run.lists + 2, data: 2 * data, ..run }, "run --refetch all");
    let manifests = manifests + 2;
    site.run(&["adopt", "nightly"]).exits(0);
    let adopt = Asked { lists: 11, small: manifests + 7, data, writes: 12, ..Asked::default() };
    assert_eq!(asked(&store), adopt, "adopt");
}

#[test]
fn a_large_file_is_verified_and_exported_in_pieces_of_4_mib() {
    let (mut site, store, bucket) = site(0);
    let mut seed = 1_u64;
    let mut noise = || {
        let words = (0..4_000).map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            format!("{:08x}", seed >> 32)
        });
        words.collect::<String>()
    };
    let messages = (0..600).map(|n| {
        let (id, time) = (9_007_199_254_740_993 + n, 1_325_376_000_000 + n);
        ("a|1|b".to_owned(), id, time, Message::text("a|1|b", id, time, &noise()))
    });
    site.hold(messages);
    site.plain().exits(0);
    let sizes = data_files(&bucket);
    assert!(sizes.len() == 1 && sizes[0] > 8 << 20, "{sizes:?}");
    let pieces = sizes[0].div_ceil(4 << 20) as usize;
    asked(&store);
    site.run(&["verify", "nightly"]).exits(0);
    assert_eq!(asked(&store).data, pieces, "the columns are in what was hashed");
    site.run(&["export", "nightly", "--all", "--format", "jsonl", "--output", "export"]).exits(0);
    assert!(asked(&store).data <= pieces + 1, "the footer, and every piece once");
}
