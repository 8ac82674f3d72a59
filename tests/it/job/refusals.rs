//! Credentials, codes that end a run, and an API that is not there.

use serde_json::json;
use yunxin_archiver::simulator::{Fault, Rule};

use crate::support::site::{NIGHTLY, Site, dialogue, dialogues, ids_of};

#[test]
fn a_wrong_secret_costs_few_requests_and_no_reference() {
    let (refs, world) = dialogues(40, 5);
    let site = Site::nightly((refs.clone(), world));
    site.write_secret("secret", "not-the-secret");
    let ended = site.night().exits(4);
    assert!(site.api.stats().requests <= 8, "{}", site.api.stats().requests);
    assert_eq!((ended.refs("archived"), ended.refs("failed"), ended.refs("pending")), (0, 0, 200));
    assert_eq!(ended.job()["outcome"], "failed");
    let error = ended.job()["error"].as_str().unwrap();
    assert!(error.contains("414") && error.contains("AppSecret"), "{error}");
    assert!(!ended.stderr.contains("not-the-secret"));

    site.write_secret("secret", yunxin_archiver::simulator::APP_SECRET);
    let ended = site.night().exits(0);
    assert_eq!((ended.refs("resumed"), ended.refs("archived")), (200, 200));
    assert_eq!(site.ids("archive"), ids_of(&refs));
}

#[test]
fn a_single_reference_with_a_wrong_secret_stays_pending() {
    let site = Site::nightly(dialogue("alice|1|bob", 0..1));
    site.write_secret("secret", "not-the-secret");
    for night in 0..2 {
        let ended = site.night().exits(4);
        assert_eq!((ended.refs("failed"), ended.refs("pending")), (0, 1), "night {night}");
        assert_eq!(site.api.stats().requests, night + 1);
    }
    site.write_secret("secret", yunxin_archiver::simulator::APP_SECRET);
    assert_eq!(site.night().exits(0).refs("archived"), 1);
}

#[test]
fn codes_about_the_app_end_the_run_and_leave_everything_pending() {
    let site = Site::nightly(dialogues(10, 3));
    for code in [301, 315, 403, 422, 997, 101_301, 101_302, 101_303, 101_403] {
        site.api.reset_stats();
        site.api.faults(|faults| faults.rules = vec![Rule::chance(Fault::Code(code), 1.0)]);
        let ended = site.night().exits(4);
        assert_eq!((ended.refs("archived"), ended.refs("failed"), ended.refs("pending")), (0, 0, 30), "{code}");
        assert_eq!(site.api.stats().requests, 1, "{code}");
        assert!(ended.job()["error"].as_str().unwrap().contains(&code.to_string()), "{ended:?}");
    }
    site.api.faults(|faults| faults.rules.clear());
    assert_eq!(site.night().exits(0).refs("archived"), 30);
}

#[test]
fn an_app_that_the_api_does_not_know_is_refused() {
    let site = Site::nightly(dialogues(3, 3));
    let config = site.read("jobs.yaml").replace(yunxin_archiver::simulator::APP_KEY, "no-such-app");
    site.write("jobs.yaml", config);
    let ended = site.night().exits(4);
    assert!(ended.job()["error"].as_str().unwrap().contains("101303"), "{ended:?}");
}

#[test]
fn nothing_is_given_up_but_the_run_when_the_api_is_not_there() {
    let site = Site::nightly(dialogues(4, 5));
    site.jobs(
        "nightly: { app: main, source: { csv: { path: refs.csv } }, fetch: { attempts: 1000, give_up_after: 200ms }, \
         sink: { parquet: { path: archive } } }",
    );
    site.api.faults(|faults| faults.rules = vec![Rule::chance("http 503".parse().unwrap(), 1.0)]);
    let ended = site.night().exits(1);
    assert_eq!((ended.refs("archived"), ended.refs("failed"), ended.refs("pending")), (0, 0, 20));
    let error = ended.job()["error"].as_str().unwrap();
    assert!(error.contains("HTTP 503") || error.contains("503"), "{error}");
    site.api.faults(|faults| faults.rules.clear());
    assert_eq!(site.night().exits(0).refs("archived"), 20);
}

#[test]
fn attempts_that_are_used_up_are_a_failure_that_the_next_night_repairs() {
    let site = Site::nightly(dialogue("alice|1|bob", 0..5));
    site.jobs(
        "nightly: { app: main, source: { csv: { path: refs.csv } }, fetch: { attempts: 2 }, \
         sink: { parquet: { path: archive } } }",
    );
    site.api.faults(|faults| faults.script.extend([Fault::Code(500), Fault::Reset]));
    let ended = site.night().exits(3);
    assert_eq!(ended.job()["failures"], json!({ "transport": 5 }));
    assert_eq!((ended.refs("failed"), ended.requests("retried")), (5, 1));
    let ended = site.night().exits(0);
    assert_eq!((ended.refs("duplicate"), ended.refs("retried"), ended.refs("archived")), (5, 5, 5));
    assert!(site.failures("nightly").is_empty());
}

