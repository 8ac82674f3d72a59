//! A world to show a whole job on: some twenty thousand references with everything that happens in practice.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::conversation::Conversation;
use super::generated::{Dialogue, mix};
use super::message::{Fate, Message, quoted};
use super::quirk::Quirk;
use super::references::{Made, ReferenceShape};
use super::world::World;

const DAYS: u32 = 30;
const DAY_MS: i64 = 86_400_000;
const GENERATED: u64 = 19_800;
const CONVERSATIONS: u32 = 240;
const DUPLICATES: usize = 68;
/// Sequences that generated references of so thin a spread never reach.
const SPARE_SEQUENCE: i64 = 1_000;
/// The team that its only speaker has left.
const LEFT: (&str, i64, i64) = ("former.member|2|4400000001", 109_404, 60);
/// The team that one of its speakers has left: how many references name the one who stayed, and how many the one who left.
const PARTED: (&str, &str, i64, i64) = ("team.lead|2|4400000002", "leaver|2|4400000002", 55, 5);
/// Oddities that archive all the same.
const QUIRKS: [Quirk; 10] = [
    Quirk::StringIds,
    Quirk::StringClientType,
    Quirk::AttachmentString,
    Quirk::UnknownFields,
    Quirk::UnknownType,
    Quirk::Edited,
    Quirk::Targeted,
    Quirk::NulText,
    Quirk::LoneSurrogate,
    Quirk::EscapedText,
];
/// Rows that are no references.
const INVALID: [&str; 12] = [
    "alice|1|bob,,1792800000000",
    "alice|1|bob,not-a-number,1792800000000",
    "alice|1|bob,1.5884455333435801e+17,1792800000000",
    "alice|1|bob,-5,1792800000000",
    "alice|1|bob,99999999999999999999,1792800000000",
    "alice|1|bob,158844553334358018,",
    "alice|1|bob,158844553334358018,yesterday",
    "alice|4|bob,158844553334358018,1792800000000",
    "alice|bob,158844553334358018,1792800000000",
    "|1|bob,158844553334358018,1792800000000",
    "alice|1|,158844553334358018,1792800000000",
    ",158844553334358018,1792800000000",
];

/// The exact outcome of a job over the demo's references, with `team_owner: merge` and batches of up to 100.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Rows in the file, its header not counted.
    pub read: u64,
    /// Rows that are no reference.
    pub invalid: u64,
    /// Rows that repeat an earlier one.
    pub duplicate: u64,
    /// References to ask for: `read - invalid - duplicate`.
    pub accepted: u64,
    /// Messages that are there.
    pub archived: u64,
    /// References that become no message.
    pub failed: u64,
    /// Of these, those that no answer mentions.
    pub unanswered: u64,
    /// Of these, by the code that the API gives.
    pub codes: BTreeMap<i64, u64>,
    /// Dialogues and teams.
    pub conversations: u64,
    /// The fewest requests that can ask for every accepted reference once, at 100 a request.
    pub minimum_requests: u64,
}

/// A world to show a whole job on, with the references to its messages.
#[derive(Debug, Clone)]
pub struct DemoWorld {
    rows: Vec<String>,
    world: World,
    expected: Expected,
}

impl DemoWorld {
    /// The world of the 30 days before `end`, a time in milliseconds since the epoch (a day's start, for whole days).
    /// The same seed and end give the same world.
    pub fn new(seed: u64, end: i64) -> Self {
        let from = end - i64::from(DAYS) * DAY_MS;
        let shape = ReferenceShape {
            seed,
            count: GENERATED,
            conversations: CONVERSATIONS,
            from,
            days: DAYS,
            ..ReferenceShape::default()
        };
        let mut world = World::generated(seed);
        let mut expected = Expected::default();
        let mut made = shape.make();
        for (n, reference) in made.iter().enumerate() {
            if let Some(message) = singular(seed, n, reference, &mut expected) {
                world.insert(message);
            }
        }
        let (team, code, count) = LEFT;
        world.refuse(team, code);
        *expected.codes.entry(code).or_default() += count as u64;
        made.extend(spoken(seed, team, from, count, &mut world));
        let (team, leaver, stayed, left) = PARTED;
        world.refuse(leaver, code);
        made.extend(spoken(seed, team, from, stayed, &mut world));
        made.extend(spoken(seed, leaver, from + DAY_MS / 2, left, &mut world));
        made.sort_by_key(|reference| reference.create_time);

        expected.accepted = made.len() as u64;
        expected.failed = expected.unanswered + expected.codes.values().sum::<u64>();
        expected.archived = expected.accepted - expected.failed;
        let mut conversations = BTreeMap::<String, u64>::new();
        for reference in &made {
            if let Some(conversation) = Conversation::parse(&reference.conversation_id) {
                *conversations.entry(conversation.key).or_default() += 1;
            }
        }
        expected.conversations = conversations.len() as u64;
        expected.minimum_requests = conversations.values().map(|count| count.div_ceil(100)).sum();
        let rows = with_duplicates_and_invalid(&made, &mut expected);
        Self { rows, world, expected }
    }

    /// The exact outcome of a job over the references.
    pub fn expected(&self) -> &Expected {
        &self.expected
    }

    /// The messages, to be served.
    pub fn world(&self) -> World {
        self.world.clone()
    }

