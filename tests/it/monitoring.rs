//! The alerts, the dashboard and the runbook fit together, and name only metrics that there are.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use yunxin_archiver::metrics::{FAMILIES, Family};

use crate::documentation::{anchors, pages};

/// The labels that a metric has besides `job`.
fn labels(metric: &str) -> Vec<&'static str> {
    FAMILIES.iter().find(|family| family.name == metric).unwrap().label.into_iter().collect()
}

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(at(path)).unwrap()
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap()
}

fn dashboard() -> Value {
    serde_json::from_str(&read("deploy/grafana/yunxin-archiver.json")).unwrap()
}

/// Every value of a key, wherever it is.
fn values<'a>(key: &str, within: &'a Value, found: &mut Vec<&'a Value>) {
    match within {
        Value::Array(items) => items.iter().for_each(|item| values(key, item, found)),
        Value::Object(fields) => {
            found.extend(fields.get(key));
            fields.values().for_each(|item| values(key, item, found));
        }
        _ => {}
    }
}

fn texts(key: &str, within: &Value) -> Vec<String> {
    let mut found = Vec::new();
    values(key, within, &mut found);
    found.into_iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn rules() -> Vec<Value> {
    yaml("deploy/prometheus/alerts.yaml")["groups"][0]["rules"].as_array().unwrap().clone()
}

/// Names of our metrics in a text.
fn metrics(text: &str) -> BTreeSet<String> {
    let named = text
        .match_indices("yunxin_archiver_")
        .map(|(at, _)| text[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>());
    named.filter(|name| name != "yunxin_archiver_").collect()
}

fn promtool(arguments: &[&str], file: &Path) {
    let output = Command::new("promtool").args(arguments).arg(file).current_dir(file.parent().unwrap()).output();
    let output = output.expect("promtool, of Debian's package prometheus; tests/run.sh installs it");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("SUCCESS"), "{said}");
}

#[test]
fn alerts_fire_when_they_shall_and_not_otherwise() {
    promtool(&["check", "rules"], &at("deploy/prometheus/alerts.yaml"));
    promtool(&["check", "config"], &at("deploy/prometheus/prometheus.example.yaml"));
    promtool(&["test", "rules"], &at("deploy/prometheus/alerts_test.yaml"));
    let tests = yaml("deploy/prometheus/alerts_test.yaml");
    let mut cases = Vec::new();
    values("alert_rule_test", &tests, &mut cases);
    let cases: Vec<&Value> = cases.into_iter().flat_map(|cases| cases.as_array().unwrap()).collect();
    for rule in rules() {
        let of_rule = cases.iter().filter(|case| case["alertname"] == rule["alert"]);
        let (fires, stays): (Vec<&Value>, Vec<&Value>) =
            of_rule.copied().partition(|case| case["exp_alerts"].is_array());
        let both = !fires.is_empty() && (!stays.is_empty() || rule["expr"].as_str().unwrap().ends_with("== 3"));
        assert!(both, "{} is not tested both ways", rule["alert"]);
    }
}

#[test]
fn every_alert_has_its_section_in_the_runbook_and_every_section_its_alert() {
    let pages = pages();
    let operations = &pages[Path::new("docs/operations.md")];
    let runbook = operations.split("\n## ").find(|section| section.starts_with("Runbook\n")).unwrap();
    let sections: Vec<&str> = runbook.split("\n### ").skip(1).collect();
    let mut alerts = BTreeSet::new();
    for rule in rules() {
        let name = rule["alert"].as_str().unwrap().to_owned();
        let url = rule["annotations"]["runbook_url"].as_str().unwrap();
        assert_eq!(url, format!("docs/operations.md#{}", name.to_lowercase()));
        assert!(anchors(operations).contains(&name.to_lowercase()), "{name} has no section in the runbook");
        for key in ["summary", "description"] {
            assert!(rule["annotations"][key].as_str().unwrap().contains("{{ $labels.job }}"), "{name}: {key}");
        }
        alerts.insert(name);
    }
    let titles: BTreeSet<String> = sections.iter().map(|section| section.lines().next().unwrap().to_owned()).collect();
    assert_eq!(titles, alerts);
    for section in sections {
        for part in ["**Means.** ", "**Look at** ", "**Do**"] {
            assert!(section.contains(&format!("\n\n{part}")), "{part} is missing: {section}");
        }
    }
}

#[test]
fn alerts_and_dashboard_name_metrics_and_labels_that_there_are() {
    let known: BTreeSet<String> = FAMILIES.iter().map(|family| family.name.to_owned()).collect();
    let shown = metrics(&dashboard().to_string());
    assert_eq!(shown, known, "the dashboard shows every metric and no other");
    let mut queries = texts("expr", &dashboard());
    for file in ["deploy/prometheus/alerts.yaml", "deploy/prometheus/alerts_test.yaml"] {
        let named = metrics(&read(file));
        assert!(named.is_subset(&known), "{file}: {named:?}");
        queries.extend(texts("expr", &yaml(file)));
        queries.extend(texts("series", &yaml(file)));
    }
    for query in queries.iter().filter(|query| query.contains("yunxin_archiver_")) {
        let used = query.match_indices("yunxin_archiver_").flat_map(|(at, _)| {
            let name: String = query[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            let selector = query[at + name.len()..].strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let labels = selector.map(|(labels, _)| labels.to_owned()).unwrap_or_default();
            let labels: Vec<String> =
                labels.split(',').filter_map(|label| Some(label.split_once('=')?.0.trim().to_owned())).collect();
            labels.into_iter().map(move |label| (name.clone(), label))
        });
        for (name, label) in used {
            let of_metric = labels(&name);
            assert!(label == "job" || of_metric.contains(&label.as_str()), "{name} has no label {label}: {query}");
        }
        for grouped in query.split(" by (").skip(1) {
            let label = grouped.split(')').next().unwrap();
            let name = metrics(query).into_iter().next().unwrap();
            let of_metric = labels(&name);
            let there = label.split(", ").all(|label| label == "job" || of_metric.contains(&label));
            assert!(there, "{name} has no label {label}: {query}");
        }
    }
}

#[test]
fn the_dashboards_queries_are_valid_and_its_panels_have_their_places() {
    let dashboard = dashboard();
    let queries = texts("expr", &dashboard);
    assert!(queries.len() > 15, "{queries:?}");
    let rules = queries.iter().enumerate().map(
        |(n, query)| serde_json::json!({ "record": format!("panel:{n}"), "expr": query.replace("$job", "nightly") }),
    );
    let rules = serde_json::json!({ "groups": [{ "name": "panels", "rules": rules.collect::<Vec<_>>() }] });
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("panels.yaml");
    std::fs::write(&file, rules.to_string()).unwrap();
    promtool(&["check", "rules"], &file);
    let panels = dashboard["panels"].as_array().unwrap();
    let mut cells = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in panels {
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{panel}");
        for (x, y) in (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y))) {
            assert!(cells.insert((x, y)), "{} lies over another panel", panel["title"]);
        }
        assert!(ids.insert(panel["id"].as_u64().unwrap()));
        if panel["type"] != "row" {
            assert!(panel["description"].is_string(), "{}", panel["title"]);
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        }
    }
}

