//! Messages that are not stored. An ID holds its own time, and everything else follows from it by hashing.
//!
//! An ID is `milliseconds since 2014 (41 bits) · sequence (10 bits) · check (12 bits)`, where the check is a hash of
//! seed, conversation, time and sequence. So a world of any size knows of each reference whether it exists.

use super::conversation::Conversation;
use super::phrases::{PHRASES, TOPICS};

/// 2014-01-01T00:00:00Z in milliseconds.
const EPOCH: i64 = 1_388_534_400_000;
const CHECK_BITS: u32 = 12;
const SEQUENCE_BITS: u32 = 10;
/// Sequences from here on are messages that only threads name, never a generated reference.
const THREAD_ANSWER: i64 = 1_022;
const THREAD_ROOT: i64 = 1_023;
const THREAD_BUCKET: i64 = 6 * 3_600_000;
/// References that a generator may place in one millisecond.
pub(super) const SEQUENCES: u64 = THREAD_ANSWER as u64;

/// Spreads the bits of a number (the finaliser of a well-known 64-bit generator).
pub(super) fn mix(number: u64) -> u64 {
    let mut x = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A hash of text that is the same on every machine and in every version.
pub(super) fn hash_text(seed: u64, text: &str) -> u64 {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    mix(hash ^ mix(seed))
}

/// One conversation of a generated world.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialogue<'a> {
    pub(super) conversation: &'a Conversation,
    hash: u64,
}

impl<'a> Dialogue<'a> {
    pub(super) fn new(seed: u64, conversation: &'a Conversation) -> Self {
        Self { conversation, hash: hash_text(seed, &conversation.key) }
    }

    /// The ID of the message that was created then, as the `sequence`th of its millisecond.
    pub(super) fn id(&self, create_time: i64, sequence: i64) -> i64 {
        let stem = (create_time - EPOCH) << SEQUENCE_BITS | sequence;
        stem << CHECK_BITS | self.check(stem)
    }

    /// Whether the generator makes this message, at this time, in this conversation.
    pub(super) fn holds(&self, id: i64, create_time: i64) -> bool {
        let stem = id >> CHECK_BITS;
        id > 0 && (stem >> SEQUENCE_BITS) + EPOCH == create_time && id & ((1 << CHECK_BITS) - 1) == self.check(stem)
    }

    fn check(&self, stem: i64) -> i64 {
        (mix(self.hash ^ stem as u64) >> (64 - CHECK_BITS)) as i64
    }

    /// Who sent the message with this ID: one of the two, or one of the team's members.
    pub(super) fn sender(&self, id: i64) -> String {
        let draw = mix(self.hash ^ mix(id as u64));
        if self.conversation.kind == 1 {
            let (lesser, greater) = self.conversation.sides();
            return if draw & 1 == 0 { lesser } else { greater }.to_owned();
        }
        let members = 2 + self.hash % 11;
        format!("m{}", mix(self.hash ^ (draw % members)) % 1_000_000)
    }

    /// Who got it: the other side, or the team.
    fn receiver(&self, id: i64) -> &str {
        if self.conversation.kind == 1 {
            let (lesser, greater) = self.conversation.sides();
            let draw = mix(self.hash ^ mix(id as u64));
            return if draw & 1 == 0 { greater } else { lesser };
        }
        &self.conversation.other
    }

    /// What everything about the message with this ID is drawn from.
    fn draw(&self, id: i64) -> u64 {
        mix(self.hash.rotate_left(17) ^ id as u64)
    }