#[test]
fn faults_on_the_way_cost_attempts_and_no_reference() {
    let (refs, world) = dialogues(30, 4);
    let site = Site::nightly((refs.clone(), world));
    site.api.faults(|faults| {
        faults.unordered = true;
        for fault in ["500", "431", "reset", "truncate", "garbage", "html", "empty", "reset-mid", "http 500", "gzip"] {
            faults.script.push_back(fault.parse().unwrap());
            faults.script.push_back(Fault::Ok);
            faults.script.push_back(Fault::Ok);
        }
    });
    let ended = site.night().exits(0);
    assert_eq!(ended.refs("archived"), 120);
    assert_eq!(site.ids("archive"), ids_of(&refs));
    assert_eq!(ended.requests("sent"), 30 + ended.requests("retried"));
    assert_eq!(site.api.stats().repeated_traces, 0);
}

#[test]
fn secrets_that_are_missing_are_named_and_nothing_is_sent() {
    let site = Site::nightly(dialogue("alice|1|bob", 0..5));
    std::fs::remove_file(site.path("secret")).unwrap();
    let ended = site.night().exits(2);
    let error = ended.job()["error"].as_str().unwrap();
    assert!(error.contains("apps.main.app_secret") && error.contains("secret cannot be read"), "{error}");
    assert_eq!(ended.job()["run_id"], serde_json::Value::Null);
    let text = site.read("jobs.yaml").replace("file:secret", "env:NO_SUCH_VARIABLE");
    site.write("jobs.yaml", text);
    let ended = site.night().exits(2);
    assert!(ended.job()["error"].as_str().unwrap().contains("NO_SUCH_VARIABLE is not set"), "{ended:?}");
    assert_eq!(site.api.stats().requests, 0);
}

#[test]
fn of_several_jobs_the_gravest_code_counts_and_none_stops_the_rest() {
    let (refs, world) = dialogues(2, 3);
    let site = Site::nightly((refs, world));
    site.write_secret("wrong", "not-the-secret");
    let job = |name: &str, app: &str, source: &str| {
        format!(
            "{name}: {{ app: {app}, source: {{ csv: {{ path: {source} }} }}, sink: {{ parquet: {{ path: a-{name} }} }} }}\n"
        )
    };
    let apps = format!(
        "wrong: {{ app_key: {}, app_secret: 'file:wrong', endpoints: ['{}'], rate_limit: 2000 }}",
        yunxin_archiver::simulator::APP_KEY,
        site.api.url()
    );
    site.config(
        "jobs.yaml",
        &apps,
        &[job("absent", "main", "no-such.csv"), job("refused", "wrong", "refs.csv"), job("fine", "main", "refs.csv")]
            .concat(),
    );
    let ended = site.night().exits(4);
    let codes: Vec<_> =
        ended.summary["jobs"].as_array().unwrap().iter().map(|job| job["exit_code"].as_i64().unwrap()).collect();
    assert_eq!(codes, [2, 4, 0]);
    assert_eq!(site.ids("a-fine").len(), 6);
    let some = site.run(&["run", "fine", "absent", "--json"]).exits(2);
    assert_eq!(some.summary["jobs"][0]["job"], "fine", "in the order that was typed");
    site.run(&["run", "fine"]).exits(0);
    assert!(site.run(&["run", "fine", "fine"]).exits(2).stderr.contains("named twice"));
    assert!(site.run(&["run", "nobody"]).exits(2).stderr.contains("has no job \"nobody\""));
}

#[test]
fn what_the_job_tolerates_does_not_make_exit_3() {
    use yunxin_archiver::simulator::Fate;

    use crate::support::site::{message, reference};
    for (tolerate, code) in
        [("[]", 3), ("[107404]", 3), ("[107404, unanswered]", 0), ("[unavailable, unanswered]", 0), ("[unanswered]", 3)]
    {
        let (mut refs, mut world) = dialogue("alice|1|bob", 0..5);
        for (n, fate) in [(10, Fate::Missing), (11, Fate::Unanswered)] {
            world.insert(message("alice|1|bob", n).fate(fate));
            refs.push(reference("alice|1|bob", n));
        }
        let site = Site::nightly((refs, world));
        site.jobs(&NIGHTLY.replace(" sink:", &format!(" tolerate: {tolerate}, sink:")));
        let ended = site.night().exits(code);
        assert_eq!(ended.job()["outcome"], if code == 0 { "complete" } else { "partial" });
        assert_eq!(ended.job()["failures"], json!({ "unavailable": 1, "unanswered": 1 }));
        assert_eq!(site.failures("nightly").len(), 2, "they are recorded all the same");
    }
}