/// A TypeScript program that has the dashboard as a value of the types that Grafana publishes.
fn typed(dashboard: &Value) -> String {
    let raw = "@grafana/schema/dist/esm/raw";
    let mut program = format!(
        r#"import type {{ Dashboard }} from "{raw}/dashboard/x/dashboard_types.gen";
import type {{ Options as stat }} from "{raw}/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type {{ Options as table }} from "{raw}/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type {{ Options as timeseries, FieldConfig }} from "{raw}/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";
type Plain<T> = T extends string ? `${{T}}` : T extends number ? number : T extends (infer U)[] ? Plain<U>[]
  : T extends object ? {{ [K in keyof T]: Plain<T[K]> }} : T;
"#
    );
    // The types have no place for what the data source adds to an annotation.
    let mut dashboard = dashboard.clone();
    for key in ["expr", "titleFormat", "textFormat", "step"] {
        dashboard["annotations"]["list"][0].as_object_mut().unwrap().remove(key).unwrap();
    }
    program.push_str(&format!("export const dashboard: Plain<Dashboard> = {dashboard};\n"));
    for panel in dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row") {
        let (id, kind) = (&panel["id"], panel["type"].as_str().unwrap());
        program.push_str(&format!("export const options{id}: Plain<Partial<{kind}>> = {};\n", panel["options"]));
        if kind == "timeseries" {
            let custom = &panel["fieldConfig"]["defaults"]["custom"];
            program.push_str(&format!("export const custom{id}: Plain<FieldConfig> = {custom};\n"));
        }
    }
    program
}