    /// The message as the API would answer it: about 600 bytes on average.
    pub(super) fn item(&self, id: i64, create_time: i64) -> String {
        let draw = self.draw(id);
        let (kind, message_type) = (self.conversation.kind, message_type(draw % 100));
        let (client_id, sender) = (hex(draw), self.sender(id));
        let mut item =
            format!(r#"{{"message_server_id":{id},"message_client_id":"{client_id}","conversation_type":{kind}"#);
        item += &format!(r#","sender_id":"{sender}","#);
        item += &match kind {
            1 => format!(r#""receiver_id":"{}""#, self.receiver(id)),
            _ => format!(r#""team_id":{}"#, self.conversation.other),
        };
        item += &format!(r#","message_type":{message_type}"#);
        if message_type == 100 {
            item += &format!(r#","sub_type":{}"#, draw >> 40 & 7);
        }
        let client_type = [1, 2, 1, 2, 4, 16, 64, 65][(draw >> 32 & 7) as usize];
        item += &format!(r#","create_time":{create_time},"sender_client_type":{client_type}"#);
        if matches!(message_type, 0 | 10 | 11) {
            item += &format!(r#","text":"{}""#, text(mix(draw ^ 3)));
        }
        item += &attachment(message_type, draw);
        item += &extension(mix(draw ^ 4));
        if (draw >> 48).is_multiple_of(128) {
            let modify_time = create_time + 1 + (draw >> 20 & 0xffff) as i64;
            item += &format!(r#","modify_account_id":"{sender}","modify_time":{modify_time}"#);
        }
        item += &self.thread(id, create_time, mix(draw ^ 5));
        item + "}"
    }

    /// A fifth of the messages answer one that answers the thread's first, or the first itself; both exist in the same
    /// world, and neither is ever a generated reference.
    fn thread(&self, id: i64, create_time: i64, draw: u64) -> String {
        let bucket = create_time - create_time.rem_euclid(THREAD_BUCKET);
        let (root_time, answer_time) = (bucket, bucket + 1 + (mix(self.hash ^ bucket as u64) % 60_000) as i64);
        let sequence = id >> CHECK_BITS & ((1 << SEQUENCE_BITS) - 1);
        let answers_answer = match sequence {
            THREAD_ROOT => return String::new(),
            THREAD_ANSWER => false,
            _ if !draw.is_multiple_of(5) || create_time <= answer_time => return String::new(),
            _ => draw & 64 == 0,
        };
        let root = self.link(root_time, THREAD_ROOT);
        let reply = if answers_answer { self.link(answer_time, THREAD_ANSWER) } else { root.clone() };
        format!(r#","thread_config":{{"thread_root":{root},"thread_reply":{reply}}}"#)
    }

    fn link(&self, create_time: i64, sequence: i64) -> String {
        let id = self.id(create_time, sequence);
        let (sender, receiver, client_id) = (self.sender(id), self.receiver(id), hex(self.draw(id)));
        format!(
            r#"{{"sender_id":"{sender}","receiver_id":"{receiver}","create_time":{create_time},"message_server_id":"{id}","#
        ) + &format!(r#""message_client_id":"{client_id}"}}"#)
    }
}

/// A tenth have attachments. Every documented type occurs, and one that is not documented.
fn message_type(percent: u64) -> i64 {
    match percent {
        0..82 => 0,
        82..85 => 1,
        85..87 => 2,
        87 => 3,
        88 => 4,
        89..91 => 6,
        91 => 100,
        92..94 => 5,
        94..96 => 10,
        96 => 11,
        97 => 12,
        98 => 7,
        _ => 20,
    }
}

/// The member `attachment`, behind a comma; nothing if the type has none.
fn attachment(message_type: i64, draw: u64) -> String {
    let file = |extension: &str| {
        let (name, size) = (draw >> 8 & 0xffff, 1_024 + (draw >> 24 & 0xf_ffff));
        let md5 = format!("{:016x}{:016x}", mix(draw ^ 1), mix(draw ^ 2));
        let mut file = format!(r#""name":"报表-{name}","md5":"{md5}","url":"https://files.example.com/"#);
        file += &format!(r#"{:016x}","ext":"{extension}","size":{size}"#, mix(draw ^ 6));
        if matches!(message_type, 1 | 3) {
            file += r#","w":1280,"h":720"#;
        }
        if matches!(message_type, 2 | 3) {
            file += &format!(r#","dur":{}"#, 500 + (draw >> 16 & 0xffff));
        }
        file
    };
    let members = match message_type {
        1 => file("jpg"),
        2 => file("aac"),
        3 => file("mp4"),
        6 => file("xlsx"),
        4 => r#""title":"西湖","lng":120.155070,"lat":30.274084"#.to_owned(),
        5 | 12 | 100 => {
            let (id, topic) = (draw >> 10 & 0xff, TOPICS[(draw >> 33) as usize % TOPICS.len()]);
            format!(r#""id":{id},"data":{{"topic":"{topic}","values":[1,2.50,null,true]}}"#)
        }
        _ => return String::new(),
    };
    format!(r#","attachment":{{{members}}}"#)
}

/// The member `extension`, behind a comma; four messages in ten have it.
fn extension(draw: u64) -> String {
    if draw % 10 >= 4 {
        return String::new();
    }
    let topic = TOPICS[(draw >> 13) as usize % TOPICS.len()];
    format!(r#","extension":"{{\"topic\":\"{topic}\",\"device\":\"{:016x}\"}}""#, mix(draw))
}

/// Whole phrases, already escaped, until a length that most often is short and sometimes long is reached.
fn text(draw: u64) -> String {
    let wanted = match draw % 16 {
        0..6 => 30 + draw % 97,
        6..13 => 120 + draw % 211,
        _ => 500 + draw % 809,
    };
    let (mut text, mut next) = (String::new(), draw >> 8);
    while (text.len() as u64) < wanted {
        text += PHRASES[next as usize % PHRASES.len()];
        next = next.wrapping_add(7);
    }
    text
}

/// A client's ID of a message: 32 digits.
fn hex(draw: u64) -> String {
    format!("{draw:016x}{:016x}", mix(draw))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::Value;

    use super::*;

    const NOON: i64 = 1_763_899_200_000;

    fn conversation(text: &str) -> Conversation {
        Conversation::parse(text).unwrap()
    }

    #[test]
    fn an_id_belongs_to_its_conversation_and_time_alone() {
        let (ours, other_side, theirs) = (conversation("a|1|b"), conversation("B|1|A"), conversation("a|1|c"));
        let id = Dialogue::new(7, &ours).id(NOON, 3);
        assert!(id > 1_000_000_000_000_000_000, "{id} has 19 digits");
        assert!(Dialogue::new(7, &ours).holds(id, NOON));
        assert!(Dialogue::new(7, &other_side).holds(id, NOON));
        assert!(!Dialogue::new(7, &ours).holds(id, NOON + 1));
        assert!(!Dialogue::new(7, &theirs).holds(id, NOON));
        assert!(!Dialogue::new(8, &ours).holds(id, NOON));
        assert!(!Dialogue::new(7, &ours).holds(-id, NOON));
    }

    #[test]
    fn items_are_json_of_the_promised_size_and_variety() {
        let (pair, team) = (conversation("a|1|b"), conversation("m1|2|4711"));
        let (mut bytes, mut attachments, mut threads, mut types) = (0, 0, 0, std::collections::BTreeSet::new());
        for n in 0..4_000_i64 {
            let dialogue = Dialogue::new(1, if n % 2 == 0 { &pair } else { &team });
            let time = NOON + n * 9_001;
            let id = dialogue.id(time, 0);
            let item = dialogue.item(id, time);
            bytes += item.len();
            let item: Value = serde_json::from_str(&item).unwrap();
            assert_eq!((&item["message_server_id"], &item["create_time"]), (&id.into(), &time.into()));
            attachments += u32::from(item.get("attachment").is_some());
            types.insert(item["message_type"].as_i64().unwrap());
            if let Some(thread) = item.get("thread_config") {
                threads += 1;
                for link in [&thread["thread_root"], &thread["thread_reply"]] {
                    let id = link["message_server_id"].as_str().unwrap().parse().unwrap();
                    assert!(dialogue.holds(id, link["create_time"].as_i64().unwrap()), "{link} exists");
                }
            }
        }
        assert!((500..700).contains(&(bytes / 4_000)), "{} bytes a message", bytes / 4_000);
        assert!((400..640).contains(&attachments), "{attachments} of 4000 with an attachment");
        assert!((640..960).contains(&threads), "{threads} of 4000 with a thread");
        assert!([0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 100].iter().all(|known| types.contains(known)), "{types:?}");
    }
}
