//! Which messages are exported: by conversation, account and time, with their threads, out of which files.

use super::*;

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
