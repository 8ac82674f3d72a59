//! References to the messages of a generated world, as many as wanted, without storing any.

use std::io::{self, BufWriter, Write};

use super::conversation::Conversation;
use super::generated::{Dialogue, SEQUENCES, mix};

const DAY_MS: u64 = 86_400_000;

/// In which order references are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// By time, as a table of message copies holds them.
    #[default]
    Time,
    /// Conversation by conversation, each by time.
    Conversation,
}

/// Which references to make.
#[derive(Debug, Clone)]
pub struct ReferenceShape {
    /// The seed of the world that holds them.
    pub seed: u64,
    /// How many references: at most 80,000,000,000 a day.
    pub count: u64,
    /// How many conversations they are spread over: six in ten one-to-one, three teams, one a super team.
    pub conversations: u32,
    /// Whether all conversations are equally busy. Otherwise every fourth is four times as busy as the rest, and every
    /// sixteenth sixteen times.
    pub even: bool,
    /// The first day's start, in milliseconds since the epoch.
    pub from: i64,
    /// How many days they are spread over, evenly.
    pub days: u32,
    /// In which order they come.
    pub order: Order,
}

impl Default for ReferenceShape {
    /// 10,000 references in 100 conversations over the 30 days from 2026-10-24.
    fn default() -> Self {
        Self {
            seed: 1,
            count: 10_000,
            conversations: 100,
            even: false,
            from: 1_792_800_000_000,
            days: 30,
            order: Order::Time,
        }
    }
}

/// Spreads the numbers of references over conversations: in every run of `slots` references, each conversation has as
/// many as its weight, in an order that differs from run to run and can be computed backwards.
struct Spread {
    /// The conversation of each slot.
    slots: Vec<u32>,
    step: u64,
    step_back: u64,
    seed: u64,
}

impl Spread {
    fn new(shape: &ReferenceShape) -> Self {
        let weight = |conversation: u32| match conversation {
            _ if shape.even => 1,
            n if n % 16 == 0 => 16,
            n if n % 4 == 0 => 4,
            _ => 1,
        };
        let slots: Vec<u32> = (0..shape.conversations.max(1)).flat_map(|n| std::iter::repeat_n(n, weight(n))).collect();
        let len = slots.len() as u64;
        let step = (len * 5 / 8..2 * len + 2).find(|&step| step > 0 && gcd(step, len) == 1).unwrap_or(1) % len.max(2);
        let step_back = inverse(step, len);
        Self { slots, step, step_back, seed: shape.seed }
    }

    fn len(&self) -> u64 {
        self.slots.len() as u64
    }

    fn shift(&self, run: u64) -> u64 {
        mix(self.seed ^ mix(run)) % self.len()
    }

    fn conversation(&self, number: u64) -> u32 {
        let (run, at) = (number / self.len(), number % self.len());
        self.slots[((at * self.step + self.shift(run)) % self.len()) as usize]
    }

    /// The number of the reference that has this slot in this run.
    fn number(&self, run: u64, slot: u64) -> u64 {
        let unshifted = (slot + self.len() - self.shift(run)) % self.len();
        run * self.len() + unshifted * self.step_back % self.len()
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The inverse of `step` modulo `len`.
fn inverse(step: u64, len: u64) -> u64 {
    let (mut r, mut next_r) = (len as i64, (step % len) as i64);
    let (mut t, mut next_t) = (0_i64, 1_i64);
    while next_r != 0 {
        let quotient = r / next_r;
        (t, next_t) = (next_t, t - quotient * next_t);
        (r, next_r) = (next_r, r - quotient * next_r);
    }
    t.rem_euclid(len as i64) as u64
}

/// One generated reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) conversation_id: String,
    pub(super) id: i64,
    pub(super) create_time: i64,
}

impl ReferenceShape {
    fn conversation(&self, number: u32) -> Conversation {
        let draw = mix(self.seed ^ mix(u64::from(number)) ^ 0x15);
        let text = match number % 10 {
            0..6 => format!("user{number}|1|u{:06}", draw % 1_000_000),
            6..9 => format!("m|2|{}", 3_000_000_000 + u64::from(number)),
            _ => format!("m|3|{}", 7_000_000 + u64::from(number)),
        };
        Conversation::parse(&text).expect("made of the form owner|type|other")
    }

    /// The time of the reference with this number, and its place among those of the same millisecond.
    fn time(&self, number: u64) -> (i64, i64) {
        let span = u128::from(u64::from(self.days.max(1)) * DAY_MS);
        let count = u128::from(self.count.max(1));
        let offset = u128::from(number) * span / count;
        let first = (offset * count).div_ceil(span);
        (self.from + offset as i64, (u128::from(number) - first) as i64)
    }

    /// The reference with this number, which is one to this conversation, as the sender of the message sees it.
    fn reference(&self, conversation: &Conversation, number: u64) -> Made {
        let (create_time, sequence) = self.time(number);
        let dialogue = Dialogue::new(self.seed, conversation);
        let id = dialogue.id(create_time, sequence);
        let owner = dialogue.sender(id);
        let is_other = conversation.kind == 1 && owner == conversation.other;
        let other = if is_other { &conversation.owner } else { &conversation.other };
        Made { conversation_id: format!("{owner}|{}|{other}", conversation.kind), id, create_time }
    }

