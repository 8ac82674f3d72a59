//! Failures are corrected with the tools that people have, and fed back: no ID loses a digit on the way.

use std::path::Path;
use std::process::Command;

use yunxin_archiver::simulator::World;

use crate::support::site::{Ended, NIGHTLY, Ref, Site, csv, id, message, reference, time};

/// Twenty messages whose references are a millisecond off, and beside each ID the messages that rounding would ask for.
fn site() -> Site {
    let mut world = World::explicit();
    let refs: Vec<Ref> = (0..20)
        .map(|n| {
            // About 550 billion apart: beyond 2^53, and never a multiple of 2^n.
            let id = id(n * 549_072_191_983 + 1);
            for rounded in [id as f64 as i64, id / 100 * 100, id / 1000 * 1000].into_iter().filter(|near| *near != id) {
                world.insert(yunxin_archiver::simulator::Message::text("alice|1|bob", rounded, time(n), "a stranger"));
            }
            world.insert(yunxin_archiver::simulator::Message::text("alice|1|bob", id, time(n), "meant"));
            ("alice|1|bob".to_owned(), id, time(n) + 1)
        })
        .collect();
    let site = Site::nightly((refs, world));
    site.night().exits(3);
    assert_eq!(site.failures("nightly").len(), 20);
    site
}

/// Runs what the documentation says, with the binary in the path.
fn shell(site: &Site, script: &str) {
    let directory = Path::new(env!("CARGO_BIN_EXE_yunxin-archiver")).parent().unwrap();
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
    let output =
        Command::new("sh").args(["-ec", script]).current_dir(site.path("")).env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
}

fn all_are_there(site: &Site, ended: &Ended, meant: &[i64]) {
    assert_eq!((ended.refs("accepted"), ended.refs("archived")), (20, 20));
    assert!(site.failures("nightly").is_empty());
    assert_eq!(site.ids("archive"), meant, "nothing but what was referenced");
}

#[test]
fn failures_that_went_through_jq_close_and_nothing_else_is_archived() {
    let site = site();
    let meant: Vec<i64> = site.failures("nightly").into_keys().collect();
    // A row that is no reference has no time to correct, and stays what it is.
    site.write("refs.csv", site.read("refs.csv") + "alice|1|bob,,\n");
    site.night().exits(3);
    let same = NIGHTLY.replace("csv: { path: refs.csv }", "jsonl: { path: corrected.jsonl }");
    site.config("corrections.yaml", "", &same);
    let documentation = include_str!("../../../docs/failures.md");
    let recipe = documentation.split("```sh\n").find(|block| block.contains(".create_time -= 1")).unwrap();
    let recipe = recipe.split("```").next().unwrap();
    let (jq, run) = recipe.split_once("\nyunxin-archiver ").unwrap();
    shell(&site, jq);
    let arguments: Vec<&str> = run.split_whitespace().chain(["--json"]).collect();
    let ended = site.run(&arguments).exits(0);
    assert_eq!((ended.refs("accepted"), ended.refs("archived"), ended.refs("invalid")), (20, 20, 0));
    let left = site.failure_lines("nightly");
    assert_eq!((left.len(), &left[0]["class"]), (1, &serde_json::Value::from("invalid")), "{left:?}");
    assert_eq!(site.ids("archive"), meant, "nothing but what was referenced");
}

#[test]
fn failures_that_went_through_a_spreadsheet_close_and_nothing_else_is_archived() {
    let site = site();
    let meant: Vec<i64> = site.failures("nightly").into_keys().collect();
    let listed = site.run(&["failures", "nightly", "--format", "csv"]).exits(0).stdout;
    // What a spreadsheet does: a cell of digits is a number of fifteen, anything else is text.
    let mut rows = csv::Reader::from_reader(listed.as_bytes());
    let mut saved = csv::Writer::from_writer(Vec::new());
    let header = rows.headers().unwrap().clone();
    saved.write_record(&header).unwrap();
    let place = |name: &str| header.iter().position(|column| column == name).unwrap();
    for row in rows.records() {
        let cell = |cell: &str| match cell.parse::<f64>() {
            Ok(number) => format!("{}", format!("{number:.14e}").parse::<f64>().unwrap()),
            Err(_) => cell.to_owned(),
        };
        let mut cells: Vec<String> = row.unwrap().iter().map(cell).collect();
        let time = &mut cells[place("create_time")];
        *time = (time.parse::<i64>().unwrap() - 1).to_string();
        saved.write_record(&cells).unwrap();
    }
    site.write("refs.csv", saved.into_inner().unwrap());
    all_are_there(&site, &site.night().exits(0), &meant);
}

