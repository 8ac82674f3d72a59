//! Exports from both archives, read back by readers that are not ours.

mod directory;
mod formats;
mod redaction;
mod selection;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use yunxin_archiver::model::message::Vanished;

use crate::support::export::{Sent, Stage};

const SCRIPT: &str = "<script>alert(1)</script><img src=x onerror=alert(2)>\" onmouseover='x' &amp; \u{202e}txt.exe";
const FORMULA: &str = "=HYPERLINK(\"http://evil.example\";\"x\")\n+1;@SUM(A1)";
const IMAGE: &str =
    r#"{"name":"合同","ext":"jpg","url":"https://files.example.com/a?b=1&c=2","size":123456,"w":2,"h":3}"#;
const CUSTOM: &str = r#"{"topic":"</pre><script>","by":"alice","amount":1.50,"order":20261122000000000001}"#;

/// Two one-to-one dialogues and a team: answers, an edit, targeted messages, hostile texts.
fn world() -> Vec<Sent<'static>> {
    let pair = |id, at, sender, text| Sent {
        id,
        at,
        sender,
        text,
        conversation: "Alice|1|robert",
        key: "1|alice|robert",
        ..Sent::default()
    };
    let team = |id, at, sender, text| Sent {
        id,
        at,
        sender,
        text,
        conversation: "carol|2|77",
        key: "2|77",
        ..Sent::default()
    };
    vec![
        pair(103, "2026-11-21T10:00:00Z", "alice", SCRIPT),
        Sent {
            answers: Some((101, "2026-11-20T10:00:00Z", "Alice")),
            ..pair(102, "2026-11-20T10:05:00Z", "robert", "收到，谢谢 😀")
        },
        Sent {
            extension: r#"{"from":"alice"}"#,
            ..pair(101, "2026-11-20T10:00:00Z", "Alice", "请 robert 看合同\n第二行")
        },
        pair(104, "2026-11-21T10:01:00Z", "robert", "the first words"),
        Sent { kind: 1, attachment: IMAGE, ..pair(105, "2026-11-21T18:00:00Z", "robert", "") },
        Sent { kind: 100, attachment: CUSTOM, ..pair(106, "2026-11-22T10:00:00Z", "alice", FORMULA) },
        team(201, "2026-11-20T09:00:00Z", "carol", "who comes?"),
        Sent {
            answers: Some((201, "2026-11-20T09:00:00Z", "carol")),
            ..team(202, "2026-11-21T09:00:00Z", "Robert", "I do")
        },
        Sent {
            receivers: r#"["robert","daniel"]"#,
            inclusive: Some(true),
            ..team(203, "2026-11-21T09:01:00Z", "carol", "only for robert and daniel")
        },
        Sent {
            receivers: r#"["robert"]"#,
            inclusive: Some(false),
            ..team(204, "2026-11-21T09:02:00Z", "carol", "for all but robert")
        },
        Sent {
            conversation: "carol|1|daniel",
            key: "1|carol|daniel",
            extra: r#"{"note":"daniel knows"}"#,
            ..pair(301, "2026-11-20T08:00:00Z", "carol", "between us")
        },
    ]
}

fn edit() -> Vec<Sent<'static>> {
    let first = world().into_iter().find(|message| message.id == 104).unwrap();
    vec![Sent { text: "the second words", revision: 1, edited: Some("2026-11-21T10:02:00Z"), ..first }]
}

fn vanished() -> Vec<Vanished> {
    let at = |time: &str| time.parse::<jiff::Timestamp>().unwrap().as_millisecond();
    vec![Vanished {
        conversation_key: "1|alice|robert".to_owned(),
        conversation_id: "alice|1|robert".to_owned(),
        conversation_type: 1,
        message_server_id: 102,
        create_time: at("2026-11-20T10:05:00Z"),
        code: 107_404,
        noticed_at: at("2026-11-29T00:00:00Z"),
    }]
}

async fn parquet() -> Stage {
    Stage::parquet(&[&world(), &edit()], &vanished()).await
}

async fn postgres() -> Stage {
    Stage::postgres(&[&world(), &edit()], &vanished()).await
}

async fn both() -> [Stage; 2] {
    [parquet().await, postgres().await]
}

fn integers(rows: &Value, name: &str) -> Vec<i64> {
    let integer =
        |value: &Value| value.as_i64().or_else(|| value.as_str()?.trim_start_matches('\'').parse().ok()).unwrap();
    rows.as_array().unwrap().iter().map(|row| integer(&row[name])).collect()
}

/// Everything in order: by conversation, time, ID.
const ALL: [i64; 11] = [101, 102, 103, 104, 105, 106, 301, 201, 202, 203, 204];