    /// Calls `each` with every reference, in order.
    fn for_each<E>(&self, mut each: impl FnMut(Made) -> Result<(), E>) -> Result<(), E> {
        let spread = Spread::new(self);
        let conversations = self.conversations.max(1);
        match self.order {
            Order::Time => {
                let conversations: Vec<_> = (0..conversations).map(|number| self.conversation(number)).collect();
                for number in 0..self.count {
                    each(self.reference(&conversations[spread.conversation(number) as usize], number))?;
                }
            }
            Order::Conversation => {
                let (mut slot, mut numbers) = (0, Vec::new());
                for number in 0..conversations {
                    let end = spread.slots.partition_point(|&owner| owner <= number) as u64;
                    let conversation = self.conversation(number);
                    for run in 0..self.count.div_ceil(spread.len()) {
                        numbers.extend((slot..end).map(|slot| spread.number(run, slot)));
                        numbers.sort_unstable();
                        for number in numbers.drain(..).filter(|&number| number < self.count) {
                            each(self.reference(&conversation, number))?;
                        }
                    }
                    slot = end;
                }
            }
        }
        Ok(())
    }

    /// Every reference, in order.
    pub(super) fn make(&self) -> Vec<Made> {
        let mut made = Vec::new();
        let Ok(()) = self.for_each(|reference| {
            made.push(reference);
            Ok::<_, std::convert::Infallible>(())
        });
        made
    }

    /// The fewest requests that can ask for all of them, each of one conversation and at most `batch_size` references.
    pub fn minimum_requests(&self, batch_size: u64) -> u64 {
        let spread = Spread::new(self);
        let whole = self.count / spread.len();
        let mut counts = vec![0_u64; self.conversations.max(1) as usize];
        spread.slots.iter().for_each(|&conversation| counts[conversation as usize] += whole);
        (whole * spread.len()..self.count).for_each(|number| counts[spread.conversation(number) as usize] += 1);
        counts.iter().map(|count| count.div_ceil(batch_size.max(1))).sum()
    }
}

/// Writes references as CSV with the columns `conversation_id`, `message_server_id`, `create_time` (milliseconds since
/// the epoch). A world of kind [`Generated`](super::Kind::Generated) with the same seed holds every one of them. The
/// conversation is spelled as the sender sees it, so both spellings of a dialogue and many owners of a team occur.
///
/// # Errors
///
/// Writing failed, or the shape asks for more references than a day can hold.
pub fn write_references(out: impl Write, shape: &ReferenceShape) -> io::Result<()> {
    if shape.count / (u64::from(shape.days.max(1)) * DAY_MS) >= SEQUENCES {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "more references than the days can hold"));
    }
    let mut out = BufWriter::new(out);
    writeln!(out, "conversation_id,message_server_id,create_time")?;
    shape
        .for_each(|Made { conversation_id, id, create_time }| writeln!(out, "{conversation_id},{id},{create_time}"))?;
    out.flush()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn shape(count: u64, conversations: u32, order: Order) -> ReferenceShape {
        ReferenceShape { count, conversations, order, ..ReferenceShape::default() }
    }

    #[test]
    fn the_world_of_the_same_seed_holds_every_reference() {
        for made in shape(3_000, 37, Order::Time).make() {
            let conversation = Conversation::parse(&made.conversation_id).unwrap();
            assert!(Dialogue::new(1, &conversation).holds(made.id, made.create_time), "{made:?}");
            assert!(!Dialogue::new(2, &conversation).holds(made.id, made.create_time), "{made:?}");
        }
    }

    #[test]
    fn both_orders_make_the_same_references_and_no_id_twice() {
        for (count, conversations) in [(1, 1), (5, 9), (2_000, 1), (3_333, 50), (10_000, 3)] {
            let by_time = shape(count, conversations, Order::Time).make();
            let by_conversation = shape(count, conversations, Order::Conversation).make();
            let ids: BTreeSet<i64> = by_time.iter().map(|made| made.id).collect();
            assert_eq!(ids.len() as u64, count);
            assert_eq!(ids, by_conversation.iter().map(|made| made.id).collect());
            assert!(by_time.is_sorted_by_key(|made| made.create_time));
        }
    }

    #[test]
    fn crowded_milliseconds_are_told_apart() {
        let crowded = ReferenceShape { from: 1_792_800_000_000, ..shape(200_000_000, 5, Order::Time) };
        let one_day = ReferenceShape { days: 1, ..crowded };
        let times: BTreeSet<_> = (0..1_000).map(|number| one_day.time(number)).collect();
        assert_eq!(times.len(), 1_000);
        assert!(times.iter().any(|&(_, sequence)| sequence == 2));
    }

    #[test]
    fn the_fewest_requests_are_counted_by_conversation() {
        let shape = shape(5_001, 40, Order::Time);
        let mut counts = BTreeMap::<String, u64>::new();
        for made in shape.make() {
            *counts.entry(Conversation::parse(&made.conversation_id).unwrap().key).or_default() += 1;
        }
        assert_eq!(counts.len(), 40);
        assert_eq!(shape.minimum_requests(100), counts.values().map(|count| count.div_ceil(100)).sum::<u64>());
    }
}