#[test]
fn no_output_has_an_id_as_a_number_of_json() {
    let site = site();
    // One archived message, one that nobody has asked for.
    site.api.world(|world| world.insert(message("alice|1|bob", 5)));
    let mut refs: Vec<Ref> = vec![reference("alice|1|bob", 5)];
    site.write("refs.csv", csv(&refs));
    site.night().exits(0);
    refs.push(reference("alice|1|bob", 6));
    site.write("refs.csv", csv(&refs));
    site.run(&["verify", "nightly", "--against", "nightly", "--absent", "absent.jsonl"]).exits(1);
    site.run(&["export", "nightly", "--all", "--format", "jsonl", "-o", "lines"]).exits(0);
    site.run(&["export", "nightly", "--all", "--format", "csv", "-o", "tables"]).exits(0);
    let outputs = [
        site.read("state/failures-nightly.jsonl"),
        site.run(&["failures", "nightly", "--format", "jsonl"]).exits(0).stdout,
        site.read("absent.jsonl"),
        site.run(&["verify", "nightly", "--against", "nightly", "--json"]).exits(1).stdout,
        site.run(&["verify", "nightly", "--json"]).exits(0).stdout,
        site.run(&["status", "--json"]).exits(0).stdout,
        site.run(&["plan", "--json"]).exits(0).stdout,
        site.run(&["files", "nightly", "--json"]).exits(0).stdout,
        site.run(&["run", "--json"]).stdout,
        site.read("lines/messages.jsonl"),
    ];
    for output in &outputs {
        let values: Vec<serde_json::Value> =
            serde_json::Deserializer::from_str(output).into_iter().map(Result::unwrap).collect();
        let mut rest: Vec<&serde_json::Value> = values.iter().collect();
        while let Some(value) = rest.pop() {
            match value {
                serde_json::Value::Array(items) => rest.extend(items),
                serde_json::Value::Object(members) => rest.extend(members.values()),
                serde_json::Value::Number(number) => {
                    assert!(number.as_f64().unwrap().abs() < (1_i64 << 53) as f64, "{number} in {output}");
                }
                _ => {}
            }
        }
    }
    assert!(outputs.iter().filter(|output| output.contains(&format!("\"{}\"", id(5)))).count() == 1, "as text");
    assert!(site.read("tables/messages.csv").contains(&format!(",'{},", id(5))));
    // What is written of absent references is read in the same form.
    site.write("refs.csv", csv(&refs[..1]));
    site.jobs(&NIGHTLY.replace("csv: { path: refs.csv }", "jsonl: { path: absent.jsonl }"));
    assert_eq!(site.night().refs("read"), 1);
}

#[test]
fn a_cursor_beyond_2_to_the_53_is_told_as_text() {
    let site = Site::new(World::any());
    let database = site.path("refs.db");
    let made = "create table refs (conversation_id text, message_server_id integer, create_time integer);\
                insert into refs values ('a|1|b', 158844553334358019, 1790899200007);";
    let status = Command::new("python3")
        .args(["-c", "import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.argv[2])"])
        .arg(&database)
        .arg(made)
        .status()
        .unwrap();
    assert!(status.success());
    let query = "sqlite: { path: refs.db, query: 'select * from refs where message_server_id > :after', \
                 cursor: { column: message_server_id } }";
    site.jobs(&NIGHTLY.replace("csv: { path: refs.csv }", query));
    site.night();
    let status = site.run(&["status", "--json"]).exits(0);
    assert_eq!(status.summary["jobs"][0]["cursor"]["value"]["integer"], "158844553334358019", "{}", status.stdout);
}
