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
    pub(super) fn push_sender(&self, id: i64, out: &mut String) {
        let draw = mix(self.hash ^ mix(id as u64));
        if self.conversation.kind == 1 {
            let (lesser, greater) = self.conversation.sides();
            out.push_str(if draw & 1 == 0 { lesser } else { greater });
        } else {
            let members = 2 + self.hash % 11;
            out.push('m');
            push_number(out, (mix(self.hash ^ (draw % members)) % 1_000_000) as i64);
        }
    }

    /// Who got it: the other side, or the team.
    fn push_receiver(&self, id: i64, out: &mut String) {
        if self.conversation.kind == 1 {
            let (lesser, greater) = self.conversation.sides();
            let draw = mix(self.hash ^ mix(id as u64));
            out.push_str(if draw & 1 == 0 { greater } else { lesser });
        } else {
            out.push_str(&self.conversation.other);
        }
    }

    /// Appends the message as the API would answer it: about 600 bytes on average.
    pub(super) fn push_item(&self, id: i64, create_time: i64, out: &mut String) {
        let draw = mix(self.hash.rotate_left(17) ^ id as u64);
        let message_type = message_type(draw % 100);
        out.push_str("{\"message_server_id\":");
        push_number(out, id);
        out.push_str(",\"message_client_id\":\"");
        push_hex(out, draw);
        push_hex(out, mix(draw));
        out.push_str("\",\"conversation_type\":");
        push_number(out, i64::from(self.conversation.kind));
        out.push_str(",\"sender_id\":\"");
        self.push_sender(id, out);
        if self.conversation.kind == 1 {
            out.push_str("\",\"receiver_id\":\"");
            self.push_receiver(id, out);
            out.push('"');
        } else {
            out.push_str("\",\"team_id\":");
            out.push_str(&self.conversation.other);
        }
        out.push_str(",\"message_type\":");
        push_number(out, message_type);
        if message_type == 100 {
            out.push_str(",\"sub_type\":");
            push_number(out, (draw >> 40 & 7) as i64);
        }
        out.push_str(",\"create_time\":");
        push_number(out, create_time);
        out.push_str(",\"sender_client_type\":");
        push_number(out, [1, 2, 1, 2, 4, 16, 64, 65][(draw >> 32 & 7) as usize]);
        if matches!(message_type, 0 | 10 | 11) {
            out.push_str(",\"text\":\"");
            push_text(out, mix(draw ^ 3));
            out.push('"');
        }
        push_attachment(out, message_type, draw);
        push_extension(out, mix(draw ^ 4));
        if (draw >> 48).is_multiple_of(128) {
            out.push_str(",\"modify_account_id\":\"");
            self.push_sender(id, out);
            out.push_str("\",\"modify_time\":");
            push_number(out, create_time + 1 + (draw >> 20 & 0xffff) as i64);
        }
        self.push_thread(id, create_time, mix(draw ^ 5), out);
        out.push('}');
    }

    /// A fifth of the messages answer one that answers the thread's first, or the first itself; both exist in the same
    /// world, and neither is ever a generated reference.
    fn push_thread(&self, id: i64, create_time: i64, draw: u64, out: &mut String) {
        let bucket = create_time - create_time.rem_euclid(THREAD_BUCKET);
        let (root_time, answer_time) = (bucket, bucket + 1 + (mix(self.hash ^ bucket as u64) % 60_000) as i64);
        let sequence = id >> CHECK_BITS & ((1 << SEQUENCE_BITS) - 1);
        let answers_answer = match sequence {
            THREAD_ROOT => return,
            THREAD_ANSWER => false,
            _ if !draw.is_multiple_of(5) || create_time <= answer_time => return,
            _ => draw & 64 == 0,
        };
        let root = self.id(root_time, THREAD_ROOT);
        let (reply, reply_time) =
            if answers_answer { (self.id(answer_time, THREAD_ANSWER), answer_time) } else { (root, root_time) };
        out.push_str(",\"thread_config\":{\"thread_root\":");
        self.push_link(root, root_time, out);
        out.push_str(",\"thread_reply\":");
        self.push_link(reply, reply_time, out);
        out.push('}');
    }

    fn push_link(&self, id: i64, create_time: i64, out: &mut String) {
        out.push_str("{\"sender_id\":\"");
        self.push_sender(id, out);
        out.push_str("\",\"receiver_id\":\"");
        self.push_receiver(id, out);
        out.push_str("\",\"create_time\":");
        push_number(out, create_time);
        out.push_str(",\"message_server_id\":\"");
        push_number(out, id);
        out.push_str("\",\"message_client_id\":\"");
        let draw = mix(self.hash.rotate_left(17) ^ id as u64);
        push_hex(out, draw);
        push_hex(out, mix(draw));
        out.push_str("\"}");
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

fn push_attachment(out: &mut String, message_type: i64, draw: u64) {
    let (extension, media) = match message_type {
        1 => ("jpg", true),
        2 => ("aac", true),
        3 => ("mp4", true),
        6 => ("xlsx", true),
        4 | 5 | 12 | 100 => ("", false),
        _ => return,
    };
    out.push_str(",\"attachment\":{");
    if media {
        out.push_str("\"name\":\"报表-");
        push_number(out, (draw >> 8 & 0xffff) as i64);
        out.push_str("\",\"md5\":\"");
        push_hex(out, mix(draw ^ 1));
        push_hex(out, mix(draw ^ 2));
        out.push_str("\",\"url\":\"https://files.example.com/");
        push_hex(out, mix(draw ^ 6));
        out.push_str("\",\"ext\":\"");
        out.push_str(extension);
        out.push_str("\",\"size\":");
        push_number(out, 1_024 + (draw >> 24 & 0xf_ffff) as i64);
        if matches!(message_type, 1 | 3) {
            out.push_str(",\"w\":1280,\"h\":720");
        }
        if matches!(message_type, 2 | 3) {
            out.push_str(",\"dur\":");
            push_number(out, 500 + (draw >> 16 & 0xffff) as i64);
        }
    } else if message_type == 4 {
        out.push_str("\"title\":\"西湖\",\"lng\":120.155070,\"lat\":30.274084");
    } else {
        out.push_str("\"id\":");
        push_number(out, (draw >> 10 & 0xff) as i64);
        out.push_str(",\"data\":{\"topic\":\"");
        out.push_str(TOPICS[(draw >> 33) as usize % TOPICS.len()]);
        out.push_str("\",\"values\":[1,2.50,null,true]}");
    }
    out.push('}');
}

fn push_extension(out: &mut String, draw: u64) {
    if draw % 10 < 4 {
        out.push_str(",\"extension\":\"{\\\"topic\\\":\\\"");
        out.push_str(TOPICS[(draw >> 13) as usize % TOPICS.len()]);
        out.push_str("\\\",\\\"device\\\":\\\"");
        push_hex(out, mix(draw));
        out.push_str("\\\"}\"");
    }
}

/// Whole phrases, already escaped, until a length that most often is short and sometimes long is reached.
fn push_text(out: &mut String, draw: u64) {
    let wanted = match draw % 16 {
        0..6 => 30 + draw % 97,
        6..13 => 120 + draw % 211,
        _ => 500 + draw % 809,
    } as usize;
    let end = out.len() + wanted;
    let mut next = draw >> 8;
    while out.len() < end {
        out.push_str(PHRASES[next as usize % PHRASES.len()]);
        next = next.wrapping_add(7);
    }
}

/// Appends a number in decimal; formatting machinery would cost more than the rest of an item.
pub(super) fn push_number(out: &mut String, number: i64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.push('-');
    }
    out.extend(digits[at..].iter().map(|&digit| char::from(digit)));
}

fn push_hex(out: &mut String, number: u64) {
    out.extend((0..16).map(|n| char::from(b"0123456789abcdef"[(number >> (60 - 4 * n) & 15) as usize])));
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
            let (id, mut item) = (dialogue.id(time, 0), String::new());
            dialogue.push_item(id, time, &mut item);
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

    #[test]
    fn numbers_are_written_as_the_formatter_would() {
        for number in [0, 7, 10, -1, i64::MAX, i64::MIN] {
            let mut out = String::new();
            push_number(&mut out, number);
            assert_eq!(out, number.to_string());
        }
    }
}