    /// Writes the references as CSV with the columns `conversation_id`, `message_server_id`, `create_time`.
    ///
    /// # Errors
    ///
    /// Writing failed.
    pub fn write_references(&self, mut out: impl Write) -> io::Result<()> {
        let mut text = String::from("conversation_id,message_server_id,create_time\n");
        for row in &self.rows {
            text.push_str(row);
            text.push('\n');
        }
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

/// The message behind a reference, if there is anything special about it.
fn singular(seed: u64, n: usize, reference: &Made, expected: &mut Expected) -> Option<Message> {
    let message = || Message::generated_from(seed, &reference.conversation_id, reference.id, reference.create_time);
    let one_to_one = reference.conversation_id.contains("|1|");
    Some(match n {
        _ if n % 113 == 7 => {
            *expected.codes.entry(107_404).or_default() += 1;
            message().fate(Fate::Missing)
        }
        _ if n % 331 == 9 => {
            expected.unanswered += 1;
            message().fate(Fate::Unanswered)
        }
        _ if n % 173 == 5 && one_to_one => {
            let owner = reference.conversation_id.split('|').next();
            message().seen_by(owner, if n.is_multiple_of(2) { Fate::Missing } else { Fate::Unanswered })
        }
        _ if n % 97 == 3 => message().quirk(QUIRKS[mix(n as u64) as usize % QUIRKS.len()]),
        _ => return None,
    })
}

/// References to messages that the owner of `conversation_id` sent to a team, a few a day; the messages are inserted.
fn spoken(seed: u64, conversation_id: &str, from: i64, count: i64, world: &mut World) -> Vec<Made> {
    let Some(conversation) = Conversation::parse(conversation_id) else { return Vec::new() };
    let dialogue = Dialogue::new(seed, &conversation);
    let span = i64::from(DAYS - 1) * DAY_MS;
    (0..count)
        .map(|n| {
            let create_time = from + DAY_MS / 3 + n * span / count;
            let id = dialogue.id(create_time, SPARE_SEQUENCE);
            let message = Message::generated_from(seed, conversation_id, id, create_time);
            world.insert(message.field("sender_id", &quoted(&conversation.owner)));
            Made { conversation_id: conversation_id.to_owned(), id, create_time }
        })
        .collect()
}

fn with_duplicates_and_invalid(made: &[Made], expected: &mut Expected) -> Vec<String> {
    let mut rows: Vec<String> = made
        .iter()
        .map(|reference| format!("{},{},{}", reference.conversation_id, reference.id, reference.create_time))
        .collect();
    let step = made.len() / (DUPLICATES + 1);
    // From the end, so that earlier places stay where they are.
    for n in (1..=DUPLICATES).rev() {
        let repeated = rows[n * step - step / 2].clone();
        rows.insert(n * step, repeated);
    }
    let step = rows.len() / (INVALID.len() + 1);
    for (n, row) in INVALID.iter().enumerate().rev() {
        rows.insert((n + 1) * step, (*row).to_owned());
    }
    expected.duplicate = DUPLICATES as u64;
    expected.invalid = INVALID.len() as u64;
    expected.read = rows.len() as u64;
    rows
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// 2026-11-23T00:00:00Z.
    const END: i64 = 1_795_392_000_000;

    #[test]
    fn the_sums_hold_and_about_98_of_100_are_archived() {
        let demo = DemoWorld::new(1, END);
        let expected = demo.expected();
        assert_eq!(expected.read, expected.invalid + expected.duplicate + expected.accepted);
        assert_eq!(expected.accepted, expected.archived + expected.failed);
        assert_eq!(expected.read, 20_000);
        assert!((970..990).contains(&(expected.archived * 1_000 / expected.read)), "{expected:?}");
        let distinct: BTreeSet<&String> = demo.rows.iter().collect();
        assert_eq!(distinct.len() as u64, expected.read - expected.duplicate);
    }

    #[test]
    fn asking_each_reference_under_its_own_owner_gives_what_is_expected() {
        let mut demo = DemoWorld::new(7, END);
        let (mut messages, mut failed, mut refused, mut asked) = (0, 0, 0, BTreeSet::new());
        for row in &demo.rows {
            let fields: Vec<&str> = row.split(',').collect();
            let (Some(conversation), Ok(id), Ok(time)) =
                (Conversation::parse(fields[0]), fields[1].parse::<i64>(), fields[2].parse::<i64>())
            else {
                continue;
            };
            if id < 0 || !asked.insert(id) {
                continue;
            }
            let answer = demo.world.answer(&conversation, &[(id, time)], false, 0);
            messages += answer.messages;
            failed += answer.failed;
            refused += u64::from(answer.code == 109_404);
        }
        let expected = demo.expected();
        assert_eq!(asked.len() as u64, expected.accepted);
        // The five of the member who left are there for those who stayed.
        assert_eq!(messages + 5, expected.archived);
        assert_eq!(refused - 5, expected.codes[&109_404]);
        assert_eq!(failed, expected.codes[&107_404]);
        assert_eq!(expected.accepted - messages - failed - refused, expected.unanswered);
    }

    #[test]
    fn both_spellings_and_several_owners_occur() {
        let demo = DemoWorld::new(1, END);
        let (mut spellings, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for conversation in demo.rows.iter().filter_map(|row| Conversation::parse(row.split(',').next()?)) {
            keys.insert(conversation.key.clone());
            spellings.insert((conversation.owner, conversation.key));
        }
        assert!(spellings.len() > 2 * keys.len(), "{} owners of {} conversations", spellings.len(), keys.len());
    }

    #[test]
    fn the_same_seed_makes_the_same_file() {
        let file = |seed| {
            let mut out = Vec::new();
            DemoWorld::new(seed, END).write_references(&mut out).unwrap();
            out
        };
        assert_eq!(file(3), file(3));
        assert_ne!(file(3), file(4));
    }
}
