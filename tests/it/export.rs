//! Exports from both archives, read back by readers that are not ours.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use yunxin_archiver::message::Vanished;

use crate::support::export::{Sent, Stage, read};

const SCRIPT: &str = "<script>alert(1)</script><img src=x onerror=alert(2)>\" onmouseover='x' &amp; \u{202e}txt.exe";
const FORMULA: &str = "=HYPERLINK(\"http://evil.example\";\"x\")\n+1;@SUM(A1)";
const IMAGE: &str =
    r#"{"name":"合同","ext":"jpg","url":"https://files.example.com/a?b=1&c=2","size":123456,"w":2,"h":3}"#;
const CUSTOM: &str = r#"{"topic":"</pre><script>","by":"alice","amount":1.50}"#;

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
    let integer = |value: &Value| value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap();
    rows.as_array().unwrap().iter().map(|row| integer(&row[name])).collect()
}

/// Everything in order: by conversation, time, ID.
const ALL: [i64; 11] = [101, 102, 103, 104, 105, 106, 301, 201, 202, 203, 204];

#[tokio::test]
async fn every_format_holds_the_same_messages_from_either_archive() {
    for stage in both().await {
        let all = |format| stage.export(&["--all", "--format", format, "--timezone", "Asia/Shanghai"]).1;

        let lines = &all("jsonl")["messages.jsonl"];
        assert_eq!(integers(lines, "message_server_id"), ALL);
        let edited = &lines[3];
        assert_eq!((&edited["text"], &edited["revision"]), (&json!("the second words"), &json!(1)));
        assert_eq!(edited["earlier"][0]["text"], "the first words");
        assert_eq!(edited["create_time"], "2026-11-21T18:01:00.000+08:00");
        assert_eq!(lines[5]["text"], FORMULA);
        assert_eq!(lines[5]["attachment"]["topic"], "</pre><script>");
        assert_eq!(lines[9]["receiver_account_ids"], json!(["robert", "daniel"]));
        let gone = json!({ "noticed_at": "2026-11-29T08:00:00.000+08:00", "code": 107_404 });
        assert_eq!((&lines[1]["vanished"], &lines[2]["vanished"]), (&gone, &Value::Null));

        let tables = all("csv");
        assert_eq!(integers(&tables["messages.csv"], "message_server_id"), ALL);
        assert_eq!(tables["messages.csv"][1]["vanished_code"], "107404");
        assert_eq!(integers(&tables["earlier.csv"], "message_server_id"), [104]);

        let files = all("parquet");
        let mut versions = ALL.to_vec();
        versions.insert(3, 104);
        assert_eq!(integers(&files["messages.parquet"]["rows"], "message_server_id"), versions);
        assert_eq!(integers(&files["vanished.parquet"]["rows"], "message_server_id"), [102]);
        let columns = files["messages.parquet"]["schema"].as_array().unwrap();
        let names: Vec<&str> = columns.iter().map(|column| column[0].as_str().unwrap()).collect();
        assert_eq!(names, yunxin_archiver::sink::parquet::schema::names(true).collect::<Vec<_>>());

        let pages = all("html");
        let messages = |name: &str| pages[name]["messages"].as_array().unwrap().iter();
        let seen: Vec<i64> = ["c00001.html", "c00002.html", "c00003.html"]
            .into_iter()
            .flat_map(messages)
            .map(|message| message["id"].as_i64().unwrap())
            .collect();
        assert_eq!(seen, ALL);
        let parts = |n: usize| pages["c00001.html"]["messages"][n]["parts"].clone();
        assert_eq!(parts(1)["quote"], "Alice: 请 robert 看合同 第二行");
        assert_eq!(parts(1)["tag"], "vanished since, noticed 2026-11-29 08:00:00");
        assert_eq!(parts(3)["text"], "the second words");
        assert_eq!(parts(3)["tag"], "edited 2026-11-21 18:02:00");
        assert!(parts(3)["earlier"].as_str().unwrap().contains("the first words"));
        assert!(parts(4)["file"].as_str().unwrap().contains("合同.jpg 123.5 kB, 2 × 3"));
        let linked = pages["c00001.html"]["links"].as_array().unwrap();
        assert!(linked.contains(&json!("#m101")) && linked.contains(&json!("https://files.example.com/a?b=1&c=2")));

        let slices = all("rsmf");
        // In Shanghai, 18:00Z is the next day.
        let days = ["2026-11-20", "2026-11-21", "2026-11-22"].map(|day| format!("c00001/{day}.rsmf"));
        let mut events = Vec::new();
        for slice in days.iter().map(|name| &slices[name]) {
            assert_eq!(slice["wrong"], json!([]));
            events.extend(slice["manifest"]["events"].as_array().unwrap().clone());
        }
        assert_eq!(integers(&json!(events), "id"), ALL[..6]);
        assert_eq!((&events[1]["parent"], &events[1]["deleted"]), (&json!("101"), &json!(true)));
        assert_eq!(events[3]["edits"][0]["previous"], "the first words");
        assert_eq!(events[3]["edits"][0]["new"], "the second words");
        assert_eq!(events[2]["body"], SCRIPT);
        assert!(slices["c00003/2026-11-20.rsmf"]["text"].as_str().unwrap().contains("carol: who comes?"));
    }
}

