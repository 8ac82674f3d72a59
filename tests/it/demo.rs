//! The demo: the first thing that anybody sees.

use std::process::Command;

use crate::support::site::names;

#[test]
fn the_demo_shows_a_whole_job_and_a_second_one_sends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let demo = |expected: i32| {
        let output = Command::new(env!("CARGO_BIN_EXE_yunxin-archiver"))
            .args(["demo", "here"])
            .current_dir(dir.path())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(expected), "{text}{said}");
        (text, said)
    };
    let (text, said) = demo(0);
    assert!(said.contains("demo: 20,000 references in here/refs.csv"), "{said}");
    for line in [
        "read           20,000",
        "invalid            12",
        "duplicate          68",
        "accepted       19,920",
        "archived       19,624   messages in 30 files",
        "failed            296   236 unavailable, 60 unanswered",
        "pending             0",
        "at least 362 are needed; 183 asked under another owner",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    // The READMEs show this output.
    for readme in [include_str!("../../README.md"), include_str!("../../README.zh-CN.md")] {
        let shown = readme.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
        let counts = shown.lines().filter(|line| line.starts_with("  ") && !line.contains("second"));
        for line in counts.take_while(|line| !line.contains("date=")) {
            assert!(text.contains(&line.replace("demo/", "here/")), "{line:?} is not in\n{text}");
        }
    }
    // Everything that it says to type next works.
    let typed: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("  yunxin-archiver "))
        .filter(|line| line.starts_with("-c"))
        .collect();
    assert_eq!(typed.len(), 4);
    for line in typed {
        let words: Vec<&str> = line.split("   ").next().unwrap().split(' ').collect();
        let output =
            Command::new(env!("CARGO_BIN_EXE_yunxin-archiver")).args(words).current_dir(dir.path()).output().unwrap();
        assert!(output.status.success(), "{line}");
        let said = [output.stdout, output.stderr].concat();
        assert!(!said.is_empty(), "{line}");
    }
    assert_eq!(
        names(&dir.path().join("here")),
        ["archive", "jobs.yaml", "refs.csv", "secret", "state", "summary.json"]
    );
    let (again, _) = demo(0);
    assert!(again.contains("duplicate      19,988") && again.contains("  0 requests"), "{again}");
    // A directory that holds something else is left alone.
    std::fs::remove_file(dir.path().join("here/jobs.yaml")).unwrap();
    let (_, said) = demo(2);
    assert!(said.contains("here is not empty and not a demo"), "{said}");
}
