//! Known IDs at scale: `known DIR COUNT [random]` makes a ledger that knows COUNT IDs, a million a night, and then asks
//! it what a night asks: a million new IDs, in stretches as planning does, and a million that are known.
//!
//! IDs grow with time, a day of them a night; with `random` they are spread over all times, the worst case.

use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use jiff::Timestamp;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use uuid::Uuid;
use yunxin_archiver::ledger::{Identity, Ledger, Planned};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const NIGHT: u64 = 1_000_000;
const STRETCH: usize = 32 * 1024;
const DAY_MS: u64 = 86_400_000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (Some(directory), Some(count)) = (arguments.first(), arguments.get(1)) else {
        return Err("known DIR COUNT [random]".into());
    };
    let random = arguments.get(2).is_some_and(|word| word == "random");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(measure(Path::new(directory), count.parse::<u64>()? / NIGHT, random))
}

/// The IDs of one night, sorted: 35 bits of time, 22 of chance.
fn night(number: u64, random: bool) -> Vec<i64> {
    let mut dice = SmallRng::seed_from_u64(number);
    let mut ids: Vec<i64> = (0..NIGHT)
        .map(|n| {
            let low = dice.random::<u32>() >> 10;
            let time = number * DAY_MS + n * DAY_MS / NIGHT;
            if random { (dice.random::<u64>() >> 7) as i64 } else { (time << 22 | u64::from(low)) as i64 }
        })
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

async fn measure(directory: &Path, nights: u64, random: bool) -> Result<()> {
    let path = directory.join("known.sqlite");
    let identity = Identity {
        job: "known".to_owned(),
        app_key: "app-key".to_owned(),
        sink: "nowhere".to_owned(),
        partitioning: String::new(),
    };
    let ledger = yunxin_archiver::ledger::Beginning::prepare(&path, &identity).await?.take_place().await?.0;
    let run = Uuid::now_v7();
    ledger.begin_run(run, "run", Timestamp::now()).await?;
    let began = Instant::now();
    for number in 0..nights {
        plan(&ledger, run, &night(number, random)).await?;
        ledger.compact().await?;
    }
    let mut out = std::io::stdout();
    let filled = began.elapsed().as_secs_f64();
    let size = std::fs::metadata(&path)?.len();
    let known = ledger.totals().await?.known_ids;
    writeln!(out, "{known} IDs in {filled:.1} s; {size} bytes, {:.2} an ID", size as f64 / known.max(1) as f64)?;
    for (what, ids) in [("known", night(nights / 2, random)), ("new", night(nights, random))] {
        let began = Instant::now();
        let mut found = 0;
        for some in ids.chunks(STRETCH) {
            found += ledger.known(some).await?.len();
        }
        writeln!(out, "a night of {what} IDs: {found} of {} known, {:.3} s", ids.len(), began.elapsed().as_secs_f64())?;
    }
    let ids = night(nights, random);
    let began = Instant::now();
    plan(&ledger, run, &ids).await?;
    let planned = began.elapsed().as_secs_f64();
    ledger.compact().await?;
    writeln!(
        out,
        "the night's IDs made known: {planned:.3} s, merged: {:.3} s",
        began.elapsed().as_secs_f64() - planned
    )?;
    ledger.close().await?;
    Ok(())
}

async fn plan(ledger: &Ledger, run: Uuid, ids: &[i64]) -> Result<()> {
    // As planning does: a transaction for about 2,000 full batches.
    for some in ids.chunks(200_000) {
        let planned = Planned { new_ids: some, ..Planned::default() };
        ledger.plan(run, Timestamp::now(), &planned).await?;
    }
    Ok(())
}
