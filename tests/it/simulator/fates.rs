//! What is answered of each message: its fate, to whom it shows, what else the answer holds.

use yunxin_archiver::simulator::{Echo, Fate, Quirk};

use super::*;

#[tokio::test]
async fn every_fate_is_answered_as_documented() {
    let mut world = hello();
    let message = |id| Message::text("alice|1|bob", id, TIME, "x");
    world.extend([
        message(1).fate(Fate::Missing),
        message(2).fate(Fate::Failed(398)),
        message(3).fate(Fate::Unanswered),
        message(4).fate(Fate::Poison),
        message(5).fate(Fate::Refused(404)),
    ]);
    let service = serve(world);
    let ask = async |references: &[(i64, i64)]| Call::new("alice|1|bob", references).ask(&service).await;
    let answer = ask(&[(1, TIME), (2, TIME), (3, TIME), (ID, TIME), (99, TIME)]).await;
    assert_eq!(ids(&answer), (vec![ID], vec![1, 2, 99]));
    let failed = list(&answer, "failed_list");
    assert_eq!(
        failed[0],
        json!({"message_server_id": 1, "create_time": TIME, "error_code": 107_404, "error_msg": "message not exist"})
    );
    assert_eq!(failed[1]["error_code"], 398);
    let wrong_time = ask(&[(ID, TIME + 1)]).await;
    assert_eq!(ids(&wrong_time), (vec![], vec![ID]), "the time must be exact");
    assert_eq!(ask(&[(ID, TIME), (4, TIME)]).await, json!({"code": 414, "msg": "parameter error", "data": {}}));
    assert_eq!(ask(&[(5, TIME), (ID, TIME)]).await["code"], 404);
    let stats = service.stats();
    assert_eq!((stats.messages, stats.failed, stats.references), (1, 4, 10));
}

#[tokio::test]
async fn some_messages_and_conversations_show_to_one_owner_only() {
    let mut world = World::explicit();
    world.insert(Message::text("alice|1|bob", 1, TIME, "x").seen_by(["Bob"], Fate::Missing));
    world.insert(Message::text("alice|1|bob", 2, TIME, "x").seen_by(["alice"], Fate::Unanswered));
    world.insert(Message::text("alice|2|77", 3, TIME, "x"));
    world.refuse("alice|2|77", 109_404);
    let service = serve(world);
    let both = [(1, TIME), (2, TIME)];
    assert_eq!(ids(&Call::new("alice|1|bob", &both).ask(&service).await), (vec![2], vec![1]));
    assert_eq!(ids(&Call::new("bob|1|alice", &both).ask(&service).await), (vec![1], vec![]));
    assert_eq!(Call::new("Alice|2|77", &[(3, TIME)]).code(&service).await, 109_404);
    assert_eq!(ids(&Call::new("carol|2|77", &[(3, TIME)]).ask(&service).await), (vec![3], vec![]));
    service.world(|world| world.allow("alice|2|77"));
    assert_eq!(Call::new("alice|2|77", &[(3, TIME)]).code(&service).await, 200);
}

#[tokio::test]
async fn answers_can_hold_more_than_was_asked() {
    let mut world = World::explicit();
    let message = |id| Message::text("alice|1|bob", id, TIME, "x");
    world.insert(message(10).echo(Echo::Twice));
    world.insert(message(20).echo(Echo::Stranger));
    world.insert(message(30).echo(Echo::BothLists));
    world.insert(message(40).quirk(Quirk::Undecodable));
    let service = serve(world);
    let references = [(10, TIME), (20, TIME), (30, TIME), (40, TIME)];
    let answer = Call::new("alice|1|bob", &references).ask(&service).await;
    assert_eq!(ids(&answer), (vec![10, 10, 20, 21, 30], vec![30]));
    assert_eq!(list(&answer, "success_list")[5]["message_server_id"], json!({"id": 1}));
    service.faults(|faults| faults.unordered = true);
    let shuffled = Call::new("alice|1|bob", &references).ask(&service).await;
    assert_ne!(list(&shuffled, "success_list"), list(&answer, "success_list"));
    assert_eq!(ids(&shuffled).0.len(), 5);
}

#[tokio::test]
async fn what_json_text_cannot_pass_through_a_value_arrives_untouched() {
    let mut world = hello();
    world.insert(Message::text("alice|1|bob", 7, TIME, "").quirk(Quirk::LoneSurrogate).field("odd", "1.00e5"));
    let service = serve(world);
    let text = Call::new("alice|1|bob", &[(7, TIME)]).send(&service).await.text().await.unwrap();
    assert!(text.contains(r#""text":"cut \ud83d""#) && text.contains(r#""odd":1.00e5"#), "{text}");
}

#[tokio::test]
async fn a_message_that_is_older_than_the_retention_does_not_exist() {
    let now = jiff::Timestamp::now().as_millisecond();
    let (old, young) = (now - 7 * 86_400_000 - 60_000, now - 7 * 86_400_000 + 3_600_000);
    let service = serve(World::any());
    service.world(|world| world.retention_ms = 7 * 86_400_000);
    let answer = Call::new("alice|1|bob", &[(1, old), (2, young)]).ask(&service).await;
    assert_eq!(ids(&answer), (vec![2], vec![1]));
    assert_eq!(list(&answer, "failed_list")[0]["error_code"], 107_404);
    service.world(|world| world.retention_ms = 0);
    assert_eq!(ids(&Call::new("alice|1|bob", &[(1, old)]).ask(&service).await), (vec![1], vec![]));
}
