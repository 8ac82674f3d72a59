//! Stages of a message, each by itself: plan, decode.
//!
//! `cargo bench --bench stages`. A batch is 100 generated messages of about 600 bytes; rates are messages a second.

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use yunxin_archiver::model::message::MessageRows;
use yunxin_archiver::model::reference::{ConversationKey, ConversationType, Reference};
use yunxin_archiver::plan::{TeamOwner, Window};
use yunxin_archiver::yunxin;

const MESSAGES: usize = 100;

/// An answer as the API gives it, and what was asked for.
struct Answer {
    body: String,
    key: ConversationKey,
    refs: Vec<(i64, i64)>,
}

impl Answer {
    fn new() -> Self {
        let key = ConversationKey::new("alice", ConversationType::OneToOne, "bob");
        let refs: Vec<(i64, i64)> =
            (0..MESSAGES as i64).map(|n| (158_844_553_334_358_018 + n * 977, 1_753_951_805_248 + n * 61)).collect();
        let items: Vec<String> = refs.iter().enumerate().map(|(n, (id, time))| item(n, *id, *time)).collect();
        let body = format!(
            "{{\"code\":200,\"msg\":\"success\",\"data\":{{\"failed_list\":[],\"success_list\":[{}]}}}}",
            items.join(",")
        );
        Self { body, key, refs }
    }

    fn decode(&self) -> MessageRows {
        yunxin::bench::decode(self.body.as_bytes(), &self.key, &self.refs).expect("it is an answer")
    }
}

/// A tenth with attachments, a fifth in threads, two in five with an extension.
fn item(n: usize, id: i64, time: i64) -> String {
    let (sender, receiver) = if n.is_multiple_of(2) { ("alice", "bob") } else { ("bob", "alice") };
    let client = format!("{:032x}", (n as u128 + 1) * 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834);
    let text = "明天上午十点在三楼会议室讨论季度报表，please bring the printed copies. ".repeat(1 + n % 7);
    let mut item = format!(
        "{{\"message_server_id\":{id},\"message_client_id\":\"{client}\",\"conversation_type\":1,\"sender_id\":\
         \"{sender}\",\"receiver_id\":\"{receiver}\",\"message_type\":0,\"create_time\":{time},\
         \"sender_client_type\":{},\"text\":\"{text}\"",
        [1, 2, 4, 16][n % 4]
    );
    if n.is_multiple_of(10) {
        let _ = write!(
            item,
            ",\"attachment\":{{\"name\":\"报表-{n}\",\"md5\":\"{client}\",\"url\":\"https://files.example.com/{client}\",\
             \"ext\":\"jpg\",\"size\":{},\"w\":1280,\"h\":720}}",
            n * 997
        );
    }
    if n % 5 < 2 {
        let _ = write!(item, ",\"extension\":\"{{\\\"topic\\\":\\\"会议\\\",\\\"device\\\":\\\"{client}\\\"}}\"");
    }
    if n.is_multiple_of(5) {
        let link = format!(
            "{{\"sender_id\":\"{sender}\",\"receiver_id\":\"{receiver}\",\"create_time\":{},\"message_server_id\":\
             \"{}\",\"message_client_id\":\"{client}\"}}",
            time - 1000,
            id - 1
        );
        let _ = write!(item, ",\"thread_config\":{{\"thread_root\":{link},\"thread_reply\":{link}}}");
    }
    item + "}"
}

fn decode(criterion: &mut Criterion) {
    let answer = Answer::new();
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    group.bench_function("an answer of 100", |b| b.iter(|| black_box(answer.decode())));
    group.finish();
}

fn plan(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan");
    group.sample_size(10);
    for (references, dialogues) in [(100_000, 500), (1_000_000, 50_000)] {
        let accounts: Vec<String> = (0..2 * dialogues).map(|n| format!("user{n}")).collect();
        let reference = |n: u64| {
            let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let dialogue = (mixed >> 32) as usize % dialogues;
            Reference {
                owner: &accounts[dialogue * 2 + (n & 1) as usize],
                conversation_type: ConversationType::OneToOne,
                other: &accounts[dialogue * 2 + (n & 1 ^ 1) as usize],
                message_server_id: (mixed >> 1) as i64,
                create_time: n as i64,
            }
        };
        group.throughput(Throughput::Elements(references));
        group.bench_function(format!("{references} references of {dialogues} dialogues"), |b| {
            b.iter_batched(
                || Window::new(100, 1_000_000, TeamOwner::Merge),
                |mut window| {
                    for number in 0..references {
                        window.add(reference(number));
                    }
                    window.finish();
                    window.take_ready()
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(stages, plan, decode);
criterion_main!(stages);