#[tokio::test]
async fn the_manifest_tells_what_was_exported_from_where() {
    for (stage, kind) in both().await.iter().zip(["parquet", "postgres"]) {
        let (directory, seen) = stage.export(&[
            "--conversation",
            "ROBERT|1|alice",
            "--format",
            "csv",
            "--from",
            "2026-11-20",
            "--to",
            "2026-11-21",
        ]);
        let manifest = &seen["manifest"];
        assert_eq!(manifest["archive"]["kind"], kind);
        assert_eq!(manifest["selection"]["conversations"], json!(["1|alice|robert"]));
        assert_eq!(manifest["selection"]["to"], "2026-11-22T00:00:00.000Z");
        let counts = &manifest["counts"];
        assert_eq!((&counts["messages"], &counts["edited"], &counts["vanished"]), (&json!(5), &json!(1), &json!(1)));
        if kind == "parquet" {
            assert_eq!(manifest["archive"]["head"]["sequence"], 2);
            let head = manifest["archive"]["head"]["file"].as_str().unwrap();
            let content = std::fs::read(stage.root().join(head)).unwrap();
            assert_eq!(manifest["archive"]["head"]["sha256"], hex::encode(Sha256::digest(content)));
        } else {
            assert_eq!(manifest["archive"]["commit"], 2);
            assert!(!manifest.to_string().contains("hunter2"));
        }
        for file in manifest["files"].as_array().unwrap() {
            let content = std::fs::read(directory.join(file["path"].as_str().unwrap())).unwrap();
            assert_eq!(file["bytes"], content.len());
            assert_eq!(file["sha256"], hex::encode(Sha256::digest(content)));
        }
        assert_eq!(std::fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
    }
}

#[tokio::test]
async fn a_selection_is_by_conversation_account_and_time() {
    for stage in both().await {
        assert_eq!(stage.ids(&["--conversation", "robert|1|alice"]), ALL[..6]);
        assert_eq!(
            stage.ids(&["--conversation", "2|77", "--conversation", "daniel|1|CAROL"]),
            [301, 201, 202, 203, 204]
        );
        // The dialogue whole; of the team what robert sent, and what was targeted at robert.
        assert_eq!(stage.ids(&["--account", "ROBERT"]), [101, 102, 103, 104, 105, 106, 202, 203]);
        let list = stage.path("accounts");
        std::fs::write(&list, "\u{feff}daniel\r\n\n").unwrap();
        assert_eq!(stage.ids(&["--account", &format!("@{}", list.display())]), [301, 203]);
        assert_eq!(
            stage.ids(&["--all", "--from", "2026-11-21T09:01:00Z", "--to", "2026-11-21T10:01:00Z"]),
            [103, 203, 204]
        );
        // 18:00Z is two o'clock of the 22nd in Shanghai.
        let day = ["--all", "--timezone", "Asia/Shanghai", "--from", "2026-11-22", "--to", "2026-11-22"];
        assert_eq!(stage.ids(&day), [105, 106]);
        assert_eq!(stage.ids(&["--conversation", "nobody|1|robert"]), [0; 0]);
    }
}

#[tokio::test]
async fn thread_context_comes_along_and_is_marked() {
    for stage in both().await {
        assert_eq!(
            stage.ids(&["--account", "robert", "--threads", "--from", "2026-11-21"]),
            [103, 104, 105, 106, -201, 202, 203]
        );
        let arguments = ["--account", "robert", "--threads", "--from", "2026-11-21", "--format"];
        let with = |format| stage.export(&[&arguments[..], &[format]].concat()).1;
        let page = &with("html")["c00002.html"];
        assert_eq!(page["messages"][0]["parts"]["tag"], "thread context");
        assert_eq!(page["messages"][1]["parts"]["quote"], "carol: who comes?");
        assert_eq!(integers(&with("parquet")["context.parquet"]["rows"], "message_server_id"), [201]);
        assert_eq!(with("rsmf")["manifest"]["counts"]["context"], 1);
        let without = stage.export(&["--account", "robert", "--from", "2026-11-21", "--format", "html"]).1;
        let quote = without["c00002.html"]["messages"][0]["parts"]["quote"].as_str().unwrap();
        assert!(quote.contains("not part of this export") && !quote.contains("who comes"), "{quote}");
    }
}

#[tokio::test]
async fn only_files_that_a_manifest_names_are_read() {
    let stage = parquet().await;
    let named = glob::glob(&format!("{}/date=*/*.parquet", stage.root().display())).unwrap().next().unwrap().unwrap();
    std::fs::write(named.with_file_name("part-stray.parquet"), "no Parquet at all").unwrap();
    assert_eq!(stage.ids(&["--all"]), ALL);

    std::fs::remove_file(&named).unwrap();
    let into = stage.path("broken");
    let output = stage.try_export(&into, &["--all", "--format", "jsonl"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(named.file_name().unwrap().to_str().unwrap()), "{said}");
    assert!(!into.exists());
    let left: Vec<_> = std::fs::read_dir(stage.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("broken")), "{left:?}");
}

#[tokio::test]
async fn hostile_texts_stay_texts() {
    let stage = parquet().await;
    let pages = stage.export(&["--all", "--format", "html"]).1;
    for name in ["index.html", "c00001.html", "c00002.html", "c00003.html"] {
        let page = &pages[name];
        assert_eq!(page["errors"], json!([]), "{name}");
        for tag in page["tags"].as_array().unwrap() {
            assert!(!["script", "img", "iframe", "object", "link", "form"].contains(&tag.as_str().unwrap()), "{tag}");
        }
        for attribute in page["attributes"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()) {
            assert!(!attribute.starts_with("on") && !["src", "style"].contains(&attribute), "{attribute}");
        }
        for link in page["links"].as_array().unwrap().iter().map(|link| link.as_str().unwrap()) {
            assert!(link.starts_with("https://") || !link.contains(':'), "{link}");
        }
        let policy = page["policy"].as_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    }
    let page = &pages["c00001.html"]["messages"];
    assert_eq!(page[2]["parts"]["text"], SCRIPT.replace('\u{202e}', "[U+202E]"));
    assert!(page[5]["parts"]["json"].as_str().unwrap().contains("</pre><script>"));

    let tables = stage.export(&["--all", "--format", "csv"]).1;
    let expected = "'=HYPERLINK(\"http://evil.example\";\"x\")\n'+1;'@SUM(A1)";
    assert_eq!(tables["messages.csv"][5]["text"], expected);
    for row in tables["messages.csv"].as_array().unwrap() {
        for (name, cell) in row.as_object().unwrap() {
            assert!(!cell.as_str().unwrap().starts_with(['=', '+', '-', '@', '\t', '\r']), "{name}: {cell}");
        }
    }
}

/// Everything that the files of an export hold, also inside what is packed, in lower case.
fn content(directory: &Path, seen: &Value) -> String {
    let mut content = seen.to_string();
    let mut directories = vec![directory.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            content.push_str(path.file_name().unwrap().to_str().unwrap());
            if path.is_dir() {
                directories.push(path);
            } else {
                content.push_str(&String::from_utf8_lossy(&std::fs::read(&path).unwrap()));
            }
        }
    }
    content.to_lowercase()
}

