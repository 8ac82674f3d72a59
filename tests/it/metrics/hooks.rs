//! `hooks`: commands that get the summary.

use serde_json::Value;

use super::{site, spoil, tell};
use crate::support::site::{Site, dialogues, names};

/// Hooks that write what they get into files of their names, one each time.
const KEEP: &str = "hooks:
  success: [sh, -c, 'cat > success.json; echo said; echo wrong >&2']
  failure: [sh, -c, 'cat > failure.json']
  always: [sh, -c, 'cat >> always.json; echo >> always.json']";

#[test]
fn hooks_get_the_summary_and_their_output_goes_to_the_log() {
    let site = site();
    tell(&site, KEEP);
    let read = |name: &str| serde_json::from_str::<Value>(&site.read(name)).unwrap();
    let ended = site.night().exits(0);
    assert_eq!(read("success.json"), ended.summary);
    assert_eq!(read("always.json"), ended.summary);
    assert!(!names(&site.path("")).contains(&"failure.json".to_owned()));
    let line = |text: &str| ended.stderr.lines().any(|line| line.contains(text) && line.contains("hook=\"success\""));
    assert!(line("said") && line("wrong"), "{}", ended.stderr);

    spoil(&site);
    std::fs::remove_file(site.path("success.json")).unwrap();
    let ended = site.night().exits(3);
    assert_eq!(read("failure.json"), ended.summary);
    std::fs::remove_file(site.path("refs.csv")).unwrap();
    let ended = site.night().exits(2);
    assert_eq!(read("failure.json"), ended.summary);
    let retried = site.run(&["retry", "nightly", "--all", "--json"]);
    assert_eq!(site.read("always.json").lines().count(), 4);
    let last: Value = serde_json::from_str(site.read("always.json").lines().last().unwrap()).unwrap();
    assert_eq!(last, retried.summary);
}

#[test]
fn a_hook_that_fails_hangs_or_is_missing_is_a_warning_and_changes_no_exit_code() {
    let site = Site::nightly(dialogues(1, 3));
    let plain = site.read("jobs.yaml");
    for (hooks, warning) in [
        ("success: [sh, -c, 'exit 9']", "exit status: 9"),
        ("success: [no-such-program]", "no-such-program: No such file or directory"),
        ("success: [sleep, '600'], timeout: 100ms", "it took longer than 100ms, and was ended"),
        // What it has started is ended with it.
        ("success: [sh, -c, 'sleep 600 & wait'], timeout: 100ms", "it took longer than 100ms, and was ended"),
        ("success: [sh, -c, 'kill -9 $$']", "signal: 9"),
        ("success: [sh, -c, 'yes | head -5000; exit 1']", "it writes more than the log takes"),
    ] {
        site.write("jobs.yaml", &plain);
        tell(&site, &format!("hooks: {{ {hooks}, always: ['true'] }}"));
        let ended = site.night().exits(0);
        assert!(ended.stderr.contains(warning), "{hooks}: {}", ended.stderr);
    }
    // A command that leaves something running, which keeps its output open, has ended.
    site.write("jobs.yaml", &plain);
    tell(&site, "hooks: { success: [sh, -c, 'sleep 20 & echo left'] }");
    let ended = site.night().exits(0);
    assert!(ended.stderr.contains("left") && !ended.stderr.contains("the hook failed"), "{}", ended.stderr);
}

#[test]
fn a_hook_that_names_no_program_is_a_mistake() {
    let site = Site::nightly(dialogues(1, 3));
    tell(&site, "hooks: { success: ['', x], failure: echo }");
    let refused = site.run(&["check"]).exits(2).stderr;
    assert!(refused.contains("a list (`[a, b]`"), "{refused}");
    site.write("jobs.yaml", site.read("jobs.yaml").replace(", failure: echo", ""));
    let refused = site.run(&["check"]).exits(2).stderr;
    assert!(refused.contains("hooks.success[0]: names no program"), "{refused}");
}
