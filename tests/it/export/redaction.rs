//! What is redacted or pseudonymised is nowhere in any format.

use super::*;

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
                lines
                    .as_array()
                    .unwrap()
                    .iter()
                    .find(|line| line["message_server_id"] == json!(id.to_string()))
                    .unwrap()
                    .clone()
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