/// Redaction comes before every format and after either archive.
const FORMATS: [&[&str]; 2] = [&["html", "rsmf", "csv", "jsonl", "parquet"], &["jsonl"]];

#[tokio::test]
async fn what_is_redacted_is_nowhere_in_any_format() {
    let texts = ["alert(1)", "收到", "第二行", "first words", "second words", "hyperlink", "who comes", "between us"];
    let rest = ["files.example.com", "合同", "topic", "knows"];
    for (stage, formats) in both().await.iter().zip(FORMATS) {
        for format in formats {
            let arguments = ["--account", "robert", "--account", "daniel", "--threads", "--format", format];
            let (directory, seen) =
                stage.export(&[&arguments[..], &["--redact", "text,attachment,extension"]].concat());
            let content = content(&directory, &seen);
            for secret in texts.iter().chain(&rest) {
                assert!(!content.contains(&secret.to_lowercase()), "{format}: {secret}");
            }
            assert!(content.contains("redacted") && content.contains("alice"), "{format}");
            let fields = json!(["text", "attachment", "extension", "extra", "raw"]);
            assert_eq!(seen["manifest"]["redaction"]["fields"], fields);
        }
    }
}

#[tokio::test]
async fn pseudonyms_are_stable_and_leave_no_account_anywhere() {
    for (stage, formats) in both().await.iter().zip(FORMATS) {
        for &format in formats {
            let key = stage.path(&format!("{format}.key"));
            let (directory, seen) = stage.export(&[
                "--account",
                "robert",
                "--account",
                "daniel",
                "--threads",
                "--pseudonymise",
                "--format",
                format,
                "--key-out",
                key.to_str().unwrap(),
            ]);
            let content = content(&directory, &seen);
            for account in ["alice", "robert", "carol", "daniel"] {
                assert!(!content.contains(account), "{format}: {account}");
            }
            let kept = std::fs::read(&key).unwrap();
            assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(kept.len(), 65);
            assert!(!content.contains(std::str::from_utf8(&kept).unwrap().trim()));
            assert_eq!(seen["manifest"]["redaction"]["key_sha256"], hex::encode(Sha256::digest(&kept)));
            if format != "jsonl" {
                continue;
            }
            let lines = &seen["messages.jsonl"];
            let line = |id: i64| {
                lines.as_array().unwrap().iter().find(|line| line["message_server_id"] == id).unwrap().clone()
            };
            let (alice, robert) = (line(101)["sender_id"].clone(), line(102)["sender_id"].clone());
            let (alice, robert) = (alice.as_str().unwrap(), robert.as_str().unwrap());
            assert!(alice != robert && alice.starts_with("p_"), "{alice} {robert}");
            assert_eq!(line(103)["sender_id"], alice);
            assert_eq!(line(202)["sender_id"], robert);
            assert_eq!(line(203)["receiver_account_ids"][0], robert);
            assert_eq!(line(102)["thread_reply_sender_id"], alice);
            assert_eq!(line(102)["conversation_id"], format!("{alice}|1|{robert}"));
            let key = line(102)["conversation_key"].clone();
            assert!(key == format!("1|{alice}|{robert}") || key == format!("1|{robert}|{alice}"), "{key}");
            assert_eq!(line(101)["text"], format!("请 {robert} 看合同\n第二行"));
            assert_eq!(line(106)["attachment"]["by"], alice);
            assert_eq!(line(203)["conversation_key"], "2|77");
        }
    }
}