#[test]
fn the_dashboard_is_of_the_types_that_grafana_publishes() {
    let modules = at("target/grafana/node_modules");
    if !modules.is_dir() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(&modules, directory.path().join("node_modules")).unwrap();
    let check = |dashboard: &Value| {
        std::fs::write(directory.path().join("dashboard.ts"), typed(dashboard)).unwrap();
        let options = "--noEmit --strict --skipLibCheck --target es2020 --moduleResolution node --preserveSymlinks";
        let mut compiler = Command::new(modules.join(".bin/tsc"));
        let output =
            compiler.args(options.split(' ')).arg("dashboard.ts").current_dir(directory.path()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let dashboard = dashboard();
    assert_eq!(check(&dashboard), "");
    let mut wrong = dashboard.clone();
    wrong["panels"][1]["options"]["colourMode"] = "background".into();
    wrong["panels"][1]["gridPos"]["width"] = 4.into();
    let said = check(&wrong);
    assert!(said.contains("colourMode") && said.contains("width"), "{said}");
}

/// Serves one text on a port of its own, until the process ends. Returns the address.
fn serve(text: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            // A request is one small packet; what it asks for does not matter.
            let _ = connection.read(&mut [0; 4096]);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\nconnection: close\r\n";
            write!(connection, "{head}content-length: {}\r\n\r\n{text}", text.len()).ok();
        }
    });
    address
}

/// A Prometheus that is ended when dropped.
struct Prometheus {
    process: Child,
    url: String,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Prometheus {
    fn start(directory: &Path) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = Command::new("prometheus")
            .args(["--config.file=prometheus.yaml", "--storage.tsdb.path=data", "--log.level=warn"])
            .arg(format!("--web.listen-address={address}"))
            .current_dir(directory)
            .stderr(std::fs::File::create(directory.join("log")).unwrap())
            .stdout(Stdio::null())
            .spawn()
            .expect("prometheus, of Debian's package of that name; tests/run.sh installs it");
        Self { process, url: format!("http://{address}/api/v1/query") }
    }

    /// What a query finds now; nothing while Prometheus starts.
    fn query(&self, query: &str) -> Vec<Value> {
        let mut curl = Command::new("curl");
        let output =
            curl.args(["-s", "--get", "--data-urlencode", &format!("query={query}"), &self.url]).output().unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    }
}

#[test]
fn prometheus_as_in_the_example_keeps_the_names_of_jobs_and_fills_every_panel() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let mut text = String::new();
    for Family { name, label, .. } in &FAMILIES {
        let labels = label.iter().fold(String::new(), |text, label| text + "," + label + "=\"some\"");
        let value = if name.contains("timestamp") { now } else { 4 };
        text += &format!("# TYPE {name} gauge\n{name}{{job=\"nightly\"{labels}}} {value}\n");
    }
    let (node, gateway) = (serve(text.clone()), serve(text));
    let directory = tempfile::tempdir().unwrap();
    std::fs::copy(at("deploy/prometheus/alerts.yaml"), directory.path().join("alerts.yaml")).unwrap();
    let example = read("deploy/prometheus/prometheus.example.yaml");
    let config = example.replace("1m", "1s").replace("localhost:9100", &node).replace("localhost:9091", &gateway);
    assert_eq!(config.matches("127.0.0.1").count(), 2);
    std::fs::write(directory.path().join("prometheus.yaml"), config).unwrap();
    let prometheus = Prometheus::start(directory.path());
    let mut tries = 0;
    // Both are scraped as a whole within a second or two.
    while prometheus.query(&format!("{}{{job=\"nightly\"}}", FAMILIES[13].name)).len() < 2 {
        tries += 1;
        let log = || std::fs::read_to_string(directory.path().join("log")).unwrap();
        assert!(tries < 3_000, "{:?}\n{}", prometheus.query("{job!=\"\"}"), log());
        std::thread::sleep(Duration::from_millis(100));
    }
    let found = prometheus.query("yunxin_archiver_last_run_exit_code");
    let mut instances: Vec<&Value> = found.iter().map(|series| &series["metric"]["instance"]).collect();
    instances.sort_by_key(|instance| *instance != &Value::from(node.as_str()));
    assert_eq!(instances, [&Value::from(node.as_str()), &Value::from(gateway.as_str())]);
    assert!(found.iter().all(|series| series["metric"].get("exported_job").is_none()), "{found:?}");
    let dashboard = dashboard();
    for query in texts("expr", &dashboard["panels"]) {
        let answer = prometheus.query(&query.replace("$job", "nightly"));
        assert!(!answer.is_empty(), "a panel without data: {query}");
    }
}
