//! Nobody answers: that is no failure of any reference.

use std::net::TcpListener;

use serde_json::json;
use yunxin_archiver::simulator::{Fault, Hook, Rule};

use crate::support::site::{Site, dialogue, dialogues, ids_of};

/// A job that tries each batch but once, as far as attempts count.
fn job(fetch: &str) -> String {
    format!(
        "nightly: {{ app: main, source: {{ csv: {{ path: refs.csv }} }}, fetch: {{ {fetch} }}, \
         sink: {{ parquet: {{ path: archive }} }} }}"
    )
}

/// The site's configuration with other endpoints.
fn at(site: &Site, endpoints: &[&str]) {
    let here = format!("'{}'", site.api.url());
    let there: Vec<String> = endpoints.iter().map(|url| format!("'{url}'")).collect();
    site.write("jobs.yaml", site.read("jobs.yaml").replace(&here, &there.join(", ")));
}

#[test]
fn whatever_keeps_everybody_from_answering_leaves_every_reference_pending() {
    // Nobody listens; somebody listens and says nothing.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("127.0.0.1:{}", nobody.local_addr().unwrap().port());
    drop(nobody);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("127.0.0.1:{}", silent.local_addr().unwrap().port());
    let fetch = "attempts: 1, give_up_after: 400ms, timeout: 200ms";
    for (endpoints, fault) in [
        (vec![format!("http://{nowhere}")], None),
        (vec![format!("http://{nowhere}"), format!("http://{silent}")], None),
        (vec![format!("https://{silent}")], None),
        (vec!["https://api.yunxin.invalid".to_owned()], None),
        (vec![], Some("reset")),
        (vec![], Some("close")),
        (vec![], Some("stall")),
        (vec![], Some("not-http")),
    ] {
        let (refs, world) = dialogues(8, 3);
        let site = Site::nightly((refs.clone(), world));
        site.jobs(&job(fetch));
        let right = site.read("jobs.yaml");
        if let Some(fault) = fault {
            site.api.faults(|faults| faults.rules = vec![Rule::chance(fault.parse().unwrap(), 1.0)]);
        } else {
            at(&site, &endpoints.iter().map(String::as_str).collect::<Vec<_>>());
        }
        let ended = site.night().exits(1);
        let counts = ["archived", "failed", "pending"].map(|name| ended.refs(name));
        assert_eq!(counts, [0, 0, 24], "{endpoints:?} {fault:?}: {ended:?}");
        let error = ended.job()["error"].as_str().unwrap();
        assert!(error.contains("no endpoint has given a usable answer since"), "{error}");
        let times = &error[error.find("since").unwrap()..error.find("; the last error").unwrap()];
        assert!(!times.contains('.'), "nobody reads fractions of a second: {times}");
        site.write("jobs.yaml", right);
        site.api.faults(|faults| faults.rules.clear());
        assert_eq!(site.night().exits(0).refs("archived"), 24);
        assert_eq!(site.ids("archive"), ids_of(&refs));
    }
}

#[test]
fn forty_thousand_references_that_nobody_answers_are_all_pending() {
    let (refs, world) = dialogues(40_000, 1);
    let site = Site::nightly((refs, world));
    site.jobs(&job("give_up_after: 20s"));
    at(&site, &["http://127.0.0.1:9"]);
    let ended = site.night().exits(1);
    assert_eq!(["archived", "failed", "pending"].map(|name| ended.refs(name)), [0, 0, 40_000]);
}

#[test]
fn an_outage_that_begins_during_a_run_leaves_the_rest_pending() {
    for fault in [Fault::Reset, Fault::Stall] {
        let (refs, world) = dialogues(60, 3);
        let site = Site::nightly((refs.clone(), world));
        site.jobs(&job("give_up_after: 1s, timeout: 300ms"));
        site.api.faults(|faults| {
            let fault = fault.clone();
            faults.hook = Some(Hook::new(move |request| (request.sequence > 10).then(|| fault.clone())));
        });
        let ended = site.night().exits(1);
        assert_eq!(["archived", "failed", "pending"].map(|name| ended.refs(name)), [30, 0, 150], "{fault:?}");
        site.api.faults(|faults| faults.hook = None);
        assert_eq!(site.night().exits(0).refs("archived"), 150);
        assert_eq!(site.ids("archive"), ids_of(&refs));
    }
}

#[test]
fn an_outage_that_heals_costs_no_reference() {
    let (refs, world) = dialogues(30, 3);
    let site = Site::nightly((refs.clone(), world));
    site.jobs(&job("attempts: 1"));
    // Each batch is sent in vain some three times.
    site.api.faults(|faults| faults.script.extend(std::iter::repeat_n(Fault::Reset, 90)));
    let ended = site.night().exits(0);
    assert_eq!((ended.refs("archived"), ended.requests("retried")), (90, 90));
    assert_eq!(site.ids("archive"), ids_of(&refs));
}

#[test]
fn an_outage_is_said_once_while_it_lasts_and_when_it_is_over() {
    let (refs, world) = dialogues(30, 3);
    let site = Site::nightly((refs, world));
    site.jobs(&job("give_up_after: 4s"));
    site.answers(0, Fault::Reset);
    let mut night = site.start(&["run", "--json"]);
    night.wait_for_line("WARN");
    site.answers_all();
    let ended = night.end().exits(0);
    let said: Vec<&str> = ended.stderr.lines().filter(|line| line.contains("WARN")).collect();
    let [begins, ends] = said[..] else { panic!("{}", ended.stderr) };
    assert!(begins.contains("no endpoint has given a usable answer for 1 s: trying on; the run ends with exit 1 at 2"));
    assert!(begins.contains("the answer did not arrive"), "the last error: {begins}");
    assert!(ends.contains("an endpoint answers again after "), "{ends}");
}

#[test]
fn check_says_that_nobody_answers() {
    let site = Site::nightly(dialogues(1, 1));
    site.jobs(&job("give_up_after: 200ms"));
    at(&site, &["http://127.0.0.1:9"]);
    let ended = site.run(&["check", "--connect"]).exits(1);
    assert!(ended.stdout.contains("wrong: API: nobody answers: no connection"), "{}", ended.stdout);
}

#[test]
fn a_batch_that_alone_is_never_answered_fails_and_keeps_no_other_from_being_asked() {
    let (mut refs, world) = dialogues(60, 3);
    let site = Site::new(world);
    // The largest batch, and so the first.
    refs.extend(dialogue("heavy|1|bob", 1000..1010).0);
    site.write("refs.csv", crate::support::site::csv(&refs));
    site.jobs(&job("attempts: 3, concurrency: 1, give_up_after: 1m"));
    site.api.faults(|faults| {
        faults.latency_ms = 60;
        faults.hook = Some(Hook::new(|request| request.conversation_id.contains("heavy").then_some(Fault::Reset)));
    });
    let ended = site.night().exits(3);
    assert_eq!((ended.refs("archived"), &ended.job()["failures"]), (180, &json!({ "transport": 10 })));
    // Those sent before anything was answered do not count.
    assert!((2..10).contains(&ended.requests("retried")), "{ended:?}");
}

#[test]
fn what_a_gateway_answers_counts_as_an_attempt() {
    let site = Site::nightly(dialogues(3, 3));
    site.jobs(&job("attempts: 2"));
    site.api.faults(|faults| faults.rules = vec![Rule::chance("http 502".parse().unwrap(), 1.0)]);
    let ended = site.night().exits(3);
    assert_eq!((ended.refs("failed"), ended.requests("sent")), (9, 6));
}
