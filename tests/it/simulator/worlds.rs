//! Worlds that are generated, read from a file, or the demo's.

use yunxin_archiver::simulator::{DemoWorld, ReferenceShape, start, write_references};

use super::*;

#[tokio::test]
async fn generated_references_are_all_found_and_nothing_else_is() {
    let mut csv = Vec::new();
    let shape = ReferenceShape { seed: 5, count: 900, conversations: 11, ..ReferenceShape::default() };
    write_references(&mut csv, &shape).unwrap();
    let settings = || Settings { seed: 5, rate_limit: 0, ..Settings::default() };
    let (service, twin) = (start(settings()).unwrap(), start(settings()).unwrap());
    let other = start(Settings { seed: 6, ..settings() }).unwrap();
    let csv = String::from_utf8(csv).unwrap();
    let mut batches = std::collections::BTreeMap::<&str, Vec<(i64, i64)>>::new();
    for line in csv.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        batches.entry(fields[0]).or_default().push((fields[1].parse().unwrap(), fields[2].parse().unwrap()));
    }
    for (conversation, references) in &batches {
        for references in references.chunks(100) {
            let text = Call::new(conversation, references).send(&service).await.text().await.unwrap();
            let again = Call::new(conversation, references).send(&twin).await.text().await.unwrap();
            assert_eq!(text, again, "the same seed gives the same bytes");
            let found = ids(&serde_json::from_str(&text).unwrap()).0;
            assert_eq!(found, references.iter().map(|reference| reference.0).collect::<Vec<_>>());
            assert!(ids(&Call::new(conversation, references).ask(&other).await).0.len() < 2);
        }
    }
    assert_eq!(service.stats().messages, 900);
    let (conversation, references) = batches.first_key_value().unwrap();
    let (id, time) = references[0];
    assert_eq!(ids(&Call::new(conversation, &[(id, time + 1)]).ask(&service).await), (vec![], vec![id]));
    let any = start(Settings { world: yunxin_archiver::simulator::Kind::Any, ..settings() }).unwrap();
    assert_eq!(ids(&Call::new("x|3|9", &[(id, time + 1)]).ask(&any).await), (vec![id], vec![]));
}

#[tokio::test]
async fn shares_of_a_generated_world_fail_or_are_odd() {
    let settings: Settings = serde_json::from_value(json!({
        "world": "any", "rate_limit": 0, "missing": 0.2, "unanswered": 0.1, "odd": 0.5, "count_asks": true,
    }))
    .unwrap();
    let service = start(settings).unwrap();
    for batch in 0..10 {
        let references: Vec<(i64, i64)> = (1..=100).map(|n| (batch * 100 + n, TIME)).collect();
        let text = Call::new("alice|2|77", &references).send(&service).await.text().await.unwrap();
        serde_json::from_str::<&serde_json::value::RawValue>(&text).unwrap();
    }
    let stats = service.stats();
    assert!((150..250).contains(&stats.failed), "{}", stats.failed);
    assert!((650..750).contains(&stats.messages), "{}", stats.messages);
    assert_eq!((stats.asks.len(), stats.log.len()), (1_000, 10));
    assert_eq!(stats.log[0], ("alice|2|77".to_owned(), 100));
}

#[tokio::test]
async fn a_world_is_read_from_json_lines() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("world.jsonl");
    let lines = [
        r#"{"conversation_id":"a|1|b","message_server_id":1,"create_time":5,"item":{"message_server_id":1,"text":"\ud83d"}}"#,
        r#"{"conversation_id":"a|1|b","message_server_id":2,"create_time":5,"fate":{"failed":404},"quirks":["edited"]}"#,
        "",
        r#"{"conversation_id":"a|1|b","message_server_id":3,"create_time":5,"seen_by":["b"],"hidden_as":"unanswered"}"#,
        r#"{"conversation_id":"a|2|7","refuse":108404}"#,
    ];
    std::fs::write(&path, lines.join("\n")).unwrap();
    let settings: Settings =
        serde_json::from_value(json!({"world": "explicit", "messages": path, "rate_limit": 0})).unwrap();
    let service = start(settings.clone()).unwrap();
    let text = Call::new("a|1|b", &[(1, 5), (2, 5), (3, 5)]).send(&service).await.text().await.unwrap();
    assert!(text.contains(r#"[{"message_server_id":1,"text":"\ud83d"}]"#), "{text}");
    assert!(text.contains("\"error_code\":404") && !text.contains("\"message_server_id\":3"), "{text}");
    assert_eq!(Call::new("a|2|7", &[(1, 5)]).code(&service).await, 108_404);

    std::fs::write(&path, "\n{\"conversation_id\":\"a|b\",\"refuse\":1}").unwrap();
    let error = start(settings).unwrap_err().to_string();
    assert!(error.contains("world.jsonl: line 2") && error.contains("owner|type|other"), "{error}");
}

#[tokio::test]
async fn the_demo_world_serves_what_its_file_asks_for() {
    let demo = DemoWorld::new(1, 1_795_392_000_000);
    let mut csv = Vec::new();
    demo.write_references(&mut csv).unwrap();
    let csv = String::from_utf8(csv).unwrap();
    assert_eq!(csv.lines().count() as u64, demo.expected().read + 1);
    let service = serve(demo.world());
    let team: Vec<(i64, i64)> = csv
        .lines()
        .filter(|line| line.contains("|2|4400000002,"))
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            (fields[1].parse().unwrap(), fields[2].parse().unwrap())
        })
        .collect();
    assert_eq!(team.len(), 60);
    assert_eq!(ids(&Call::new("team.lead|2|4400000002", &team).ask(&service).await).0.len(), 60);
    assert_eq!(Call::new("leaver|2|4400000002", &team).code(&service).await, 109_404);
}

#[test]
fn the_settings_and_messages_that_the_documentation_shows_are_read() {
    let documentation = include_str!("../../../docs/api.md");
    let messages = documentation.split("```json\n").find(|block| block.contains("\"seen_by\"")).unwrap();
    let messages = messages.split("```").next().unwrap();
    World::explicit().extend_from_json_lines(messages).unwrap();
    for settings in documentation.split('`').filter(|code| code.starts_with("{\"world\"")) {
        serde_json::from_str::<Settings>(settings).unwrap();
    }
    let rules = documentation.split('`').find(|code| code.starts_with("[{\"fault\"")).unwrap();
    serde_json::from_str::<Settings>(&format!("{{\"faults\": {{\"rules\": {rules}}}}}")).unwrap();
}