#[tokio::test]
async fn a_long_conversation_has_pages_that_lead_to_each_other() {
    let times: Vec<String> = (0..4_500_i64)
        .map(|n| jiff::Timestamp::from_millisecond(1_795_000_000_000 + n * 60_000).unwrap().to_string())
        .collect();
    let sent: Vec<Sent<'_>> = (0..4_500)
        .map(|n| Sent {
            id: n as i64 + 1,
            at: &times[n],
            sender: if n % 2 == 0 { "alice" } else { "robert" },
            text: "中文",
            conversation: "alice|1|robert",
            key: "1|alice|robert",
            answers: (n == 4_400).then_some((1, &times[0], "alice")),
            ..Sent::default()
        })
        .collect();
    let stage = Stage::parquet(&[&sent], &[]).await;
    let (_, seen) = stage.export(&["--all", "--format", "html"]);
    let pages = ["c00001.html", "c00001-2.html", "c00001-3.html"].map(|name| &seen[name]);
    assert_eq!(pages.map(|page| page["messages"].as_array().unwrap().len()), [2_000, 2_000, 500]);
    let leads = |page: usize, to: &str| pages[page]["links"].as_array().unwrap().contains(&json!(to));
    assert!(
        leads(0, "c00001-2.html") && leads(1, "c00001-3.html") && leads(2, "c00001-2.html") && leads(2, "index.html")
    );
    assert!(!leads(0, "c00001-3.html") && leads(2, "c00001.html#m1"));
    let index = seen["index.html"]["links"].as_array().unwrap();
    assert!(["c00001.html", "c00001-2.html", "c00001-3.html"].iter().all(|name| index.contains(&json!(name))));

    // A reviewer loads at most ten thousand events of one day.
    let slices = stage.export(&["--all", "--format", "rsmf"]).1;
    assert_eq!(slices["manifest"]["files"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn an_export_is_written_to_a_new_directory_and_says_what_is_wrong() {
    let stage = parquet().await;
    let into = stage.path("full");
    std::fs::create_dir(&into).unwrap();
    std::fs::write(into.join("x"), "x").unwrap();
    let refused = |into: &Path, arguments: &[&str], said: &str| {
        let output = stage.try_export(into, arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(said), "{error}");
    };
    refused(&into, &["--all", "--format", "csv"], "is not empty");
    assert_eq!(std::fs::read(into.join("x")).unwrap(), b"x");
    let new = stage.path("new");
    refused(&new, &["--all", "--format", "csv", "--from", "yesterday"], "2026-11-22T18:00:00+08:00");
    refused(&new, &["--conversation", "alice", "--format", "csv"], "alice|1|bob");
    refused(&new, &["--all", "--format", "csv", "--timezone", "Nowhere"], "Asia/Shanghai");
    refused(&new, &["--all", "--format", "csv", "--from", "2026-11-22", "--to", "2026-11-20"], "not before");
    let inside = new.join("key");
    let inside = ["--all", "--format", "csv", "--pseudonymise", "--key-out", inside.to_str().unwrap()];
    refused(&new, &inside, "must not get the key");
    refused(&new, &["--format", "csv"], "--all");
    assert!(!new.exists());

    let empty = stage.path("empty");
    std::fs::create_dir(&empty).unwrap();
    assert!(stage.try_export(&empty, &["--all", "--format", "jsonl"]).status.success());
    assert_eq!(read(&empty)["manifest"]["counts"]["messages"], 11);
}
