//! What each format holds and looks like, also when texts are hostile and conversations are long.

use sqlx::{Connection as _, Executor as _};

use super::*;

/// An archive that an earlier version made, and no run has migrated since, lacks the columns that came later.
#[tokio::test]
async fn columns_that_an_archive_lacks_are_exported_as_null() {
    let stage = postgres().await;
    let url = std::fs::read_to_string(stage.path("url")).unwrap();
    let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
    connection
        .execute(
            "alter table messages drop column new_member_visible, drop column extension, drop column modify_time; \
             alter table message_revisions drop column raw, drop column thread_reply_create_time",
        )
        .await
        .unwrap();
    let lines = &stage.export(&["--all", "--format", "jsonl"]).1["messages.jsonl"];
    assert_eq!(integers(lines, "message_server_id"), ALL);
    for line in lines.as_array().unwrap() {
        for name in ["new_member_visible", "extension", "modify_time", "raw", "thread_reply_create_time"] {
            assert_eq!(line.get(name), Some(&Value::Null), "{line}");
        }
    }
}

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
        // Of text JSON readers and spreadsheets keep every digit.
        assert_eq!((&lines[0]["message_server_id"], &lines[0]["team_id"]), (&json!("101"), &Value::Null));
        assert_eq!(tables["messages.csv"][0]["message_server_id"], "'101");
        assert_eq!(tables["messages.csv"][1]["vanished_code"], "107404");
        assert_eq!(integers(&tables["earlier.csv"], "message_server_id"), [104]);

        let files = all("parquet");
        let mut versions = ALL.to_vec();
        versions.insert(3, 104);
        assert_eq!(integers(&files["messages.parquet"]["rows"], "message_server_id"), versions);
        assert_eq!(integers(&files["vanished.parquet"]["rows"], "message_server_id"), [102]);
        let columns = files["messages.parquet"]["schema"].as_array().unwrap();
        let names: Vec<&str> = columns.iter().map(|column| column[0].as_str().unwrap()).collect();
        assert_eq!(names, yunxin_archiver::archive::parquet::schema::names(true).collect::<Vec<_>>());

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
        assert_eq!(parts(1)["tag"], "vanished, noticed 2026-11-29 08:00:00");
        assert_eq!(parts(3)["text"], "the second words");
        assert_eq!(parts(3)["tag"], "edited 2026-11-21 18:02:00");
        assert!(parts(3)["earlier"].as_str().unwrap().contains("the first words"));
        assert!(parts(4)["file"].as_str().unwrap().contains("合同.jpg 123.5 kB, 2 × 3"));
        // No number is rounded or written in another way.
        for number in ["\"amount\": 1.50", "\"order\": 20261122000000000001"] {
            assert!(parts(5)["json"].as_str().unwrap().contains(number), "{}", parts(5));
        }
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
        assert!(events[5]["body"].as_str().unwrap().contains("\"order\": 20261122000000000001"), "{}", events[5]);
        assert!(slices["c00003/2026-11-20.rsmf"]["text"].as_str().unwrap().contains("carol: who comes?"));
    }
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
